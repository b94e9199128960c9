"""Turns: the moments of one boot at which its time stops being a plain sum of work.

At a ``tick`` the boot CPU waits for an edge of the timer, which swallows a little more or less work before it; between
a ``fork`` and its ``join`` somebody else works beside it, and it goes on when both are done. What had been done by then
is noted, so that the boot can be reckoned again with other costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from minikern.core.ledger import Entry

TurnKind = Literal["tick", "fork", "join"]


class Point(NamedTuple):
    """A moment on the machine's clock, what was done until then, and how long the boot was in each phase."""

    at_ns: int
    rows: tuple[Entry, ...]  # CPUs other than the boot CPU together
    phases_ns: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Turn:
    """One such moment. ``since`` is where it begins; ``spent_ns`` passes for the boot CPU until it is over.

    ``work`` is the kind that is done beside the boot CPU.
    """

    kind: TurnKind
    phase: str
    since: Point
    spent_ns: int
    work: str = ""
