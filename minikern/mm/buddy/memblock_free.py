"""memblock_free_all(): reserved pages are marked, free memory goes to the buddy allocator, deferred memory waits.

Source: mm/memblock.c, mm/mm_init.c, mm/bootmem_info.c @ v6.12
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hw.units import PAGE_SIZE, align_up
from minikern.mm.page.mmzone import PAGES_PER_SECTION, Pglist, Zone
from minikern.mm.page.page_map import PageMap
from minikern.mm.page.vmemmap import joined
from minikern.state.memblock import Flags, Region, merge
from minikern.state.page_alloc import PageAlloc

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel


def memblock_free_all(k: Kernel) -> int:
    """Hand free memory over; returns the pages of all free memory, deferred ones included, and adds them to totalram.

    ``k.fallback`` are the zonelists as node ids. Charges ``reserved_page_init``, ``reserved_page_set`` and
    ``struct_page_free``. Source: mm/memblock.c:memblock_free_all() @ v6.12
    """
    for node in k.nodes:
        for zone in node.zones:
            zone.managed_pages = 0
    page_alloc: PageAlloc = k.page_alloc
    page_alloc.fallback_order = dict(k.fallback)
    memmap_init_reserved_pages(k)
    pages = free_low_memory_core_early(k)
    page_alloc.grow = lambda zone, order: deferred_grow_zone(k, zone, order)
    page_alloc.totalram_pages += pages
    return pages


# reserved pages


def memmap_init_reserved_pages(k: Kernel) -> None:
    """Set PG_reserved on every page of the reserved ranges, initialising those in deferred memory first.

    Ranges flagged RSRV_NOINIT are left out. Source: mm/memblock.c:memmap_init_reserved_pages() @ v6.12
    """
    initialised = set_only = 0
    for region in _nomap_regions(k) + reserved_by_node(k):
        start, end = region.base // PAGE_SIZE, -(-region.end // PAGE_SIZE)
        first_deferred = k.page_alloc.nodes[region.nid].first_deferred_pfn
        cut = end if first_deferred is None else min(max(first_deferred, start), end)
        set_only += k.page_alloc.pages.reserve_range(start, cut)
        new, old = _reserve_deferred(k.page_alloc.pages, k.page_alloc.nodes[region.nid], cut, end)
        initialised, set_only = initialised + new, set_only + old
    k.charge("reserved_page_init", initialised)
    k.charge("reserved_page_set", set_only)


def _reserve_deferred(pages: PageMap, node: Pglist, start: int, end: int) -> tuple[int, int]:
    # A page is initialised for the zone that spans it. Pages no zone of the node spans (firmware's, beyond the end of
    # RAM) were initialised as part of a hole. Source: mm/mm_init.c:init_reserved_page() @ v6.12
    new = old = 0
    at = start
    for zone in node.zones:
        low, high = max(at, zone.start_pfn), min(end, zone.end_pfn)
        if zone.spanned_pages and low < high:
            old += pages.reserve_range(at, low)
            new += pages.init_range(low, high, reserved=True)
            at = high
    return new, old + pages.reserve_range(at, end)


def _nomap_regions(k: Kernel) -> list[Region]:
    return [region for region in k.memblock.memory_regions() if region.flags & Flags.NOMAP]


def reserved_by_node(k: Kernel) -> list[Region]:
    """Reserved ranges that want their pages initialised, cut at memory of different nodes, each with its node.

    Parts outside memory get the node that their range was reserved for, if it begins outside, too, or else the first.
    """
    memory: list[Region] = k.memblock.memory_regions()
    ends = [region.end for region in memory]
    parts: list[Region] = []
    kept = [region for region in k.memblock.reserved_regions() if not region.flags & Flags.RSRV_NOINIT]
    for region in merge(region._replace(nid=_outside_nid(region, memory), flags=0) for region in kept):
        cursor, at = region.base, bisect_right(ends, region.base)
        outside = region.nid if region.nid >= 0 else k.nodes[0].nid
        while at < len(memory) and memory[at].base < region.end:
            low, high = max(memory[at].base, cursor), min(memory[at].end, region.end)
            if cursor < low:
                parts.append(Region(cursor, low, outside, region.flags))
            parts.append(Region(low, high, max(memory[at].nid, 0), region.flags))
            cursor, at = high, at + 1
        if cursor < region.end:
            parts.append(Region(cursor, region.end, outside, region.flags))
    return parts


def _outside_nid(region: Region, memory: list[Region]) -> int:
    # Only what is reserved outside of memory keeps a node of its own: elsewhere it is that of the memory.
    return region.nid if not any(item.base <= region.base < item.end for item in memory) else -1


# free pages


def free_low_memory_core_early(k: Kernel) -> int:
    """Free every free range, as far as it is not deferred; returns the pages of all free ranges.

    Source: mm/memblock.c:free_low_memory_core_early(), mm/mm_init.c:memblock_free_pages() @ v6.12
    """
    total = freed = 0
    for start, end, nid in free_pfn_ranges(k):
        node = k.page_alloc.nodes[nid]
        cut = end if node.first_deferred_pfn is None else min(node.first_deferred_pfn, end)
        for zone, low, high in zones_of(node, start, cut):
            freed += free_to_buddy(k.page_alloc, zone, low, high)
        total += end - start
    k.charge("struct_page_free", freed)
    return total


def free_pfn_ranges(k: Kernel, nid: int = -1) -> Iterator[tuple[int, int, int]]:
    """Free memblock ranges in whole pages: (start pfn, end pfn, nid), ascending."""
    for base, limit, node in k.memblock.free_ranges(nid):
        start, end = -(-base // PAGE_SIZE), limit // PAGE_SIZE
        if start < end:
            yield start, end, max(node, 0)


def zones_of(node: Pglist, start: int, end: int) -> Iterator[tuple[Zone, int, int]]:
    """[start, end) divided by the node's zones."""
    for zone in node.zones:
        low, high = max(start, zone.start_pfn), min(end, zone.end_pfn)
        if zone.present_pages and low < high:
            yield zone, low, high


def free_to_buddy(page_alloc: PageAlloc, zone: Zone, start: int, end: int) -> int:
    """Free initialised pages to the tails of the zone's lists; returns how many."""
    count = page_alloc.pages.free_range(start, end)
    page_alloc.free_range(zone, start, end)
    zone.managed_pages += end - start
    return count


def deferred_grow_zone(k: Kernel, zone: Zone, order: int) -> bool:
    """Initialise and free whole sections of deferred memory, enough for one block of ``order``; False if none is left.

    Charges ``deferred_page_init``. Source: mm/mm_init.c:deferred_grow_zone() @ v6.12
    """
    node: Pglist = k.page_alloc.nodes[zone.nid]
    first = node.first_deferred_pfn
    if first is None or node.last_zone is not zone or first >= zone.end_pfn:
        return False
    needed = align_up(1 << order, PAGES_PER_SECTION)
    done, last, stop = 0, -1, zone.end_pfn
    for low, high in _by_section(k, node, first, zone.end_pfn):
        # Linux stops at a border of sections only, so that a section is taken whole.
        if done >= needed and low // PAGES_PER_SECTION != last:
            stop = low
            break
        k.page_alloc.pages.init_range(low, high)
        k.page_alloc.set_movable(low, high)
        done += free_to_buddy(k.page_alloc, zone, low, high)
        last = low // PAGES_PER_SECTION
    node.first_deferred_pfn = stop
    k.charge("deferred_page_init", done)
    return done > 0


def _by_section(k: Kernel, node: Pglist, first: int, end_pfn: int) -> Iterator[tuple[int, int]]:
    for start, end, _ in free_pfn_ranges(k, node.nid):
        low, end = max(start, first), min(end, end_pfn)
        while low < end:
            high = min(end, align_up(low + 1, PAGES_PER_SECTION))
            yield low, high
            low = high


# pages that hold the memory map


def register_page_bootmem_info(k: Kernel) -> int:
    """Mark the pages that hold the memory map, so that they can be freed later; returns how many.

    Does nothing unless CONFIG_HAVE_BOOTMEM_INFO_NODE is set. Charges ``bootmem_info_page``.
    Source: mm/bootmem_info.c:register_page_bootmem_info_node() @ v6.12
    """
    if not k.config.enabled("CONFIG_HAVE_BOOTMEM_INFO_NODE"):
        return 0
    count = 0
    for section, sections, phys in joined(k.vmemmap.memmaps):
        first = phys // PAGE_SIZE
        count += k.page_alloc.pages.bootmem_info(first, first + 512 * sections, section)
    k.vmemmap.bootmem_registered = True
    k.charge("bootmem_info_page", count)
    return count
