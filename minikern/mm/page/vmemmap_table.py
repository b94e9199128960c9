"""The page table of the memory map, as far as HVO changes it.

A section's map is one 2 MiB entry until somebody needs parts of it mapped elsewhere; then it is 512 entries of 4 KiB.
Source: mm/hugetlb_vmemmap.c, mm/sparse-vmemmap.c @ v6.12
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hw.units import PAGE_SIZE
from minikern.mm.page.mmzone import PAGES_PER_SECTION
from minikern.mm.page.struct_page import PAGES_PER_MEMMAP_PAGE
from minikern.mm.page.vmemmap import Memmap, PreinitMap

PTRS_PER_PTE = 512


Frames = npt.NDArray[np.int64]


class Mapping(NamedTuple):
    """What one page of the memory map is mapped to: page frame, and whether it may be written."""

    frame: int
    writable: bool


class VmemmapPageTable:
    """Which frame holds each page of the memory map. A table entry is ``frame << 1 | writable``.

    ``preinit`` are huge pages whose map was made folded: every entry of theirs maps one frame, writable at first.
    """

    def __init__(self, memmaps: Sequence[Memmap], preinit: Sequence[PreinitMap] = ()) -> None:
        self._pmd = {
            entry.section + at: entry.phys // PAGE_SIZE + at * PTRS_PER_PTE
            for entry in memmaps
            for at in range(entry.sections)
        }
        self._pte: dict[int, Frames] = {}
        for entry in preinit:
            for section in range(entry.head // PAGES_PER_SECTION, (entry.head + entry.pages) // PAGES_PER_SECTION):
                self._pte[section] = np.full(PTRS_PER_PTE, entry.frame << 1 | 1, dtype=np.int64)

    def is_split(self, section: int) -> bool:
        """True if the section is mapped by 4 KiB entries."""
        return section in self._pte

    def split_pmd(self, section: int) -> None:
        """Map the section by 512 writable 4 KiB entries to the frames it had. Source: __split_vmemmap_huge_pmd()"""
        self._pte[section] = (np.arange(PTRS_PER_PTE, dtype=np.int64) + self._pmd[section]) << 1 | 1

    def populate(self, section: int, frame: int) -> None:
        """Map the section by one entry to 512 frames from ``frame`` on. Source: vmemmap_populate_hugepages()"""
        self._pte.pop(section, None)
        self._pmd[section] = frame

    def lookup(self, pfn: int) -> Mapping:
        """Where the ``struct page`` of ``pfn`` lies. KeyError for absent sections."""
        section, index = divmod(pfn // PAGES_PER_MEMMAP_PAGE, PTRS_PER_PTE)
        if section not in self._pte:
            return Mapping(self._pmd[section] + index, True)
        entry = int(self._pte[section][index])
        return Mapping(entry >> 1, bool(entry & 1))

    def frames(self, start: int, end: int) -> Frames:
        """Frames that hold the ``struct page`` of the pfns [start, end), both multiples of 64, in order."""
        parts = [
            self._pte[section][low:high] >> 1
            if section in self._pte
            else np.arange(low, high, dtype=np.int64) + self._pmd[section]
            for section, low, high in _entries(start, end)
        ]
        return np.concatenate([np.empty(0, dtype=np.int64), *parts])

    def entries(self, start: int, end: int) -> tuple[Frames, npt.NDArray[np.bool_]]:
        """As ``frames``, with which of them may be written."""
        parts = [
            (self._pte[section][low:high] & 1).astype(np.bool_)
            if section in self._pte
            else np.ones(high - low, dtype=np.bool_)
            for section, low, high in _entries(start, end)
        ]
        return self.frames(start, end), np.concatenate([np.empty(0, dtype=np.bool_), *parts])

    def point(self, start: int, frames: Frames, writable: bool) -> None:
        """Map the pages of memory map from that of pfn ``start`` on to ``frames``; their sections are split."""
        at = 0
        for section, low, high in _entries(start, start + len(frames) * PAGES_PER_MEMMAP_PAGE):
            self._pte[section][low:high] = frames[at : at + high - low] << 1 | int(writable)
            at += high - low

    def fold(self, start: int, end: int, frame: int) -> Frames:
        """Map the memory map of the pfns [start, end) to ``frame``, read-only; returns the old frames."""
        old = self.frames(start, end)
        self.point(start, np.full(len(old), frame, dtype=np.int64), writable=False)
        return old

    def set_writable(self, start: int, frame: int) -> None:
        """Map one page of memory map, that of pfn ``start``, to ``frame``, writable."""
        self.point(start, np.array([frame], dtype=np.int64), writable=True)

    def remap(self, head: int, order: int, frame: int) -> Frames:
        """Map all of a huge page's memory map to ``frame``, only its first page writable; returns the old frames."""
        old = self.fold(head, head + (1 << order), frame)
        self.set_writable(head, frame)
        return old

    def wrprotect(self, head: int, order: int) -> int:
        """Forbid writing to all of a folded map but its first page; returns the entries changed.

        Source: mm/sparse-vmemmap.c:vmemmap_wrprotect_hvo() @ v6.15
        """
        start = head + PAGES_PER_MEMMAP_PAGE
        frames = self.frames(start, head + (1 << order))
        self.point(start, frames, writable=False)
        return len(frames)

    def check(self) -> None:
        """Invariants: entries that may not be written map a frame that a writable entry before them maps."""
        writable: set[int] = set()
        for section in sorted(self._pte):
            for entry in self._pte[section].tolist():
                if entry & 1:
                    assert entry >> 1 not in writable, f"frame {entry >> 1:#x} is mapped writable twice"
                    writable.add(entry >> 1)
                else:
                    assert entry >> 1 in writable, f"section {section}: read-only alias of unmapped {entry >> 1:#x}"


def _entries(start: int, end: int) -> list[tuple[int, int, int]]:
    """The table entries for the map of pfns [start, end): (section, first entry, one after the last)."""
    first, last = start // PAGES_PER_MEMMAP_PAGE, end // PAGES_PER_MEMMAP_PAGE
    parts = []
    while first < last:
        section, low = divmod(first, PTRS_PER_PTE)
        high = min(PTRS_PER_PTE, low + last - first)
        parts.append((section, low, high))
        first += high - low
    return parts


def frame_ranges(frames: Frames) -> list[tuple[int, int]]:
    """Ascending runs of neighbouring frames: (first, one after the last)."""
    cuts = [0, *(np.flatnonzero(np.diff(frames) != 1) + 1).tolist(), len(frames)]
    return [(int(frames[low]), int(frames[high - 1]) + 1) for low, high in pairwise(cuts) if low < high]
