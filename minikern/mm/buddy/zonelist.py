"""Zonelists: the order in which nodes are tried, and the pages an allocation may use.

Source: mm/page_alloc.c:build_all_zonelists(), nr_free_zone_pages() @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hw.units import PAGE_SIZE
from minikern.mm.buddy.zones import pfn_ranges
from minikern.mm.page.mmzone import (
    MAX_DMA_PFN,
    MIGRATE_TYPES,
    PAGEBLOCK_NR_PAGES,
    ZONE_DEVICE,
    ZONE_MOVABLE,
    Zone,
)

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

STRUCT_PAGE_BYTES = 64


def node_order(k: Kernel, node: int, with_memory: list[int], node_load: list[int]) -> list[int]:
    """Nodes with memory by increasing distance from ``node``, itself first; loads break ties over all callers.

    Source: mm/page_alloc.c:find_next_best_node() @ v6.12
    """
    candidates = with_memory
    if k.behaviour.fallback_self and node not in with_memory:
        candidates = [*with_memory, node]  # up to 6.6 a node came first even without memory
    max_numnodes = 1 << k.config.number("CONFIG_NODES_SHIFT")
    distance = k.numa.node_distance
    # Nodes with CPUs would be penalised, but no CPU has been added to its node yet. A load changes only as its node is
    # taken, so the order of the rest is known from the beginning.
    weighed = [
        (other != node, (distance(node, other) + (other < node)) * max_numnodes + node_load[other], other)
        for other in candidates
    ]
    order = [other for _, _, other in sorted(weighed)]
    previous = distance(node, node)
    for best in order:
        away = distance(node, best)
        node_load[best] += away != previous
        previous = away
    return order


def build_all_zonelists(k: Kernel) -> None:
    """Order the nodes for every node and log the totals. Source: mm/page_alloc.c:build_all_zonelists() @ v6.12"""
    node_load = [0] * (max(pglist.nid for pglist in k.nodes) + 1)
    k.fallback = {}
    with_memory = [pglist.nid for pglist in k.nodes if pglist.present_pages]
    for pglist in k.nodes:
        order = node_order(k, pglist.nid, with_memory, node_load)
        k.fallback[pglist.nid] = order
        if k.behaviour.fallback_lines and k.config.get("CONFIG_NUMA", True):
            k.printk(f"Fallback order for Node {pglist.nid}: " + "".join(f"{nid} " for nid in order))
        k.charge("zonelist_node", len(order))
    total = nr_free_pagecache_pages(k)
    mobility = "off" if total < PAGEBLOCK_NR_PAGES * MIGRATE_TYPES else "on"
    online = [pglist for pglist in k.nodes if pglist.present_pages or pglist.has_cpu]
    k.printk(f"Built {len(online)} zonelists, mobility grouping {mobility}.  Total pages: {total}")
    if k.config.get("CONFIG_NUMA", True):
        k.printk(f"Policy zone: {policy_zone(k)}")


def policy_zone(k: Kernel) -> str:
    """The highest populated zone that a memory policy binds. Source: mm/mempolicy.c, mm/page_alloc.c:build_zonerefs"""
    zones = [zone for pglist in k.nodes for zone in pglist.zones if zone.present_pages and zone.index != ZONE_MOVABLE]
    return max(zones, key=lambda zone: zone.index).name


def nr_free_pagecache_pages(k: Kernel) -> int:
    """Managed pages as known before the buddy allocator exists, over all zones. Source: mm/page_alloc.c @ v6.1"""
    return sum(initial_managed(k, zone) for pglist in k.nodes for zone in pglist.zones)


def nr_kernel_pages(k: Kernel) -> int:
    """What hash tables are scaled by: estimated managed pages (<= 6.9) or free memblock pages (>= 6.10).

    Source: mm/mm_init.c:free_area_init_core() @ v6.1, calc_nr_kernel_pages() @ v6.12
    """
    if k.behaviour.hash_scale == "managed":
        return nr_free_pagecache_pages(k)
    return k.totals.nr_free_memblock_pages


def initial_managed(k: Kernel, zone: Zone) -> int:
    """Managed pages of one zone while memblock still rules.

    Up to 6.9 an estimate: present less the memmap and, in zone 0, less what is reserved below 16 MiB; later just
    present. Source: mm/page_alloc.c:free_area_init_core() @ v6.1
    """
    present = zone.present_pages
    if not k.behaviour.managed_estimate or not present:
        return present
    spanned = zone.spanned_pages
    # A zone with many holes has memmap for present sections only.
    pages = present if spanned > present + (present >> 4) else spanned
    memmap = -(-pages * STRUCT_PAGE_BYTES // PAGE_SIZE)
    freesize = present - memmap if memmap <= present else present
    if zone.index == 0 and k.totals.dma_reserve < freesize:
        freesize -= k.totals.dma_reserve
    return freesize if zone.index != ZONE_DEVICE else 0


def find_dma_reserve(k: Kernel) -> int:
    """Pages of memory below 16 MiB that are not wholly free. Source: arch/x86/mm/init.c:memblock_find_dma_reserve()

    Where a log told the figure, it is that: firmware's boot services lie there too.
    """
    if k.release.facts.dma_reserve_pages >= 0:
        return k.release.facts.dma_reserve_pages
    pages = sum(max(0, min(end, MAX_DMA_PFN) - start) for start, end, _ in pfn_ranges(k) if start < MAX_DMA_PFN)
    free = 0
    for start, end, _ in k.memblock.free_ranges():
        low, high = min(-(-start // PAGE_SIZE), MAX_DMA_PFN), min(end // PAGE_SIZE, MAX_DMA_PFN)
        free += max(0, high - low)
    return pages - free
