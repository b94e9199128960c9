"""The ledger: every simulated nanosecond is booked as phase, CPU, kind of work, count and unit cost.

Reports, blame tables and calibration read the ledger and nothing else, so a total can always be taken apart again.
Entries of the same (phase, cpu, kind) are summed as they are booked: a boot books about 10**5 pieces of work, a reader
wants some hundred rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

Phase = Literal[
    "rest", "early memory", "smp", "deferred", "hugepages", "acpi", "pci",
    "shutdown", "relocation", "purgatory", "decompression",
]  # fmt: skip


class Key(NamedTuple):
    """What tells one row of the ledger from another."""

    phase: str
    cpu: int
    kind: str
    before: bool = False  # booked before the log's clock ran, so no part of the log's total


@dataclass(slots=True)
class Row:
    """Sum of all bookings under one key; times in simulated ns."""

    count: int = 0
    total_ns: int = 0


class Entry(NamedTuple):
    """One row as a reader sees it.

    ``unit_ns`` is the mean cost of one piece of work, ``modelled`` is False for named residue, ``critical`` is True
    for work of the boot CPU, which is on the path to /init, and False for work that ran beside it or before the log's
    clock did (``before``).
    """

    phase: str
    cpu: int
    kind: str
    pieces: int
    unit_ns: float
    total_ns: int
    modelled: bool
    critical: bool
    before: bool


class Ledger:
    """Booked work, summed by key in the order of first booking. ``running`` says whether the log's clock runs.

    Once it does, it is not asked again: no log's clock stops.
    """

    def __init__(self, running: Callable[[], bool] = lambda: True) -> None:
        self._running = running
        self._before = True
        self._rows: dict[Key, Row] = {}
        self._residue: set[str] = set()

    def book(self, phase: str, cpu: int, kind: str, count: int, total_ns: int) -> None:
        """Add ``count`` pieces of ``kind`` that took ``total_ns`` simulated ns on ``cpu`` during ``phase``."""
        if self._before:
            self._before = not self._running()
        # Looked up by a plain tuple, which is equal to the key it would make.
        row = self._rows.get((phase, cpu, kind, self._before))  # type: ignore[call-overload]
        if row is None:
            row = self._rows[Key(phase, cpu, kind, self._before)] = Row()
        row.count += count
        row.total_ns += total_ns

    def book_residue(self, phase: str, name: str, total_ns: int) -> None:
        """Add time that no mechanism explains, by its name."""
        self._residue.add(name)
        self.book(phase, 0, name, 1, total_ns)

    def entries(self) -> Iterator[Entry]:
        """All rows in the order of their first booking."""
        for key, row in self._rows.items():
            yield self._entry(key, row)

    def _entry(self, key: Key, row: Row) -> Entry:
        unit = row.total_ns / row.count if row.count else 0.0
        modelled = key.kind not in self._residue
        critical = key.cpu == 0 and not key.before
        return Entry(key.phase, key.cpu, key.kind, row.count, unit, row.total_ns, modelled, critical, key.before)

    def summed(self) -> tuple[Entry, ...]:
        """The rows so far, those of all CPUs but the boot CPU together."""
        sums: dict[Key, Row] = {}
        for key, row in self._rows.items():
            one = sums.setdefault(key._replace(cpu=1) if key.cpu > 1 else key, Row())
            one.count += row.count
            one.total_ns += row.total_ns
        return tuple(self._entry(key, row) for key, row in sums.items())

    def residue_ns(self) -> int:
        """Simulated ns that are residue."""
        return sum(row.total_ns for key, row in self._rows.items() if key.kind in self._residue)

    def count(self, kind: str) -> int:
        """How many pieces of ``kind`` were booked, over all phases and CPUs."""
        return sum(row.count for key, row in self._rows.items() if key.kind == kind)

    def total_ns(self, kind: str) -> int:
        """Simulated ns booked for ``kind``, over all phases and CPUs."""
        return sum(row.total_ns for key, row in self._rows.items() if key.kind == kind)
