"""The buddy allocator: free blocks of 1 to 1024 pages, by zone, order and migrate type.

A zone of a large machine has more than a hundred thousand free blocks of the highest order, nearly all side by side,
and few others. So lists of the highest order hold stretches (first pfn, number of blocks), the other lists hold blocks.
What Linux finds by looking into ``struct page`` (is the buddy free, and of which order?) is found in a dictionary of
the free blocks below the highest order.

Source: mm/page_alloc.c @ v6.12
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from minikern.mm.page.mmzone import (
    MAX_PAGE_ORDER,
    PAGEBLOCK_NR_PAGES,
    PAGEBLOCK_ORDER,
    ZONE_MOVABLE,
    ZONE_NORMAL,
    Pglist,
    Zone,
)
from minikern.mm.page.page_map import PageMap
from minikern.state.pageblock_types import PageblockTypes

NR_PAGE_ORDERS = MAX_PAGE_ORDER + 1
MAX_BLOCK = 1 << MAX_PAGE_ORDER
# Source: include/linux/mmzone.h:enum migratetype @ v6.12, with CONFIG_CMA
MIGRATE_UNMOVABLE, MIGRATE_MOVABLE, MIGRATE_RECLAIMABLE, MIGRATE_HIGHATOMIC, MIGRATE_CMA = range(5)
MIGRATE_PCPTYPES = MIGRATE_HIGHATOMIC  # those below may take each other's memory
FREE_LISTS = MIGRATE_CMA + 1  # pages being isolated are never free at boot
# Source: mm/page_alloc.c:fallbacks @ v6.12
FALLBACKS = {
    MIGRATE_UNMOVABLE: (MIGRATE_RECLAIMABLE, MIGRATE_MOVABLE),
    MIGRATE_MOVABLE: (MIGRATE_RECLAIMABLE, MIGRATE_UNMOVABLE),
    MIGRATE_RECLAIMABLE: (MIGRATE_UNMOVABLE, MIGRATE_MOVABLE),
}


def _mergeable(one: int, other: int) -> bool:
    # Whole pageblocks of CMA stay apart. Source: mm/internal.h:migratetype_is_mergeable() @ v6.12
    return one == other or (one < MIGRATE_PCPTYPES and other < MIGRATE_PCPTYPES)


def split_blocks(start: int, end: int) -> Iterator[tuple[int, int]]:
    """[start, end) as the largest aligned blocks, ascending: (pfn, order).

    Source: mm/memblock.c:__free_pages_memory() @ v6.12
    """
    while start < end:
        order = min(MAX_PAGE_ORDER, (start & -start).bit_length() - 1) if start else MAX_PAGE_ORDER
        while start + (1 << order) > end:
            order -= 1
        yield start, order
        start += 1 << order


@dataclass
class FreeArea:
    """The free blocks of one zone."""

    small: list[list[OrderedDict[int, None]]] = field(
        default_factory=lambda: [[OrderedDict() for _ in range(FREE_LISTS)] for _ in range(MAX_PAGE_ORDER)]
    )
    largest: list[deque[tuple[int, int]]] = field(
        default_factory=lambda: [deque[tuple[int, int]]() for _ in range(FREE_LISTS)]
    )
    nr_free: list[int] = field(default_factory=lambda: [0] * NR_PAGE_ORDERS)
    where: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Order and type of the free blocks below the highest order, by head pfn."""
    has_cma: bool = False  # blocks of that type have been here

    @property
    def free_pages(self) -> int:
        """Pages in all lists."""
        return sum(count << order for order, count in enumerate(self.nr_free))

    def free_pages_of(self, migratetype: int) -> int:
        """Pages in the lists of one type."""
        small = sum(len(lists[migratetype]) << order for order, lists in enumerate(self.small))
        return small + sum(blocks for _, blocks in self.largest[migratetype]) * MAX_BLOCK

    def add(self, pfn: int, order: int, migratetype: int, tail: bool) -> None:
        """Put a block on its list."""
        self.nr_free[order] += 1
        self.has_cma |= migratetype == MIGRATE_CMA
        if order == MAX_PAGE_ORDER:
            self._add_largest(pfn, 1, migratetype, tail)
            return
        self.small[order][migratetype][pfn] = None
        if not tail:
            self.small[order][migratetype].move_to_end(pfn, last=False)
        self.where[pfn] = (order, migratetype)

    def add_stretch(self, pfn: int, blocks: int, migratetype: int) -> None:
        """Put neighbouring blocks of the highest order on the tail of their list, in ascending order."""
        self.nr_free[MAX_PAGE_ORDER] += blocks
        self.has_cma |= migratetype == MIGRATE_CMA
        self._add_largest(pfn, blocks, migratetype, tail=True)

    def _add_largest(self, pfn: int, blocks: int, migratetype: int, tail: bool) -> None:
        stretches = self.largest[migratetype]
        if tail and stretches and stretches[-1][0] + stretches[-1][1] * MAX_BLOCK == pfn:
            stretches[-1] = (stretches[-1][0], stretches[-1][1] + blocks)
        elif tail:
            stretches.append((pfn, blocks))
        else:
            stretches.appendleft((pfn, blocks))

    def remove(self, pfn: int) -> int:
        """Take a block below the highest order off its list; returns its migrate type."""
        order, migratetype = self.where.pop(pfn)
        del self.small[order][migratetype][pfn]
        self.nr_free[order] -= 1
        return migratetype

    def take_first(self, order: int, migratetype: int) -> int | None:
        """Take the first block off a list, None if it is empty."""
        if order == MAX_PAGE_ORDER:
            stretches = self.largest[migratetype]
            if not stretches:
                return None
            pfn, blocks = stretches.popleft()
            if blocks > 1:
                stretches.appendleft((pfn + MAX_BLOCK, blocks - 1))
            self.nr_free[order] -= 1
            return pfn
        blocks_of = self.small[order][migratetype]
        if not blocks_of:
            return None
        pfn = next(iter(blocks_of))
        self.remove(pfn)
        return pfn

    def take_overlapping(self, start: int, end: int) -> list[tuple[int, int]]:
        """Take every free block that meets [start, end) off the lists; they are (pfn, order)."""
        taken = []
        for pfn, (order, _) in list(self.where.items()):
            if pfn < end and start < pfn + (1 << order):
                self.remove(pfn)
                taken.append((pfn, order))
        for stretches in self.largest:
            for pfn, blocks in list(stretches):
                first = max(pfn, start // MAX_BLOCK * MAX_BLOCK)
                last = min(pfn + blocks * MAX_BLOCK, -(-end // MAX_BLOCK) * MAX_BLOCK)
                if first >= last:
                    continue
                at = stretches.index((pfn, blocks))
                del stretches[at]
                rest = [(last, (pfn + blocks * MAX_BLOCK - last) // MAX_BLOCK), (pfn, (first - pfn) // MAX_BLOCK)]
                for part in rest:
                    if part[1]:
                        stretches.insert(at, part)
                self.nr_free[MAX_PAGE_ORDER] -= (last - first) // MAX_BLOCK
                taken += [(head, MAX_PAGE_ORDER) for head in range(first, last, MAX_BLOCK)]
        return taken

    def stretches(self) -> Iterator[tuple[int, int, int]]:
        """All free blocks as (pfn, order, how many side by side)."""
        for pfn, (order, _) in self.where.items():
            yield pfn, order, 1
        for stretches in self.largest:
            for pfn, blocks in stretches:
                yield pfn, MAX_PAGE_ORDER, blocks


class PageAlloc:
    """All zones' free blocks, the pageblocks' migrate types, and the page counts of the machine.

    ``totalram_pages`` is what the kernel calls by that name. ``fallback_order`` gives each node's zonelist as node ids
    (default: the node, then the others by number). ``grow`` is asked for more pages when a zone has none.
    """

    def __init__(self, pages: PageMap, nodes: list[Pglist], end_pfn: int) -> None:
        self.pages = pages
        self.nodes = {node.nid: node for node in nodes}
        self.totalram_pages = 0
        self.fallback_order: dict[int, list[int]] = {}
        self.grow: Callable[[Zone, int], bool] | None = None
        self.areas: dict[tuple[int, int], FreeArea] = {}
        self.allocated: dict[int, int] = {}  # head pfn -> order of blocks handed out
        self.min_free_kbytes = 0
        self.wmarks: dict[tuple[int, int], Any] = {}  # by node and zone, see ``watermarks``
        self.lowmem_reserve: dict[tuple[int, int], list[int]] = {}  # by node and zone: pages, by higher zone
        self.wmark_managed: dict[tuple[int, int], int] = {}  # managed pages when the watermarks were computed
        self.reserve_managed: dict[tuple[int, int], int] = {}  # ... and when lowmem_reserve was
        self.released: list[tuple[int, int]] = []  # [start, end) pfn of reserved pages that were handed over after all
        self.cma_scratch: list[tuple[int, int]] = []  # [start, end) pfn of pageblocks that are CMA from the beginning
        # Pageblocks are UNMOVABLE until somebody says otherwise: the flags live in zeroed memory.
        self.pageblock_types = PageblockTypes(-(-end_pfn // PAGEBLOCK_NR_PAGES))
        for node in nodes:
            for zone in node.zones:
                if zone.present_pages:
                    self.areas[node.nid, zone.index] = FreeArea()

    # pageblocks

    def set_movable(self, start: int, end: int) -> None:
        """Pageblocks that start inside [start, end) become MOVABLE, those of scratch CMA.

        Source: mm/mm_init.c:memmap_init_range(), kho_scratch_migratetype() @ v7.2
        """
        self._set_types(start, end, MIGRATE_MOVABLE)
        for low, high in self.cma_scratch:
            self._set_types(max(start, low), min(end, high), MIGRATE_CMA)

    def set_cma(self, start: int, end: int) -> None:
        """Pageblocks that start inside [start, end) become CMA."""
        self._set_types(start, end, MIGRATE_CMA)

    def _set_types(self, start: int, end: int, migratetype: int) -> None:
        if start < end:
            self.pageblock_types[-(-start // PAGEBLOCK_NR_PAGES) : -(-end // PAGEBLOCK_NR_PAGES)] = migratetype

    def migratetype(self, pfn: int) -> int:
        """Migrate type of the page's block."""
        return self.pageblock_types[pfn // PAGEBLOCK_NR_PAGES]

    # freeing

    def free_one_page(self, zone: Zone, pfn: int, order: int, tail: bool = False) -> None:
        """Give back a block, merging it with its buddy while that is free and of the same order.

        Source: mm/page_alloc.c:__free_one_page() @ v6.12
        """
        area = self.areas[zone.nid, zone.index]
        migratetype = self.migratetype(pfn)
        while order < MAX_PAGE_ORDER:
            buddy = pfn ^ (1 << order)
            entry = area.where.get(buddy)
            if entry is None or entry[0] != order:
                break
            if order >= PAGEBLOCK_ORDER and not _mergeable(migratetype, entry[1]):
                break
            buddy_type = area.remove(buddy)
            self.pages.clear_buddy(buddy)
            if order >= PAGEBLOCK_ORDER and buddy_type != migratetype:
                self.pageblock_types[buddy // PAGEBLOCK_NR_PAGES] = migratetype
            pfn &= ~(1 << order)
            order += 1
        area.add(pfn, order, migratetype, tail)
        self.pages.set_buddy(pfn, order)

    def free_range(self, zone: Zone, start: int, end: int, tail: bool = True) -> None:
        """Give back all pages of [start, end), which lie in ``zone``, to the tails of the lists.

        The same blocks result as from freeing page by page.
        """
        low, high = -(-start // MAX_BLOCK) * MAX_BLOCK, end // MAX_BLOCK * MAX_BLOCK
        if low >= high:
            low = high = start
        for pfn, order in split_blocks(start, low):
            self.free_one_page(zone, pfn, order, tail)
        self._free_largest(zone, low, high)
        for pfn, order in split_blocks(high, end):
            self.free_one_page(zone, pfn, order, tail)

    def _free_largest(self, zone: Zone, low: int, high: int) -> None:
        if low >= high:
            return
        self.pages.set_buddy_blocks(low, high, MAX_PAGE_ORDER)
        self.add_largest(zone, low, high)

    def add_largest(self, zone: Zone, low: int, high: int) -> None:
        """Put the highest-order blocks that fill [low, high) on the lists; their heads are marked already."""
        area = self.areas[zone.nid, zone.index]
        per_block = MAX_BLOCK // PAGEBLOCK_NR_PAGES
        types = self.pageblock_types[low // PAGEBLOCK_NR_PAGES : high // PAGEBLOCK_NR_PAGES : per_block]
        changes = [0, *(np.flatnonzero(types[1:] != types[:-1]) + 1).tolist(), len(types)]
        for first, last in pairwise(changes):
            area.add_stretch(low + first * MAX_BLOCK, last - first, int(types[first]))

    def free_reserved_range(self, start: int, end: int) -> int:
        """Give reserved pages, which nobody managed until now, to the heads of the lists; returns how many.

        Source: mm/page_alloc.c:free_reserved_page() @ v6.12
        """
        count = 0
        for item in list(self.pages.links(start, end)):
            zone = self.nodes[item.nid].zones[item.zone]
            pages = self.pages.free_range(item.start, item.end)
            self.free_range(zone, item.start, item.end, tail=False)
            zone.managed_pages += pages
            self.release(item.start, item.end)
            count += pages
        return count

    def release(self, start: int, end: int) -> None:
        """Pages [start, end), reserved until now, are the allocator's and part of the machine's total from now on.

        Source: mm/page_alloc.c:adjust_managed_page_count() @ v6.12
        """
        self.totalram_pages += end - start
        if self.released and self.released[-1][1] == start:
            start = self.released.pop()[0]
        self.released.append((start, end))

    def free_pages(self, pfn: int, order: int) -> None:
        """Give back what :meth:`alloc_pages` handed out. ValueError if it did not."""
        if self.allocated.get(pfn) != order:
            raise ValueError(f"freeing pfn {pfn:#x} order {order}: that block was not handed out")
        del self.allocated[pfn]
        self.pages.set_refcount(pfn, 0)
        self.free_one_page(self.zone_of(pfn), pfn, order)

    # allocating

    def alloc_contig_range(self, start: int, end: int) -> bool:
        """Take the pages of [start, end), in one zone, out of the allocator; False if one of them is not free.

        Source: mm/page_alloc.c:alloc_contig_range() @ v6.12, without moving what is in the way
        """
        zone = self.zone_of(start)
        taken = self.areas[zone.nid, zone.index].take_overlapping(start, end)
        for pfn, _ in taken:
            self.pages.clear_buddy(pfn)
        whole = sum(min(pfn + (1 << order), end) - max(pfn, start) for pfn, order in taken) == end - start
        for pfn, order in taken:
            last = pfn + (1 << order)
            for low, high in ((pfn, min(last, start)), (max(pfn, end), last)) if whole else ((pfn, last),):
                if low < high:
                    self.free_range(zone, low, high)
        for pfn in range(start, end) if whole else ():
            self.allocated[pfn] = 0
            self.pages.set_refcount(pfn, 1)
        return whole

    def alloc_pages(
        self,
        order: int = 0,
        nid: int = 0,
        migratetype: int = MIGRATE_UNMOVABLE,
        this_node: bool = False,
        highest_zone: int | None = None,
    ) -> int | None:
        """Pfn of a free block of 2**order pages, None when no zone of the zonelist has one.

        ``this_node`` keeps to ``nid``; ``highest_zone`` bounds the zone index; by default only movable pages may come
        from the Movable zone.
        Source: mm/page_alloc.c:get_page_from_freelist() @ v6.12
        """
        others = [other for other in self.nodes if other != nid]
        if highest_zone is None:
            highest_zone = ZONE_MOVABLE if migratetype == MIGRATE_MOVABLE else ZONE_NORMAL
        nids = [nid] if this_node else self.fallback_order.get(nid, [nid, *others])
        for candidate in nids:
            for zone in reversed(self.nodes[candidate].zones[: highest_zone + 1]):
                pfn = self._alloc_zone(zone, order, migratetype) if zone.present_pages else None
                if pfn is not None:
                    self.allocated[pfn] = order
                    self.pages.set_refcount(pfn, 1)
                    return pfn
        return None

    def _alloc_zone(self, zone: Zone, order: int, migratetype: int) -> int | None:
        pfn = self._rmqueue(zone, order, migratetype)
        while pfn is None and self.grow is not None and self.grow(zone, order):
            pfn = self._rmqueue(zone, order, migratetype)
        return pfn

    def _rmqueue(self, zone: Zone, order: int, migratetype: int) -> int | None:
        # Movable pages may come from CMA, and do first where it holds more than half of what is free.
        # Source: mm/page_alloc.c:__rmqueue() @ v6.12
        area = self.areas[zone.nid, zone.index]
        cma = area.free_pages_of(MIGRATE_CMA) if migratetype == MIGRATE_MOVABLE and area.has_cma else 0
        pfn = self._rmqueue_smallest(area, order, MIGRATE_CMA) if 2 * cma > area.free_pages else None
        if pfn is None:
            pfn = self._rmqueue_smallest(area, order, migratetype)
        if pfn is None and cma:
            pfn = self._rmqueue_smallest(area, order, MIGRATE_CMA)
        return self._rmqueue_fallback(area, order, migratetype) if pfn is None else pfn

    def _rmqueue_smallest(self, area: FreeArea, order: int, migratetype: int) -> int | None:
        for current in range(order, NR_PAGE_ORDERS):
            pfn = area.take_first(current, migratetype)
            if pfn is not None:
                return self._expand(area, pfn, order, current, migratetype)
        return None

    def _rmqueue_fallback(self, area: FreeArea, order: int, migratetype: int) -> int | None:
        # The largest block of another type is taken; a whole pageblock changes its type with it. Smaller blocks are
        # taken one by one, their neighbours stay where they are. Source: mm/page_alloc.c:__rmqueue_fallback()
        for current in range(MAX_PAGE_ORDER, order - 1, -1):
            for other in FALLBACKS[migratetype]:
                pfn = area.take_first(current, other)
                if pfn is None:
                    continue
                if current >= PAGEBLOCK_ORDER:
                    first = pfn // PAGEBLOCK_NR_PAGES
                    self.pageblock_types[first : first + (1 << (current - PAGEBLOCK_ORDER))] = migratetype
                    other = migratetype
                return self._expand(area, pfn, order, current, other)
        return None

    def _expand(self, area: FreeArea, pfn: int, order: int, current: int, migratetype: int) -> int:
        # Halve the block until it fits; upper halves go to the heads of their lists. Source: expand() @ v6.12
        self.pages.clear_buddy(pfn)
        while current > order:
            current -= 1
            half = pfn + (1 << current)
            area.add(half, current, migratetype, tail=False)
            self.pages.set_buddy(half, current)
        return pfn

    # counting

    def zone_of(self, pfn: int) -> Zone:
        """The zone that manages the pfn. KeyError if none does."""
        for item in self.pages.links(pfn, pfn + 1):
            return self.nodes[item.nid].zones[item.zone]
        raise KeyError(f"pfn {pfn:#x} belongs to no zone")

    def nr_free_pages(self) -> int:
        """Pages in all free lists."""
        return sum(area.free_pages for area in self.areas.values())

    def buddyinfo(self) -> list[tuple[int, str, list[int]]]:
        """(node, zone name, free blocks by order), as /proc/buddyinfo counts them."""
        return [
            (nid, self.nodes[nid].zones[index].name, list(area.nr_free)) for (nid, index), area in self.areas.items()
        ]

    def check(self) -> None:
        """Invariants: blocks aligned, inside their zone, disjoint, not mergeable, and counted right."""
        for (nid, index), area in self.areas.items():
            _check_area(area, self.nodes[nid].zones[index])


def _check_area(area: FreeArea, zone: Zone) -> None:
    counts = [0] * NR_PAGE_ORDERS
    end_before = -1
    for pfn, order, blocks in sorted(area.stretches()):
        end = pfn + (blocks << order)
        assert pfn % (1 << order) == 0, f"free block {pfn:#x} is not aligned to order {order}"
        assert pfn >= end_before, f"free block {pfn:#x} overlaps the one before it"
        inside = zone.start_pfn <= pfn and end <= zone.end_pfn
        assert inside, f"free block {pfn:#x}..{end:#x} leaves zone {zone.name} of node {zone.nid}"
        if order < MAX_PAGE_ORDER:
            order_there, migratetype = area.where[pfn]
            buddy = area.where.get(pfn ^ (1 << order))
            apart = buddy is not None and order >= PAGEBLOCK_ORDER and not _mergeable(migratetype, buddy[1])
            together = buddy is None or buddy[0] != order or apart
            assert together, f"free block {pfn:#x} was not merged with its buddy"
            assert pfn in area.small[order_there][migratetype], f"free block {pfn:#x} is on no list"
        counts[order] += blocks
        end_before = end
    assert counts == area.nr_free, f"zone {zone.name}: lists hold {counts} blocks, nr_free says {area.nr_free}"
    listed = sum(len(blocks) for lists in area.small for blocks in lists)
    assert listed == len(area.where), f"zone {zone.name}: {listed} blocks on lists, {len(area.where)} known"
