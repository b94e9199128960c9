"""The direct mapping: ranges and the page tables they took."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    pass



class MapRange(NamedTuple):
    """[start, end) bytes mapped with pages of ``page`` bytes."""

    start: int
    end: int
    page: int



@dataclass
class DirectMap:
    """Page-table pages made so far, by the address range each covers."""

    gbpages: bool
    pgt_buf: tuple[int, int]  # [start, end) of the brk buffer
    five_level: bool
    brk_left: int
    tables: set[tuple[int, int]] = field(default_factory=set)
    min_mapped: int = 0
    max_mapped: int = 0
    allocated: int = 0
    mapped: list[tuple[int, int]] = field(default_factory=list)  # bytes, in the order of mapping

    def is_mapped(self, start: int, end: int) -> bool:
        """True if all of [start, end) is mapped. Source: arch/x86/mm/init.c:pfn_range_is_mapped() @ v6.12"""
        for low, high in sorted(self.mapped):
            if low <= start < high:
                start = high
        return start >= end

