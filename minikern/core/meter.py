"""Meter: which work was done before which log line, for holding a boot against the stamps of a real one.

Where a boot is metered, each line of the main thread (the one whose path leads to /init) knows what the boot CPU did
since the line before it, and what other CPUs did meanwhile. Counts are pieces, times simulated ns.
"""

from __future__ import annotations

from dataclasses import dataclass, field

Work = dict[str, tuple[int, int]]  # kind of work -> pieces, ns


@dataclass(slots=True)
class Metered:
    """One line: its place in the log, whether the main thread wrote it, and the work since the main thread's last.

    ``serial``: a serial console that is on gets it.
    """

    index: int
    main: bool
    own: Work
    beside: Work
    residue_ns: int
    serial: bool = False


@dataclass
class Meter:
    """Work since the last line, and the lines so far."""

    lines: list[Metered] = field(default_factory=list)
    _own: Work = field(default_factory=dict)
    _beside: Work = field(default_factory=dict)
    _residue_ns: int = 0

    def book(self, cpu: int, kind: str, count: int, total_ns: int) -> None:
        """``cpu`` did ``count`` pieces of ``kind`` in ``total_ns``."""
        work = self._beside if cpu else self._own
        pieces, spent = work.get(kind, (0, 0))
        work[kind] = (pieces + count, spent + total_ns)

    def book_residue(self, total_ns: int) -> None:
        """The boot CPU spent ``total_ns`` that nobody has explained."""
        self._residue_ns += total_ns

    def line(self, index: int, main: bool, serial: bool) -> None:
        """Line ``index`` of the log was written."""
        if not main:
            self.lines.append(Metered(index, False, {}, {}, 0))
            return
        self.lines.append(Metered(index, True, self._own, self._beside, self._residue_ns, serial))
        self._own, self._beside, self._residue_ns = {}, {}, 0
