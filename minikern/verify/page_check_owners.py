"""The verifier's look at who owns memory: nobody twice, and what was reserved only after it was given back."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from minikern.verify.page_check_lists import FRAME_PAGES, PAGEBLOCK, Wrong, listed_blocks
from minikern.verify.page_check_zones import memory

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

# Source: include/linux/mmzone.h:enum migratetype @ v6.12, with CONFIG_CMA
UNMOVABLE, MOVABLE, HIGHATOMIC, CMA = 0, 1, 3, 4
SECTION_FRAMES = 512  # pages of memory map of one section


class Owned(NamedTuple):
    """Pages [start, end) that somebody has."""

    start: int
    end: int
    by: str


def check_owners(k: Kernel) -> None:
    """Free blocks, allocations and huge pages are disjoint, and none is on memory that is still reserved."""
    owned = sorted(_owned(k))
    for one, other in pairwise(owned):
        if other.start < one.end:
            raise Wrong(other.start, f"pfn {other.start:#x}: {other.by} inside the {one.by} of pfn {one.start:#x}")
    kept = ((r.base >> 12, (r.end + 4095) >> 12) for r in k.memblock.reserved_regions())
    still = list(_without(_joined(sorted(kept)), _joined(sorted(k.page_alloc.released))))
    starts = [low for low, _ in still]
    for item in owned:
        at = bisect_right(starts, item.end - 1) - 1
        if at >= 0 and still[at][1] > item.start:
            raise Wrong(max(item.start, still[at][0]), f"{item.by} of pfn {item.start:#x}: on reserved memory")


def _owned(k: Kernel) -> Iterator[Owned]:
    for block in listed_blocks(k):
        yield Owned(block.pfn, block.end, "free block")
    for pfn, order in k.page_alloc.allocated.items():
        yield Owned(pfn, pfn + (1 << order), "allocation")
    for pfn, order in k.hugetlb.folios():
        if pfn % (1 << order):
            raise Wrong(pfn, f"pfn {pfn:#x}: a huge page of order {order} that is not aligned to its size")
        yield Owned(pfn, pfn + (1 << order), "huge page")


def _joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    result: list[tuple[int, int]] = []
    for low, high in ranges:
        if result and low <= result[-1][1]:
            result[-1] = (result[-1][0], max(high, result[-1][1]))
        else:
            result.append((low, high))
    return result


def _without(ranges: list[tuple[int, int]], less: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    at = 0
    for low, high in ranges:
        while at < len(less) and less[at][1] <= low:
            at += 1
        cut = at
        while cut < len(less) and less[cut][0] < high:
            if low < less[cut][0]:
                yield low, less[cut][0]
            low, cut = max(low, less[cut][1]), cut + 1
        if low < high:
            yield low, high


# pageblocks


def check_pageblocks(k: Kernel) -> None:
    """Types of pageblocks: free blocks are listed by them, CMA is where its areas are, holes are nobody's."""
    types = np.asarray(k.page_alloc.pageblock_types)
    for block in listed_blocks(k):
        first, last = block.pfn // PAGEBLOCK, -(-block.end // PAGEBLOCK)
        wrong = np.flatnonzero(types[first:last] != block.migratetype)
        if len(wrong):
            pfn = max(block.pfn, (first + int(wrong[0])) * PAGEBLOCK)
            what = f"on the list of type {block.migratetype}, its pageblock has type {types[pfn // PAGEBLOCK]}"
            raise Wrong(block.pfn, f"free block {block.pfn:#x} order {block.order}: {what}")
    # Nothing sets blocks apart for allocations that must not wait before /init asks for some.
    wrong = np.flatnonzero((types > CMA) | (types == HIGHATOMIC))
    if len(wrong):
        at = int(wrong[0])
        raise Wrong(at * PAGEBLOCK, f"pageblock {at}: type {types[at]}, which none can have")
    _check_cma(k)
    _check_unused(k)


def _cma_pages(k: Kernel) -> list[tuple[int, int]]:
    # Areas are CMA once they were handed over; scratch that was found is from the beginning.
    ranges = [(area.base >> 12, (area.base + area.size) >> 12) for area in k.cma.areas]
    scratch = [(area.addr >> 12, (area.addr + area.size) >> 12) for area in k.kho.scratch]
    if k.kho.incoming is not None:
        return _joined(sorted(scratch))
    released = _joined(sorted(k.page_alloc.released))
    areas = _joined(sorted([*ranges, *scratch]))
    return [area for area in areas if any(low <= area[0] and area[1] <= high for low, high in released)]


def _check_cma(k: Kernel) -> None:
    types = np.asarray(k.page_alloc.pageblock_types)
    expected = np.zeros_like(types, dtype=np.bool_)
    for low, high in _cma_pages(k):
        expected[-(-low // PAGEBLOCK) : high // PAGEBLOCK] = True
    wrong = np.flatnonzero((types == CMA) != expected)
    if len(wrong):
        at = int(wrong[0])
        what = "is kept for CMA, but has another type" if expected[at] else "has type CMA, but is in no area"
        raise Wrong(at * PAGEBLOCK, f"pageblock {at} of pfn {at * PAGEBLOCK:#x} {what}")
    for node in k.nodes:
        for zone in node.zones:
            low, high = zone.start_pfn, zone.start_pfn + zone.spanned_pages
            pages = sum(max(0, min(end, high) - max(start, low)) for start, end in _cma_pages(k))
            if zone.cma_pages not in (pages, 0) or (pages and not zone.cma_pages and k.kho.incoming is None):
                what = f"{zone.cma_pages} pages for CMA, its areas have {pages}"
                raise Wrong(zone.start_pfn, f"node {node.nid} zone {zone.name}: {what}")


def _check_unused(k: Kernel) -> None:
    # A pageblock that begins in a hole is never made movable, and nobody takes it whole. One that begins in memory is
    # movable as soon as its pages are initialised, which deferred pages are only if they are free; from then on nobody
    # changes it who does not take pages of it.
    types = np.asarray(k.page_alloc.pageblock_types)
    inside, used = np.zeros(len(types), dtype=np.bool_), np.zeros(len(types), dtype=np.bool_)
    for item in memory(k):
        inside[-(-item.start // PAGEBLOCK) : -(-item.end // PAGEBLOCK)] = True
    for start, end, _ in _owned(k):
        used[start // PAGEBLOCK : -(-end // PAGEBLOCK)] = True
    deferred = k.config.enabled("CONFIG_DEFERRED_STRUCT_PAGE_INIT")
    untouched = inside & ~used & (types != MOVABLE) & (types != CMA) & ((types != UNMOVABLE) | (not deferred))
    for wrong, where in ((~inside & (types != UNMOVABLE), "begins in no memory"), (untouched, "was never free")):
        if wrong.any():
            at = int(wrong.argmax())
            raise Wrong(at * PAGEBLOCK, f"pageblock {at} of pfn {at * PAGEBLOCK:#x} {where}, but has type {types[at]}")


# frames of the memory map


def check_map_frames(k: Kernel) -> None:
    """Every page of memory map has a frame of its own but the folded ones, and no such frame is free memory."""
    table = k.hugetlb.page_table
    if table is None:
        return
    frames, pfns = [], []
    for section in k.vmemmap.sections:
        first = section * SECTION_FRAMES * FRAME_PAGES
        found, writable = table.entries(first, first + SECTION_FRAMES * FRAME_PAGES)
        frames.append(found[writable])
        pfns.append(first + np.flatnonzero(writable) * FRAME_PAGES)
    used, of = np.concatenate(frames), np.concatenate(pfns)
    order = np.argsort(used, kind="stable")
    used, of = used[order], of[order]
    twice = np.flatnonzero(used[1:] == used[:-1])
    if len(twice):
        at = int(twice[0])
        raise Wrong(int(of[at + 1]), f"memory map of pfn {of[at + 1]:#x}: on the frame of that of pfn {of[at]:#x}")
    for block in listed_blocks(k):
        at = int(np.searchsorted(used, block.pfn))
        if at < len(used) and used[at] < block.end:
            raise Wrong(int(used[at]), f"frame {used[at]:#x} holds memory map of pfn {of[at]:#x}, but is free")
