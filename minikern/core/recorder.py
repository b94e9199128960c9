"""Recorder: every span of work and every mark of one boot, for traces, plots and checks of the order of things.

The ledger keeps sums; this keeps the single pieces, and only where it was asked for. Times are the machine's clock, ns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Span(NamedTuple):
    """``pieces`` of ``kind`` that CPU ``cpu`` did from ``start_ns`` on."""

    cpu: int
    kind: str
    phase: str
    start_ns: int
    total_ns: int
    pieces: int


class Mark(NamedTuple):
    """Something that happened to CPU ``cpu`` at one moment."""

    at_ns: int
    cpu: int
    name: str
    value: int


@dataclass
class Recorder:
    """The record, in the order in which things were noted."""

    spans: list[Span] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)

    def span(self, cpu: int, kind: str, phase: str, start_ns: int, total_ns: int, pieces: int) -> None:
        """Note work."""
        self.spans.append(Span(cpu, kind, phase, start_ns, total_ns, pieces))

    def mark(self, at_ns: int, cpu: int, name: str, value: int = 0) -> None:
        """Note a moment."""
        self.marks.append(Mark(at_ns, cpu, name, value))
