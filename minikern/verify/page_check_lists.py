"""The verifier's look at free lists, page counts and folded memory map; shares no code with the allocator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from minikern.verify.page_check_state import NOBODY, NOT_YET, Place, Span

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

LARGEST = 10  # order of the largest free block; Source: include/linux/mmzone.h:MAX_PAGE_ORDER @ v6.12
PAGEBLOCK, PAGEBLOCK_ORDER = 512, 9
SHARED_TYPES = 3  # migrate types below may have each other's memory
FRAME_PAGES = 64  # struct pages in one page of memory map


class Wrong(Exception):  # noqa: N818 - it says what was found
    """Something is wrong; ``pfn`` is the first page that it concerns."""

    def __init__(self, pfn: int, message: str) -> None:
        super().__init__(message)
        self.pfn = pfn


class Block(NamedTuple):
    """``blocks`` free blocks side by side on the list of one order and type of one zone."""

    pfn: int
    order: int
    blocks: int
    migratetype: int
    nid: int
    zone: int

    @property
    def end(self) -> int:
        """First pfn behind the blocks."""
        return self.pfn + (self.blocks << self.order)


def listed_blocks(k: Kernel) -> Iterator[Block]:
    """Every free block as the lists themselves have it."""
    for (nid, zone), area in k.page_alloc.areas.items():
        for order, lists in enumerate(area.small):
            for migratetype, blocks in enumerate(lists):
                for pfn in blocks:
                    yield Block(pfn, order, 1, migratetype, nid, zone)
        for migratetype, stretches in enumerate(area.largest):
            for pfn, count in stretches:
                yield Block(pfn, LARGEST, count, migratetype, nid, zone)


def check_free_lists(k: Kernel) -> int:
    """Verify the free lists of all zones; returns the number of free blocks. Wrong names the first bad block."""
    blocks = sorted(listed_blocks(k))
    for block in blocks:
        _check_block(k, block)
    for one, other in pairwise(blocks):
        if other.pfn < one.end:
            raise Wrong(other.pfn, f"free block {other.pfn:#x} order {other.order}: it is on two lists, or overlaps"
                        f" block {one.pfn:#x} order {one.order}")  # fmt: skip
    _check_merging(blocks)
    _check_counts(k, blocks)
    return sum(block.blocks for block in blocks)


def _check_block(k: Kernel, block: Block) -> None:
    name = f"free block {block.pfn:#x} order {block.order}"
    zone = k.page_alloc.nodes[block.nid].zones[block.zone]
    if block.blocks < 1:
        raise Wrong(block.pfn, f"{name}: a stretch of {block.blocks} blocks")
    if block.pfn & ((1 << block.order) - 1):
        raise Wrong(block.pfn, f"{name}: not aligned to its size")
    if block.pfn < zone.start_pfn or block.end > zone.start_pfn + zone.spanned_pages:
        raise Wrong(block.pfn, f"{name}: outside of node {block.nid} zone {zone.name}, on whose list it is")


def _check_merging(blocks: Sequence[Block]) -> None:
    small = {(b.pfn, b.order): b for b in blocks if b.order < LARGEST}
    for (pfn, order), block in small.items():
        buddy = small.get((pfn ^ (1 << order), order))
        if buddy is None or (order >= PAGEBLOCK_ORDER and _kept_apart(block.migratetype, buddy.migratetype)):
            continue
        if (buddy.nid, buddy.zone) == (block.nid, block.zone):
            low = min(pfn, buddy.pfn)
            raise Wrong(low, f"free block {low:#x} order {order}: its buddy is free, too, and was not merged with it")


def _kept_apart(one: int, other: int) -> bool:
    # Whole pageblocks of CMA, or of any type that others must not have, are not merged with others.
    return one != other and max(one, other) >= SHARED_TYPES


def _check_counts(k: Kernel, blocks: Sequence[Block]) -> None:
    counted: Counter[tuple[int, int, int]] = Counter()
    for block in blocks:
        counted[block.nid, block.zone, block.order] += block.blocks
    for (nid, index), area in k.page_alloc.areas.items():
        zone = k.page_alloc.nodes[nid].zones[index]
        for order, said in enumerate(area.nr_free):
            found = counted[nid, index, order]
            if said != found:
                where = f"node {nid} zone {zone.name} order {order}"
                raise Wrong(zone.start_pfn, f"{where}: {found} free blocks on the lists, nr_free says {said}")
        small = {b.pfn: (b.order, b.migratetype) for b in blocks if (b.nid, b.zone) == (nid, index) and b.order < 10}
        for pfn in sorted(small.keys() | area.where.keys()):
            if small.get(pfn) != area.where.get(pfn):
                what = f"free block {pfn:#x}: lists have (order, type) {small.get(pfn)}, its page {area.where.get(pfn)}"
                raise Wrong(pfn, what)


def check_accounting(k: Kernel, pieces: Sequence[tuple[Place, Span]]) -> None:
    """managed + reserved + deferred = present in each zone, huge pages being managed; and their sum is totalram.

    ``pieces`` are all pages by place and state.
    """
    owned = ("free", "allocated", "huge", "first huge", "second huge", "memory map given back")
    present: Counter[tuple[int, int]] = Counter()
    managed: Counter[tuple[int, int]] = Counter()
    waiting: Counter[tuple[int, int]] = Counter()
    for place, span in pieces:
        if span.expected.state == NOBODY:
            raise Wrong(place.start, f"pfn {place.start:#x}: {NOBODY}")
        if place.memory:
            pages, key = place.end - place.start, (place.nid, place.zone)
            present[key] += pages
            managed[key] += pages if span.expected.state.startswith(owned) else 0
            waiting[key] += pages if span.expected.state == NOT_YET else 0
    for node in k.nodes:
        for zone in node.zones:
            key = (node.nid, zone.index)
            if zone.present_pages != present[key]:
                raise _miscount(zone, "present", zone.present_pages, present[key], "memory has")
            if zone.managed_pages != managed[key]:
                raise _miscount(zone, "managed", zone.managed_pages, managed[key], "free, allocated and huge pages are")
    total = managed.total() + waiting.total()
    if k.page_alloc.totalram_pages != total:
        first = k.nodes[0].start_pfn
        raise Wrong(first, f"totalram is {k.page_alloc.totalram_pages} pages, managed and deferred are {total}")


def _miscount(zone: Any, what: str, said: int, found: int, why: str) -> Wrong:
    return Wrong(zone.start_pfn, f"node {zone.nid} zone {zone.name}: {said} pages {what}, but {why} {found}")


def check_folds(k: Kernel) -> None:
    """The memory map of an optimised huge page: one writable frame, all others read-only aliases of it."""
    table = k.hugetlb.page_table
    if table is None:
        return
    orders = dict(k.hugetlb.folios())
    for head in sorted(k.hugetlb.optimized):
        if head not in orders:
            raise Wrong(head, f"pfn {head:#x}: its memory map is folded, but it is no huge page")
        kept = table.lookup(head)
        if not kept.writable:
            raise Wrong(head, f"pfn {head:#x}: the memory map of the head of a huge page is mapped read-only")
        frames, writable = table.entries(head, head + (1 << orders[head]))
        wrong = np.flatnonzero((writable | (frames != kept.frame))[1:])
        if len(wrong):
            at = int(wrong[0]) + 1
            mode = "writable" if writable[at] else "read-only"
            what = f"expected a read-only alias of frame {kept.frame:#x}, came {mode} frame {frames[at]:#x}"
            raise Wrong(head + at * FRAME_PAGES, f"memory map of pfn {head + at * FRAME_PAGES:#x}: {what}")
        for pfn in range(head + FRAME_PAGES, head + (1 << orders[head]), FRAME_PAGES):
            if k.vmemmap.folded_head(pfn) != head:
                raise Wrong(pfn, f"pfn {pfn:#x}: its memory map is folded to pfn {head:#x}, but reads its own")
