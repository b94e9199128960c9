"""Which rows of an arena hold what: intervals with the lap that was written last.

The bookkeeping behind the ``window`` backing of the memory map (see ``vmemmap``); nothing of Linux.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator


class HeldRanges:
    """Which rows hold what: disjoint intervals of rows, each with the lap (index // slots) that was written last."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._laps: list[int] = []

    def claim(self, start: int, end: int, lap: int) -> None:
        """Rows [start, end) now belong to ``lap``."""
        first = bisect_right(self._ends, start - 1)  # intervals that touch [start, end) or end where it starts
        last = first
        starts, ends, laps = [start], [end], [lap]
        while last < len(self._starts) and self._starts[last] <= end:
            s, e, old = self._starts[last], self._ends[last], self._laps[last]
            if old == lap:
                at = laps.index(lap)
                starts[at], ends[at] = min(starts[at], s), max(ends[at], e)
            else:
                if s < start:
                    starts.insert(0, s)
                    ends.insert(0, start)
                    laps.insert(0, old)
                if e > end:
                    starts.append(end)
                    ends.append(e)
                    laps.append(old)
            last += 1
        self._starts[first:last], self._ends[first:last], self._laps[first:last] = starts, ends, laps

    def covers(self, start: int, end: int, lap: int) -> bool:
        """True if all rows of [start, end) belong to ``lap``."""
        while start < end:
            at = bisect_right(self._starts, start) - 1
            if at < 0 or self._ends[at] <= start or self._laps[at] != lap:
                return False
            start = self._ends[at]
        return True

    def pieces(self, start: int, end: int, lap: int) -> Iterator[tuple[int, int, bool]]:
        """[start, end) cut where it begins or ceases to belong to ``lap``: (start, end, belongs)."""
        while start < end:
            at = bisect_right(self._starts, start) - 1
            inside = at >= 0 and start < self._ends[at]
            held = inside and self._laps[at] == lap
            stop = self._ends[at] if inside else (self._starts[at + 1] if at + 1 < len(self._starts) else end)
            yield start, min(stop, end), held
            start = stop

    def intervals(self) -> Iterator[tuple[int, int, int]]:
        """(start, end, lap), ascending."""
        return zip(self._starts, self._ends, self._laps, strict=True)

    def check(self) -> None:
        """Invariants: not empty, ascending, disjoint, equal neighbours joined."""
        previous_end, previous_lap = -1, -1
        for start, end, lap in self.intervals():
            assert start < end, f"empty interval at row {start}"
            assert start >= previous_end, f"row {start} is in two intervals"
            assert start > previous_end or lap != previous_lap, f"intervals at row {start} were not joined"
            previous_end, previous_lap = end, lap
