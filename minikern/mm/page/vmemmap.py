"""The memory map: where the ``struct page`` of a pfn lives on this computer, and whether its content still stands.

Linux maps 2 MiB of ``struct page`` for each present 128 MiB section. Here the present sections are laid side by side in
one arena (``full``), or written round and round into a smaller one (``window``) when the whole map would not fit into
this computer's memory: every ``struct page`` is computed and stored either way, but a window only remembers the last
ones. A ``counted`` map has places and no content: its pages are counted, none is stored. A pfn's place is ``index %
slots``, its index counting pages of present sections.

Source: mm/sparse.c, mm/sparse-vmemmap.c @ v6.12
"""

from __future__ import annotations

import weakref
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hw.errors import InputError
from hw.units import PAGE_SIZE
from minikern.host.arena import arena_pool
from minikern.mm.page.held_ranges import HeldRanges
from minikern.mm.page.mmzone import PAGES_PER_SECTION
from minikern.mm.page.struct_page import (
    PAGES_PER_MEMMAP_PAGE,
    STRUCT_PAGE,
    STRUCT_PAGE_SIZE,
    VMEMMAP_START_4LEVEL,
    Words,
)

SECTION_MAP_SIZE = PAGES_PER_SECTION * STRUCT_PAGE_SIZE  # 2 MiB, one PMD
RESET_STRUCT_PAGES = 3  # head, first and second tail; Source: mm/hugetlb_vmemmap.c:NR_RESET_STRUCT_PAGE @ v6.12

_WHY_GONE = {
    "full": "was never initialised",
    "window": "is not in the window (any more)",
    "counted": "was counted, not stored: boot with --vmemmap window or full",
}


class PageStateGone(InputError):  # noqa: N818 - the name says what happened
    """The content of a ``struct page`` was asked for that the window no longer holds, or that nobody wrote yet."""


class Run(NamedTuple):
    """Consecutive pages with consecutive places: ``pages`` pages from ``pfn`` at row ``slot``."""

    slot: int
    pfn: int
    pages: int


class Group(NamedTuple):
    """Neighbouring present sections: first pfn, first pfn after them, index of the first page."""

    start_pfn: int
    end_pfn: int
    first_index: int


class Memmap(NamedTuple):
    """Physical memory that holds the map of ``sections`` sections from ``section``: address of its first byte."""

    section: int
    sections: int
    phys: int


class PreinitMap(NamedTuple):
    """A huge page whose map was made folded, before any other: head pfn, pages, and the one frame that holds it."""

    head: int
    pages: int
    frame: int


class Vmemmap:
    """The memory map of one boot.

    ``sections`` are the present section numbers, ``slots`` how many ``struct page`` the arena holds (at most as many
    as there are pages in present sections), ``start`` the virtual address of page 0's ``struct page``.
    """

    def __init__(
        self,
        sections: Iterable[int],
        start: int = VMEMMAP_START_4LEVEL,
        slots: int | None = None,
        counted: bool = False,
    ) -> None:
        self.start = start
        self.groups = _groups(np.sort(np.fromiter(sections, dtype=np.int64)))
        self.total = sum(group.end_pfn - group.start_pfn for group in self.groups)
        if not self.groups:
            raise InputError("the memory map has no present section: expected some memory, came none")
        if slots is not None and (slots <= 0 or slots % PAGES_PER_SECTION):
            raise InputError(f"window of {slots} struct pages: expected a positive multiple of {PAGES_PER_SECTION}")
        self.slots = self.total if slots is None else min(slots, self.total)
        self.backing = "counted" if counted else "full" if self.slots == self.total else "window"
        self._group_starts = [group.start_pfn for group in self.groups]
        self.arena = arena_pool().take(PAGE_SIZE if counted else self.slots * STRUCT_PAGE_SIZE)
        if self.backing == "window":
            self.arena.want_huge(0, self.slots * STRUCT_PAGE_SIZE)
        self.words = self.arena.words(0 if counted else self.slots)
        self.held = HeldRanges()
        self.memmaps: list[Memmap] = []
        self.preinit: dict[int, PreinitMap] = {}  # by head pfn
        self.bootmem_registered = False
        self._folded: dict[int, set[int]] = {}
        self._preinit_heads: list[int] = []
        # The arena goes to the next boot only when nobody can look at this map any more.
        self._closer = weakref.finalize(self, arena_pool().give_back, self.arena)

    def close(self) -> None:
        """Give the arena to the next boot of this process; afterwards the map holds nothing. Happens by itself too."""
        self.words = np.empty((0, 8), dtype=np.uint64)
        self.held = HeldRanges()
        self._closer()

    @property
    def sections(self) -> list[int]:
        """The numbers of the present sections, ascending."""
        per = PAGES_PER_SECTION
        return [number for group in self.groups for number in range(group.start_pfn // per, group.end_pfn // per)]

    @property
    def section_slot(self) -> npt.NDArray[np.int64]:
        """Row of each section's first page, by section number; -1 for absent sections."""
        sections = self.sections
        table = np.full(sections[-1] + 1, -1, dtype=np.int64)
        indices = np.arange(len(sections), dtype=np.int64) * PAGES_PER_SECTION
        table[sections] = indices % self.slots
        return table

    def pfn_valid(self, pfn: int) -> bool:
        """True if the pfn lies in a present section. Source: include/linux/mmzone.h:pfn_valid() @ v6.12"""
        return self._group(pfn) is not None

    def address(self, pfn: int) -> int:
        """Virtual address of the ``struct page``."""
        return self.start + pfn * STRUCT_PAGE_SIZE

    def valid_ranges(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The parts of [start, end) that lie in present sections."""
        at = max(bisect_right(self._group_starts, start) - 1, 0)
        for group in self.groups[at:]:
            if group.start_pfn >= end:
                return
            low, high = max(start, group.start_pfn), min(end, group.end_pfn)
            if low < high:
                yield low, high

    def runs(self, start: int, end: int) -> Iterator[Run]:
        """[start, end) as stretches of consecutive rows; pfns in absent sections are left out."""
        for low, high in self._unaliased(start, end):
            index = self._index(low)
            while low < high:
                slot = index % self.slots
                count = min(high - low, self.slots - slot)
                yield Run(slot, low, count)
                low, index = low + count, index + count

    def _unaliased(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        # Each page of a map that was made folded is a piece of its own: they all have the same place.
        for low, high in self.valid_ranges(start, end):
            if not self.preinit:
                yield low, high
                continue
            while low < high:
                at = bisect_right(self._preinit_heads, low) - 1
                inside = at >= 0 and low < self._preinit_heads[at] + self.preinit[self._preinit_heads[at]].pages
                if inside:
                    stop = (low // PAGES_PER_MEMMAP_PAGE + 1) * PAGES_PER_MEMMAP_PAGE
                else:
                    stop = self._preinit_heads[at + 1] if at + 1 < len(self._preinit_heads) else high
                yield low, min(stop, high)
                low = min(stop, high)

    def rows(self, run: Run) -> Words:
        """The words of a run."""
        return self.words[run.slot : run.slot + run.pages]

    def claim(self, run: Run) -> None:
        """Record that a run is (about to be) written whole."""
        if self.backing == "counted":
            return
        if self.backing == "full":
            self.arena.want_huge(run.slot * STRUCT_PAGE_SIZE, run.pages * STRUCT_PAGE_SIZE)
        self.held.claim(run.slot, run.slot + run.pages, self._index(run.pfn) // self.slots)

    def holds(self, run: Run) -> bool:
        """True if the content of every page of the run was written during this boot and is still there."""
        return self.held.covers(run.slot, run.slot + run.pages, self._index(run.pfn) // self.slots)

    def pieces(self, run: Run) -> Iterator[tuple[Run, bool]]:
        """A run cut into what is held and what is not."""
        lap = self._index(run.pfn) // self.slots
        for start, end, held in self.held.pieces(run.slot, run.slot + run.pages, lap):
            yield Run(start, run.pfn + start - run.slot, end - start), held

    def row(self, pfn: int) -> Words | None:
        """The eight words of one page for writing, None if its content is not held (or folded away)."""
        group = self._group(pfn)
        if group is None or self._head_of_folded(pfn) is not None:
            return None
        index = group.first_index + pfn - group.start_pfn
        slot = index % self.slots
        return self.words[slot] if self.held.covers(slot, slot + 1, index // self.slots) else None

    def page(self, pfn: int) -> np.void:
        """A copy of one ``struct page``; a folded tail reads what the page table maps in its place.

        Raises PageStateGone when the pfn is in no present section, was not written yet, or left the window.
        """
        if not self.pfn_valid(pfn):
            raise PageStateGone(f"pfn {pfn:#x} lies in no present section")
        head = self._head_of_folded(pfn)
        row = self.row(pfn if head is None else head + pfn % PAGES_PER_MEMMAP_PAGE)
        if row is None:
            raise PageStateGone(f"struct page of pfn {pfn:#x} {_WHY_GONE[self.backing]}")
        record: np.void = row.copy().view(STRUCT_PAGE)[0]
        return record

    def fold(self, head_pfn: int, order: int) -> bool:
        """Let all but the first 64 ``struct page`` of a block alias those; True if host memory was released.

        Source: mm/hugetlb_vmemmap.c:vmemmap_remap_free() @ v6.12
        """
        self._folded.setdefault(order, set()).add(head_pfn >> order)
        tails = (1 << order) - PAGES_PER_MEMMAP_PAGE
        if self.backing != "full":
            return False
        run = next(self.runs(head_pfn + PAGES_PER_MEMMAP_PAGE, head_pfn + (1 << order)))
        return run.pages == tails and self.arena.release(run.slot * STRUCT_PAGE_SIZE, tails * STRUCT_PAGE_SIZE)

    def fold_early(self, entry: PreinitMap) -> None:
        """The map of a huge page was made folded: nothing of it is held but the first 64 ``struct page``, and what is
        written to the others lands in those. Source: mm/sparse-vmemmap.c:vmemmap_populate_hvo() @ v6.15
        """
        self.preinit[entry.head] = entry
        self._preinit_heads = sorted(self.preinit)
        self._folded.setdefault(entry.pages.bit_length() - 1, set()).add(entry.head // entry.pages)

    def unfold(self, head_pfn: int, order: int) -> None:
        """Let a folded block have ``struct page`` of its own again, each page of them a copy of the tails kept.

        The first three of a page are not as in the page that was kept, which begins with the head and what the compound
        page keeps in its first tails, but as ordinary tails.
        Source: mm/hugetlb_vmemmap.c:vmemmap_restore_pte(), reset_struct_pages() @ v6.12
        """
        self._folded[order].discard(head_pfn >> order)
        if self.preinit.pop(head_pfn, None) is not None:
            self._preinit_heads = sorted(self.preinit)
        kept = next(self.runs(head_pfn, head_pfn + PAGES_PER_MEMMAP_PAGE))
        if kept.pages < PAGES_PER_MEMMAP_PAGE or not self.holds(kept):
            return  # a window that has lost the page kept: the copies are as lost
        page = self.rows(kept).copy()
        page[:RESET_STRUCT_PAGES] = page[RESET_STRUCT_PAGES : 2 * RESET_STRUCT_PAGES]
        for run in self.runs(head_pfn + PAGES_PER_MEMMAP_PAGE, head_pfn + (1 << order)):
            self.claim(run)
            first = run.pfn % PAGES_PER_MEMMAP_PAGE
            rows = self.rows(run)
            for at in range(0, first + run.pages, PAGES_PER_MEMMAP_PAGE):
                low, high = max(at - first, 0), min(at - first + PAGES_PER_MEMMAP_PAGE, run.pages)
                rows[low:high] = page[low - at + first : high - at + first]

    def folded_head(self, pfn: int) -> int | None:
        """Head of the folded block whose tail ``pfn`` is, None for pages with a ``struct page`` of their own."""
        return self._head_of_folded(pfn)

    def _head_of_folded(self, pfn: int) -> int | None:
        for order, blocks in self._folded.items():
            if pfn >> order in blocks and pfn & ((1 << order) - 1) >= PAGES_PER_MEMMAP_PAGE:
                return pfn >> order << order
        return None

    def _group(self, pfn: int) -> Group | None:
        at = bisect_right(self._group_starts, pfn) - 1
        return self.groups[at] if at >= 0 and pfn < self.groups[at].end_pfn else None

    def _index(self, pfn: int) -> int:
        group = self._group(pfn)
        if group is None:
            raise PageStateGone(f"pfn {pfn:#x} lies in no present section")
        if self.preinit:
            head = self._head_of_folded(pfn)
            if head in self.preinit:
                pfn = head + pfn % PAGES_PER_MEMMAP_PAGE
                return self._index(pfn)
        return group.first_index + pfn - group.start_pfn


def _groups(sections: npt.NDArray[np.int64]) -> list[Group]:
    """Neighbours of section numbers that do not descend, together."""
    sections = sections[np.diff(sections, prepend=-1) != 0]
    cuts = [0, *(np.flatnonzero(np.diff(sections) != 1) + 1).tolist(), len(sections)]
    per = PAGES_PER_SECTION
    return [
        Group(int(sections[low]) * per, (int(sections[high - 1]) + 1) * per, low * per)
        for low, high in pairwise(cuts)
        if low < high
    ]


def joined(memmaps: Iterable[Memmap]) -> Iterator[Memmap]:
    """Neighbouring sections whose maps are neighbours in memory, as one entry."""
    open_entry: Memmap | None = None
    for entry in memmaps:
        if open_entry is not None:
            section, count, phys = open_entry
            if entry.section == section + count and entry.phys == phys + count * SECTION_MAP_SIZE:
                open_entry = Memmap(section, count + entry.sections, phys)
                continue
            yield open_entry
        open_entry = entry
    if open_entry is not None:
        yield open_entry
