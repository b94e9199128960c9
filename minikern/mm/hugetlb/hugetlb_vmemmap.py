"""HVO: one page of memory map stays of a huge page's map, the others alias it and their memory is given back.

Source: mm/hugetlb_vmemmap.c @ v6.12. Everything here that takes time is ``Work`` (see ``work``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from minikern.core.work import Work
from minikern.mm.page.mmzone import PAGES_PER_SECTION
from minikern.mm.page.struct_page import PAGES_PER_MEMMAP_PAGE, STRUCT_PAGE_SIZE
from minikern.mm.page.vmemmap_table import Frames, VmemmapPageTable, frame_ranges
from minikern.state.hugetlb import HUGETLB_VMEMMAP_RESERVE_SIZE, BootPage, Hvo, hugetlb_vmemmap_optimizable_size

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

HUGETLB_VMEMMAP_RESERVE_PAGES = HUGETLB_VMEMMAP_RESERVE_SIZE // STRUCT_PAGE_SIZE


def hvo_for(k: Kernel, order: int) -> Hvo | None:
    """What folds maps of huge pages of ``order``; None if HVO is off or has nothing to gain."""
    state = k.hugetlb
    if not state.vmemmap_optimize or not hugetlb_vmemmap_optimizable_size(order):
        return None
    if state.hvo is None:
        state.hvo = Hvo(
            VmemmapPageTable(k.vmemmap.memmaps, list(k.vmemmap.preinit.values())),
            fresh_head=k.behaviour.hvo_fresh_head,
            head_required=k.behaviour.hvo_head_required,
            batch=k.behaviour.hvo_batch,
        )
    return state.hvo


# folding


def hugetlb_vmemmap_optimize_folios(k: Kernel, hvo: Hvo, heads: Sequence[int], order: int) -> Work[None]:
    """Fold the maps of a list of huge pages; those for which memory is missing stay as they are.

    Source: mm/hugetlb_vmemmap.c:hugetlb_vmemmap_optimize_folios() @ v6.12
    """
    if not hvo.batch:
        for head in heads:
            yield from hugetlb_vmemmap_optimize_folio(k, hvo, head, order)
        return
    for head in heads:
        if not _split_folio(k, hvo, head, order):
            break  # it is tried again while remapping, perhaps with memory given back by then
    yield from flush_tlb_all(k, hvo)
    freed: list[Frames] = []
    for head in heads:
        done = yield from _remap_free(k, hvo, head, order, freed, flush=False)
        if not done and freed:
            yield from flush_tlb_all(k, hvo)
            _free_frames(k, hvo, freed)
            freed.clear()
            yield from _remap_free(k, hvo, head, order, freed, flush=False)
    yield from flush_tlb_all(k, hvo)
    _free_frames(k, hvo, freed)


def hugetlb_vmemmap_optimize_folio(k: Kernel, hvo: Hvo, head: int, order: int) -> Work[bool]:
    """Fold the map of one huge page and give the freed memory back; False if memory for it is missing.

    Yields ``hvo_remap_page`` for each page of memory map given back.
    Source: mm/hugetlb_vmemmap.c:hugetlb_vmemmap_optimize_folio() @ v6.12
    """
    freed: list[Frames] = []
    done = yield from _remap_free(k, hvo, head, order, freed, flush=True)
    _free_frames(k, hvo, freed)
    return done


def _split_folio(k: Kernel, hvo: Hvo, head: int, order: int) -> bool:
    # Takes no time of its own: hvo_remap_page includes it.
    return all(_split(k, hvo, section, head) for section in _sections(head, order))


def _split(k: Kernel, hvo: Hvo, section: int, head: int) -> bool:
    if hvo.table.is_split(section):
        return True
    page_alloc = k.page_alloc
    if page_alloc.alloc_pages(0, page_alloc.zone_of(head).nid) is None:  # the page table itself
        return False
    hvo.table.split_pmd(section)
    return True


def _remap_free(k: Kernel, hvo: Hvo, head: int, order: int, freed: list[Frames], flush: bool) -> Work[bool]:
    # Sections are split and remapped one after the other; when one cannot be split, the others are put back.
    # Source: mm/hugetlb_vmemmap.c:vmemmap_remap_free(), vmemmap_remap_range() @ v6.12
    page_alloc = k.page_alloc
    nid = page_alloc.zone_of(head).nid
    fresh = page_alloc.alloc_pages(0, nid, this_node=not hvo.head_required) if hvo.fresh_head else None
    if fresh is None and hvo.head_required:
        return False
    end, at = head + (1 << order), head
    kept = hvo.table.lookup(head).frame if fresh is None else fresh
    old: list[Frames] = []
    for section in _sections(head, order):
        was_split = hvo.table.is_split(section)
        if not _split(k, hvo, section, head):
            yield from _roll_back(k, hvo, head, at, kept, old, freed)
            return False
        if flush and not was_split:
            yield from flush_tlb_all(k, hvo)
        stop = min(end, (section + 1) * PAGES_PER_SECTION)
        old.append(hvo.table.fold(at, stop, kept))
        if at == head:
            hvo.table.set_writable(head, kept)
        at = stop
    if flush:
        yield from flush_tlb_all(k, hvo)
    k.vmemmap.fold(head, order)
    hvo.optimized.add(head)
    frames = np.concatenate(old)
    freed.append(frames[1:] if fresh is None else frames)
    yield "hvo_remap_page", len(frames) - 1
    return True


def _roll_back(
    k: Kernel, hvo: Hvo, head: int, stop: int, kept: int, old: list[Frames], freed: list[Frames]
) -> Work[None]:
    # The head stays on its new frame. Frames come back in the reverse order, last removed first.
    # Source: mm/hugetlb_vmemmap.c:vmemmap_restore_pte() @ v6.12
    if stop == head:
        if hvo.fresh_head and kept in k.page_alloc.allocated:
            k.page_alloc.free_pages(kept, 0)
        return
    frames = np.concatenate(old)
    hvo.table.point(head + PAGES_PER_MEMMAP_PAGE, frames[:0:-1], writable=True)
    if kept != frames[0]:
        freed.append(frames[:1])
    yield from flush_tlb_all(k, hvo)

# unfolding


def hugetlb_vmemmap_restore_folio(k: Kernel, hvo: Hvo, head: int, order: int, flush: bool = True) -> Work[bool]:
    """Give a folded huge page a memory map of its own again; False (nothing changed) if memory is missing.

    Yields ``hvo_restore_page`` for each page of memory map made.
    Source: mm/hugetlb_vmemmap.c:__hugetlb_vmemmap_restore_folio(), alloc_vmemmap_page_list() @ v6.12
    """
    if head not in hvo.optimized:
        return True
    page_alloc = k.page_alloc
    nid, frames = page_alloc.zone_of(head).nid, list[int]()
    for _ in range((1 << order) // PAGES_PER_MEMMAP_PAGE - 1):
        frame = page_alloc.alloc_pages(0, nid)
        if frame is None:
            for taken in reversed(frames):
                page_alloc.free_pages(taken, 0)
            return False
        frames.append(frame)
    hvo.table.point(head + PAGES_PER_MEMMAP_PAGE, np.array(frames[::-1], dtype=np.int64), writable=True)
    k.vmemmap.unfold(head, order)
    hvo.optimized.discard(head)
    yield "hvo_restore_page", len(frames)
    if flush:
        yield from flush_tlb_all(k, hvo)
    return True


def hugetlb_vmemmap_restore_folios(k: Kernel, hvo: Hvo, heads: Sequence[int], order: int) -> Work[list[int]]:
    """Unfold a list of huge pages with one flush, up to the first without memory; returns those not folded now.

    Source: mm/hugetlb_vmemmap.c:hugetlb_vmemmap_restore_folios() @ v6.12
    """
    done: list[int] = []
    restored = 0
    for head in heads:
        folded = head in hvo.optimized
        if not (yield from hugetlb_vmemmap_restore_folio(k, hvo, head, order, flush=False)):
            break
        restored += folded
        done.append(head)
    if restored:
        yield from flush_tlb_all(k, hvo)
    return done

# memory and TLBs


def flush_tlb_all(k: Kernel, hvo: Hvo) -> Work[None]:
    """Every online CPU forgets what it knows of the range, and says so. Source: arch/x86/mm/tlb.c @ v6.12"""
    hvo.flushes += 1
    yield "tlb_flush_cpu", len(k.cpus.online)


def _free_frames(k: Kernel, hvo: Hvo, freed: Sequence[Frames]) -> None:
    # Boot-time memory goes back as ordinary free memory, so managed and total pages grow; what was allocated
    # since goes back to whom it came from.
    # Source: mm/hugetlb_vmemmap.c:free_vmemmap_page(), mm/bootmem_info.c:put_page_bootmem() @ v6.12
    page_alloc = k.page_alloc
    for frames in freed:
        ranges = frame_ranges(frames)
        if _any_within(page_alloc.allocated, ranges, len(frames)):
            taken = np.array([frame in page_alloc.allocated for frame in frames.tolist()], dtype=np.bool_)
            for frame in frames[taken].tolist():
                page_alloc.free_pages(frame, 0)
            ranges = frame_ranges(frames[~taken])
        for start, end in ranges:
            _free_bootmem(k, hvo, start, end)


def _any_within(allocated: Mapping[int, int], ranges: Sequence[tuple[int, int]], frames: int) -> bool:
    # A gigantic page's map is 4,096 frames in a few ranges, while few blocks were handed out by then; the map of a page
    # of 2 MiB is seven frames.
    if frames < len(allocated):
        return any(frame in allocated for start, end in ranges for frame in range(start, end))
    heads = np.fromiter(allocated, dtype=np.int64, count=len(allocated))
    return any(((heads >= start) & (heads < end)).any() for start, end in ranges)


def _free_bootmem(k: Kernel, hvo: Hvo, start: int, end: int) -> None:
    page_alloc = k.page_alloc
    for item in list(page_alloc.pages.links(start, end)):
        zone = page_alloc.nodes[item.nid].zones[item.zone]
        page_alloc.pages.free_bootmem_range(item.start, item.end)
        page_alloc.free_range(zone, item.start, item.end)
        zone.managed_pages += item.end - item.start
    page_alloc.release(start, end)


def hugetlb_vmemmap_optimize_bootmem_folio(k: Kernel, page: BootPage) -> int:
    """A page whose map was made folded becomes like one that HVO folded: aliases read-only, its frame marked.

    Returns how many table entries were changed.
    Source: mm/hugetlb_vmemmap.c:hugetlb_vmemmap_optimize_bootmem_folios() @ v6.15
    """
    hvo = hvo_for(k, page.h.order)
    assert hvo is not None  # it qualified
    changed = hvo.table.wrprotect(page.pfn, page.h.order)
    hvo.optimized.add(page.pfn)
    if k.vmemmap.bootmem_registered:
        frame = k.vmemmap.preinit[page.pfn].frame
        k.page_alloc.pages.bootmem_info(frame, frame + 1, page.pfn // PAGES_PER_SECTION)
    return changed


def _sections(head: int, order: int) -> range:
    return range(head // PAGES_PER_SECTION, (head + (1 << order) - 1) // PAGES_PER_SECTION + 1)
