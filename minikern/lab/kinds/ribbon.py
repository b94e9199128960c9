"""Pictures in one line: a stretch of addresses or pages, a character for each so many of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

COLUMNS = 64


class Ribbon:
    """[low, high) in at most 64 columns of a power-of-two width, so that aligned borders fall between columns."""

    def __init__(self, low: int, high: int) -> None:
        width = 1
        while -(-high // width) - low // width > COLUMNS:
            width *= 2
        self.width = width
        self.low = low // width * width
        self.columns = max(1, -(-(high - self.low) // width))

    def line(self, label: str, char: Callable[[int, int], str]) -> str:
        """``char(start, end)`` for each column, after a label."""
        starts = range(self.low, self.low + self.columns * self.width, self.width)
        return f"{label:<10}" + "".join(char(start, start + self.width) for start in starts)

    def marked(self, label: str, ranges: Iterable[tuple[int, int]], char: str, blank: str = " ") -> str:
        """A line with ``char`` where a column meets one of the ranges."""
        found = list(ranges)
        return self.line(label, lambda start, end: char if any(a < end and start < b for a, b in found) else blank)


def around(low: int, high: int, floor: int, ceiling: int, least: int) -> tuple[int, int]:
    """[low, high) widened to ``least`` or more, as far as [floor, ceiling) goes."""
    more = max(0, least - (high - low))
    return max(floor, low - more // 2), min(ceiling, high + more)
