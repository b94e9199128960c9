"""HVO: one page of memory map stays of a huge page's map, the others alias it and their memory is given back.

The part of the vmemmap page table that matters is emulated: a section is mapped by one 2 MiB entry until a huge page in
it is optimised, then by 512 entries of 4 KiB. Source: mm/hugetlb_vmemmap.c @ v6.12
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from minikern.mm.mmzone import PAGES_PER_SECTION
from minikern.mm.page_alloc import PageAlloc
from minikern.mm.struct_page import PAGE_SIZE, PAGES_PER_MEMMAP_PAGE, STRUCT_PAGE_SIZE
from minikern.mm.vmemmap import Memmap

PTRS_PER_PTE = 512
HUGETLB_VMEMMAP_RESERVE_SIZE = PAGE_SIZE
HUGETLB_VMEMMAP_RESERVE_PAGES = HUGETLB_VMEMMAP_RESERVE_SIZE // STRUCT_PAGE_SIZE


class Mapping(NamedTuple):
    """What one page of the memory map is mapped to: page frame, and whether it may be written."""

    frame: int
    writable: bool


def hugetlb_vmemmap_optimizable_size(order: int) -> int:
    """Bytes of memory map that HVO can give back for a huge page of ``order``; 0 if there is nothing to gain."""
    size = (STRUCT_PAGE_SIZE << order) - HUGETLB_VMEMMAP_RESERVE_SIZE
    return max(size, 0)


class VmemmapPageTable:
    """Which frame holds each page of the memory map. A table entry is ``frame << 1 | writable``."""

    def __init__(self, memmaps: list[Memmap]) -> None:
        self._pmd = {
            entry.section + at: entry.phys // PAGE_SIZE + at * PTRS_PER_PTE
            for entry in memmaps
            for at in range(entry.sections)
        }
        self._pte: dict[int, npt.NDArray[np.int64]] = {}

    def is_split(self, section: int) -> bool:
        """True if the section is mapped by 4 KiB entries."""
        return section in self._pte

    def split_pmd(self, section: int) -> None:
        """Map the section by 512 writable 4 KiB entries to the frames it had. Source: __split_vmemmap_huge_pmd()"""
        self._pte[section] = (np.arange(PTRS_PER_PTE, dtype=np.int64) + self._pmd[section]) << 1 | 1

    def lookup(self, pfn: int) -> Mapping:
        """Where the ``struct page`` of ``pfn`` lies. KeyError for absent sections."""
        section, index = divmod(pfn // PAGES_PER_MEMMAP_PAGE, PTRS_PER_PTE)
        if section not in self._pte:
            return Mapping(self._pmd[section] + index, True)
        entry = int(self._pte[section][index])
        return Mapping(entry >> 1, bool(entry & 1))

    def remap(self, head: int, order: int, frame: int) -> list[int]:
        """Map all of a huge page's memory map to ``frame``, only its first page writable; returns the old frames."""
        first = head // PAGES_PER_MEMMAP_PAGE
        last = (head + (1 << order)) // PAGES_PER_MEMMAP_PAGE
        old: list[int] = []
        for section in range(first // PTRS_PER_PTE, (last - 1) // PTRS_PER_PTE + 1):
            low, high = max(first - section * PTRS_PER_PTE, 0), min(last - section * PTRS_PER_PTE, PTRS_PER_PTE)
            entries = self._pte[section][low:high]
            old += (entries >> 1).tolist()
            entries[:] = frame << 1
        section, index = divmod(first, PTRS_PER_PTE)
        self._pte[section][index] |= 1
        return old

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


def hugetlb_vmemmap_optimize(k: Any, table: VmemmapPageTable, head: int, order: int) -> bool:
    """Fold the memory map of one huge page and give the freed memory back; False if memory for it is missing.

    Charges ``hvo_remap_page`` for each page of memory map given back.
    Source: mm/hugetlb_vmemmap.c:__hugetlb_vmemmap_optimize_folio() @ v6.12
    """
    page_alloc: PageAlloc = k.page_alloc
    nid = page_alloc.zone_of(head).nid
    if not _split_sections(page_alloc, table, head, order, nid):
        return False
    fresh = page_alloc.alloc_pages(0, nid, this_node=True) if k.behaviour.get("hvo_fresh_head", True) else None
    kept = table.lookup(head).frame
    old = table.remap(head, order, kept if fresh is None else fresh)
    k.vmemmap.fold(head, order)
    _free_vmemmap_frames(page_alloc, old[1:] if fresh is None else old)
    k.charge("hvo_remap_page", len(old) - 1)
    return True


def _split_sections(page_alloc: PageAlloc, table: VmemmapPageTable, head: int, order: int, nid: int) -> bool:
    for section in range(head // PAGES_PER_SECTION, (head + (1 << order) - 1) // PAGES_PER_SECTION + 1):
        if not table.is_split(section):
            if page_alloc.alloc_pages(0, nid) is None:  # the page table itself
                return False
            table.split_pmd(section)
    return True


def _free_vmemmap_frames(page_alloc: PageAlloc, frames: list[int]) -> None:
    # Boot-time memory goes back as ordinary free memory, so managed and total pages grow.
    # Source: mm/hugetlb_vmemmap.c:free_vmemmap_page(), mm/bootmem_info.c:put_page_bootmem() @ v6.12
    for start, end in frame_ranges(frames):
        for item in list(page_alloc.pages.links(start, end)):
            zone = page_alloc.nodes[item.nid].zones[item.zone]
            page_alloc.pages.free_bootmem_range(item.start, item.end)
            page_alloc.free_range(zone, item.start, item.end)
            zone.managed_pages += item.end - item.start
        page_alloc.totalram_pages += end - start


def frame_ranges(frames: list[int]) -> list[tuple[int, int]]:
    """Ascending runs of neighbouring frames: (first, one after the last)."""
    array = np.array(frames, dtype=np.int64)
    cuts = [0, *(np.flatnonzero(np.diff(array) != 1) + 1).tolist(), len(frames)]
    return [(frames[low], frames[high - 1] + 1) for low, high in pairwise(cuts) if low < high]
