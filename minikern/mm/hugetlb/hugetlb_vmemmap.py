"""HVO: one page of memory map stays of a huge page's map, the others alias it and their memory is given back.

Source: mm/hugetlb_vmemmap.c @ v6.12. Everything here that takes time is ``Work`` (see ``work``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minikern.core.work import Work
from minikern.mm.page.mmzone import PAGES_PER_SECTION
from minikern.mm.page.struct_page import PAGE_SIZE, PAGES_PER_MEMMAP_PAGE, STRUCT_PAGE_SIZE
from minikern.mm.page.vmemmap_table import Frames, VmemmapPageTable, frame_ranges
from minikern.state.page_alloc import PageAlloc

HUGETLB_VMEMMAP_RESERVE_SIZE = PAGE_SIZE
HUGETLB_VMEMMAP_RESERVE_PAGES = HUGETLB_VMEMMAP_RESERVE_SIZE // STRUCT_PAGE_SIZE


def hugetlb_vmemmap_optimizable_size(order: int) -> int:
    """Bytes of memory map that HVO can give back for a huge page of ``order``; 0 if there is nothing to gain."""
    size = (STRUCT_PAGE_SIZE << order) - HUGETLB_VMEMMAP_RESERVE_SIZE
    return max(size, 0)


@dataclass
class Hvo:
    """Folding and unfolding of huge pages' memory map on one kernel.

    ``optimized`` are the heads whose map is folded now. ``fresh_head`` (6.2): the page that stays is a copy on a new
    frame; ``head_required`` (stable 6.12): without memory for it the huge page stays as it is, where others fall back
    to the old frame. ``batch`` (6.7): lists of huge pages are split, flushed, remapped, flushed and freed together.
    """

    k: Any
    table: VmemmapPageTable
    fresh_head: bool = True
    head_required: bool = False
    batch: bool = False
    optimized: set[int] = field(default_factory=set)
    flushes: int = 0

    # folding

    def optimize_folios(self, heads: Sequence[int], order: int) -> Work[None]:
        """Fold the maps of a list of huge pages; those for which memory is missing stay as they are.

        Source: mm/hugetlb_vmemmap.c:hugetlb_vmemmap_optimize_folios() @ v6.12
        """
        if not self.batch:
            for head in heads:
                yield from self.optimize_folio(head, order)
            return
        for head in heads:
            if not self._split_folio(head, order):
                break  # it is tried again while remapping, perhaps with memory given back by then
        yield from self.flush_tlb()
        freed: list[Frames] = []
        for head in heads:
            done = yield from self._remap_free(head, order, freed, flush=False)
            if not done and freed:
                yield from self.flush_tlb()
                self._free_frames(freed)
                freed.clear()
                yield from self._remap_free(head, order, freed, flush=False)
        yield from self.flush_tlb()
        self._free_frames(freed)

    def optimize_folio(self, head: int, order: int) -> Work[bool]:
        """Fold the map of one huge page and give the freed memory back; False if memory for it is missing.

        Yields ``hvo_remap_page`` for each page of memory map given back.
        Source: mm/hugetlb_vmemmap.c:hugetlb_vmemmap_optimize_folio() @ v6.12
        """
        freed: list[Frames] = []
        done = yield from self._remap_free(head, order, freed, flush=True)
        self._free_frames(freed)
        return done

    def _split_folio(self, head: int, order: int) -> bool:
        # Takes no time of its own: hvo_remap_page includes it.
        return all(self._split(section, head) for section in _sections(head, order))

    def _split(self, section: int, head: int) -> bool:
        if self.table.is_split(section):
            return True
        page_alloc: PageAlloc = self.k.page_alloc
        if page_alloc.alloc_pages(0, page_alloc.zone_of(head).nid) is None:  # the page table itself
            return False
        self.table.split_pmd(section)
        return True

    def _remap_free(self, head: int, order: int, freed: list[Frames], flush: bool) -> Work[bool]:
        # Sections are split and remapped one after the other; when one cannot be split, the others are put back.
        # Source: mm/hugetlb_vmemmap.c:vmemmap_remap_free(), vmemmap_remap_range() @ v6.12
        page_alloc: PageAlloc = self.k.page_alloc
        nid = page_alloc.zone_of(head).nid
        fresh = page_alloc.alloc_pages(0, nid, this_node=not self.head_required) if self.fresh_head else None
        if fresh is None and self.head_required:
            return False
        end, at = head + (1 << order), head
        kept = self.table.lookup(head).frame if fresh is None else fresh
        old: list[Frames] = []
        for section in _sections(head, order):
            was_split = self.table.is_split(section)
            if not self._split(section, head):
                yield from self._roll_back(head, at, kept, old, freed)
                return False
            if flush and not was_split:
                yield from self.flush_tlb()
            stop = min(end, (section + 1) * PAGES_PER_SECTION)
            old.append(self.table.fold(at, stop, kept))
            if at == head:
                self.table.set_writable(head, kept)
            at = stop
        if flush:
            yield from self.flush_tlb()
        self.k.vmemmap.fold(head, order)
        self.optimized.add(head)
        frames = np.concatenate(old)
        freed.append(frames[1:] if fresh is None else frames)
        yield "hvo_remap_page", len(frames) - 1
        return True

    def _roll_back(self, head: int, stop: int, kept: int, old: list[Frames], freed: list[Frames]) -> Work[None]:
        # The head stays on its new frame. Frames come back in the reverse order, last removed first.
        # Source: mm/hugetlb_vmemmap.c:vmemmap_restore_pte() @ v6.12
        if stop == head:
            if self.fresh_head and kept in self.k.page_alloc.allocated:
                self.k.page_alloc.free_pages(kept, 0)
            return
        frames = np.concatenate(old)
        self.table.point(head + PAGES_PER_MEMMAP_PAGE, frames[:0:-1], writable=True)
        if kept != frames[0]:
            freed.append(frames[:1])
        yield from self.flush_tlb()

    # unfolding

    def restore_folio(self, head: int, order: int, flush: bool = True) -> Work[bool]:
        """Give a folded huge page a memory map of its own again; False (nothing changed) if memory is missing.

        Yields ``hvo_restore_page`` for each page of memory map made.
        Source: mm/hugetlb_vmemmap.c:__hugetlb_vmemmap_restore_folio(), alloc_vmemmap_page_list() @ v6.12
        """
        if head not in self.optimized:
            return True
        page_alloc: PageAlloc = self.k.page_alloc
        nid, frames = page_alloc.zone_of(head).nid, list[int]()
        for _ in range((1 << order) // PAGES_PER_MEMMAP_PAGE - 1):
            frame = page_alloc.alloc_pages(0, nid)
            if frame is None:
                for taken in reversed(frames):
                    page_alloc.free_pages(taken, 0)
                return False
            frames.append(frame)
        self.table.point(head + PAGES_PER_MEMMAP_PAGE, np.array(frames[::-1], dtype=np.int64), writable=True)
        self.k.vmemmap.unfold(head, order)
        self.optimized.discard(head)
        yield "hvo_restore_page", len(frames)
        if flush:
            yield from self.flush_tlb()
        return True

    def restore_folios(self, heads: Sequence[int], order: int) -> Work[list[int]]:
        """Unfold a list of huge pages with one flush, up to the first without memory; returns those not folded now.

        Source: mm/hugetlb_vmemmap.c:hugetlb_vmemmap_restore_folios() @ v6.12
        """
        done: list[int] = []
        restored = 0
        for head in heads:
            folded = head in self.optimized
            if not (yield from self.restore_folio(head, order, flush=False)):
                break
            restored += folded
            done.append(head)
        if restored:
            yield from self.flush_tlb()
        return done

    # memory and TLBs

    def flush_tlb(self) -> Work[None]:
        """Every online CPU forgets what it knows of the range, and says so. Source: arch/x86/mm/tlb.c @ v6.12"""
        self.flushes += 1
        yield "tlb_flush_cpu", len(self.k.cpus.online)

    def _free_frames(self, freed: Sequence[Frames]) -> None:
        # Boot-time memory goes back as ordinary free memory, so managed and total pages grow; what was allocated
        # since goes back to whom it came from.
        # Source: mm/hugetlb_vmemmap.c:free_vmemmap_page(), mm/bootmem_info.c:put_page_bootmem() @ v6.12
        page_alloc: PageAlloc = self.k.page_alloc
        for frames in freed:
            taken = np.array([frame in page_alloc.allocated for frame in frames.tolist()], dtype=np.bool_)
            for frame in frames[taken].tolist():
                page_alloc.free_pages(frame, 0)
            for start, end in frame_ranges(frames[~taken]):
                self._free_bootmem(start, end)

    def _free_bootmem(self, start: int, end: int) -> None:
        page_alloc: PageAlloc = self.k.page_alloc
        for item in list(page_alloc.pages.links(start, end)):
            zone = page_alloc.nodes[item.nid].zones[item.zone]
            page_alloc.pages.free_bootmem_range(item.start, item.end)
            page_alloc.free_range(zone, item.start, item.end)
            zone.managed_pages += item.end - item.start
        page_alloc.totalram_pages += end - start


def _sections(head: int, order: int) -> range:
    return range(head // PAGES_PER_SECTION, (head + (1 << order) - 1) // PAGES_PER_SECTION + 1)
