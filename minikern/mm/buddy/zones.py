"""free_area_init(): zones and nodes from memblock, with their lines.

Source: mm/mm_init.c @ v6.12 (mm/page_alloc.c before 6.4)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hw.units import PAGE_SHIFT, PAGE_SIZE, SMP_CACHE_BYTES
from minikern.core.cmdline import memparse
from minikern.core.moduleparam import Parameter, early_param, needs_value
from minikern.core.printk import Level
from minikern.mm.page.mmzone import (
    MAX_DMA32_PFN,
    MAX_DMA_PFN,
    MAX_NR_ZONES,
    ZONE_DEVICE,
    ZONE_DMA,
    ZONE_DMA32,
    ZONE_MOVABLE,
    ZONE_NAMES,
    ZONE_NORMAL,
    Pglist,
    Zone,
)
from minikern.state.memblock import NUMA_NO_NODE, Flags

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

MAX_ORDER_NR_PAGES = 1024  # movable zones start at this alignment; Source: include/linux/mmzone.h

Bounds = list[tuple[int, int]]


def pfn_ranges(k: Kernel, nid: int = NUMA_NO_NODE) -> Iterator[tuple[int, int, int]]:
    """Memory as (start_pfn, end_pfn, nid), whole pages only. Source: mm/memblock.c:__next_mem_pfn_range()"""
    for region in k.memblock.memory_regions():
        start, end = -(-region.base >> PAGE_SHIFT), region.end >> PAGE_SHIFT
        if start < end and nid in (NUMA_NO_NODE, region.nid):
            yield start, end, region.nid


def memory_pfn_ranges(k: Kernel) -> list[tuple[int, int, int]]:
    """memblock's memory in whole pages: (start pfn, end pfn, nid). Source: mm/memblock.c:__next_mem_pfn_range()"""
    ranges = ((-(-r.base // PAGE_SIZE), r.end // PAGE_SIZE, r.nid) for r in k.memblock.memory_regions())
    return [(start, end, max(nid, 0)) for start, end, nid in ranges if start < end]


def absent_pages_in_range(k: Kernel, nid: int, start: int, end: int) -> int:
    """Pages of [start, end) that are not memory of ``nid`` (-1: of any node).

    Source: mm/mm_init.c:__absent_pages_in_range() @ v6.12
    """
    present = 0
    for low, high, _ in pfn_ranges(k, nid):
        present += max(0, min(high, end) - max(low, start))
    return end - start - present


def zone_sizes_init(k: Kernel) -> None:
    """Set up nodes and zones by the architecture's limits. Source: arch/x86/mm/init.c:zone_sizes_init() @ v6.12"""
    first = min(start for start, _, _ in pfn_ranges(k))
    limits = {
        ZONE_DMA: min(MAX_DMA_PFN, k.totals.max_pfn),
        ZONE_DMA32: min(MAX_DMA32_PFN, k.totals.max_pfn),
        ZONE_NORMAL: k.totals.max_pfn,
    }
    for zone in _unconfigured(k):
        del limits[zone]
    bounds: Bounds = []
    low = first
    for index in range(MAX_NR_ZONES):
        high = max(limits.get(index, low), low)
        bounds.append((low, high))
        low = high
    bounds[ZONE_MOVABLE] = bounds[ZONE_DEVICE] = (0, 0)
    free_area_init(k, bounds)


def free_area_init(k: Kernel, bounds: Bounds) -> None:
    """Nodes, zones and their lines. Source: mm/mm_init.c:free_area_init() @ v6.12"""
    movable = find_zone_movable_pfns(k, bounds)
    _print_ranges(k, bounds, movable)
    # Memory beyond all nodes has none: the table of unaccepted memory that a crash kernel is told of.
    online = sorted({region.nid for region in k.memblock.memory_regions()} - {NUMA_NO_NODE})
    k.nodes = []
    # Before 5.18 nodes without memory come later, and only those with CPUs.
    late = k.behaviour.memoryless == "late"
    for nid in online if late else sorted(k.numa.parsed | set(online)):
        if nid not in online and k.behaviour.memoryless == "announced":
            k.printk(f"Initializing node {nid} as memoryless")
        if nid not in online and not late:
            # Its pg_data_t, which is not rounded up to pages as those of the nodes with memory may be.
            image = k.release.image
            k.memblock.alloc(image.pglist_data_bytes or image.node_data_bytes, SMP_CACHE_BYTES)
        k.nodes.append(_free_area_init_node(k, nid, bounds, movable.get(nid, 0)))
    k.charge("node_init", len(k.nodes))


def _unconfigured(k: Kernel) -> set[int]:
    low = {ZONE_DMA: "CONFIG_ZONE_DMA", ZONE_DMA32: "CONFIG_ZONE_DMA32"}
    return {zone for zone, option in low.items() if not k.config.get(option, True)}


def _print_ranges(k: Kernel, bounds: Bounds, movable: dict[int, int]) -> None:
    k.printk("Zone ranges:")
    missing = _unconfigured(k)
    for index, (start, end) in enumerate(bounds):
        if index in missing:
            continue
        if index == ZONE_MOVABLE or (index == ZONE_DEVICE and not k.config.enabled("CONFIG_ZONE_DEVICE")):
            continue
        text = "empty"
        if start != end:
            text = f"[mem {start << PAGE_SHIFT:#018x}-{(end << PAGE_SHIFT) - 1:#018x}]"
        k.printk(f"  {ZONE_NAMES[index]:<8s} {text}")
    k.printk("Movable zone start for each node")
    for nid, pfn in sorted(movable.items()):
        k.printk(f"  Node {nid}: {pfn << PAGE_SHIFT:#018x}")
    k.printk("Early memory node ranges")
    for start, end, nid in pfn_ranges(k):
        k.printk(f"  node {nid:3d}: [mem {start << PAGE_SHIFT:#018x}-{(end << PAGE_SHIFT) - 1:#018x}]")


def _free_area_init_node(k: Kernel, nid: int, bounds: Bounds, movable_pfn: int) -> Pglist:
    ranges = list(pfn_ranges(k, nid))
    zones = [Zone(index, nid) for index in range(MAX_NR_ZONES)]
    with_cpus = k.numa.cpu_nodes or set(k.numa.apicid_to_node.values())
    has_cpu = nid in with_cpus or len(k.numa.parsed) == 1
    if not ranges:
        k.printk(f"Initmem setup node {nid} as memoryless")
        return Pglist(nid, 0, 0, zones, has_cpu)
    start, end = ranges[0][0], ranges[-1][1]
    k.printk(f"Initmem setup node {nid} [mem {start << PAGE_SHIFT:#018x}-{(end << PAGE_SHIFT) - 1:#018x}]")
    for zone in zones:
        low, high = _zone_span(zone.index, bounds, start, end, movable_pfn)
        if low >= high:
            continue
        absent = absent_pages_in_range(k, nid, low, high)
        if high - low == absent:
            continue
        zone.start_pfn, zone.spanned_pages = low, high - low
        zone.present_pages = high - low - absent
    return Pglist(nid, start, end, zones, has_cpu)


def init_memory_less_node(k: Kernel, nid: int) -> None:
    """A node that has CPUs but no memory, as it was set up before 5.18.

    Source: arch/x86/mm/numa.c:init_memory_less_node() @ v5.10
    """
    k.printk(f"Initmem setup node {nid} [mem {0:#018x}-{0:#018x}]")
    node = Pglist(nid, 0, 0, [Zone(index, nid) for index in range(MAX_NR_ZONES)], True)
    k.nodes.append(node)
    k.page_alloc.nodes[nid] = node


def _zone_span(index: int, bounds: Bounds, start: int, end: int, movable_pfn: int) -> tuple[int, int]:
    # A node's Movable zone takes the top of its highest zone. Source: mm/mm_init.c:adjust_zone_range_for_zone_movable()
    if index == ZONE_MOVABLE:
        return (movable_pfn, end) if movable_pfn else (0, 0)
    low, high = max(bounds[index][0], start), min(bounds[index][1], end)
    if movable_pfn and low < high:
        high = min(high, max(movable_pfn, low))
    return low, high


def cmdline_parse_movable_node(k: Kernel, value: str | None) -> bool:
    """``movable_node``: until the tables say what can be unplugged, stay near the kernel.

    Source: mm/memory_hotplug.c:cmdline_parse_movable_node(), arch/x86/kernel/setup.c:setup_arch() @ v6.12
    """
    k.memblock.bottom_up = k.memblock.skip_hotplug = True
    return True


def find_zone_movable_pfns(k: Kernel, bounds: Bounds) -> dict[int, int]:
    """Where each node's Movable zone starts, by ``movablecore=`` and ``kernelcore=``; empty if there is none.

    Source: mm/mm_init.c:find_zone_movable_pfns_for_nodes() @ v6.12
    """
    if k.memblock.skip_hotplug:  # movable_node: the other two parameters do not count
        return _movable_where_pluggable(k)
    usable_start = next(start for start, end in reversed(bounds[: ZONE_NORMAL + 1]) if start < end)
    total = sum(end - start for start, end, _ in pfn_ranges(k))
    if "mirror" in (k.cmdline.get("kernelcore") or "").split(","):
        # Mirrored ranges are marked by EFI; no machine here has any.
        k.printk("The system has no mirror memory, ignore kernelcore=mirror.", Level.WARNING)
        return {}
    required = _core_pages(k.cmdline.get("kernelcore"), total)
    movable = _core_pages(k.cmdline.get("movablecore"), total)
    if movable:
        rounded = -(-movable // MAX_ORDER_NR_PAGES) * MAX_ORDER_NR_PAGES
        required = max(required, total - min(rounded, total))
    if not required or required >= total:
        return {}
    return _spread_kernelcore(k, usable_start, required)


def _movable_where_pluggable(k: Kernel) -> dict[int, int]:
    starts: dict[int, int] = {}
    for region in k.memblock.memory_regions():
        if region.flags & Flags.HOTPLUG:
            starts[region.nid] = min(starts.get(region.nid, region.base >> PAGE_SHIFT), region.base >> PAGE_SHIFT)
    return _rounded_starts(k, starts)


def _rounded_starts(k: Kernel, starts: dict[int, int]) -> dict[int, int]:
    movable: dict[int, int] = {}
    for nid, pfn in starts.items():
        aligned = -(-pfn // MAX_ORDER_NR_PAGES) * MAX_ORDER_NR_PAGES
        end = max(high for _, high, _ in pfn_ranges(k, nid))
        if 0 < aligned < end:
            movable[nid] = aligned
    return movable


def _core_pages(text: str | None, total: int) -> int:
    if not text:
        return 0
    number, rest = memparse(text)
    if rest.startswith("%"):
        return total * min(number, 100) // 100
    return number >> PAGE_SHIFT


def _spread_kernelcore(k: Kernel, usable_start: int, required: int) -> dict[int, int]:
    nodes = sorted({nid for _, _, nid in pfn_ranges(k)})
    starts = dict.fromkeys(nodes, 0)
    usable_nodes = len(nodes)
    while True:
        share = required // usable_nodes
        for nid in nodes:
            if required < share:
                share = required // usable_nodes
            taken = _take_from_node(k, nid, starts, usable_start, min(share, required))
            required -= min(required, taken)
        usable_nodes -= 1
        if not usable_nodes or required <= usable_nodes:
            break
    return _rounded_starts(k, starts)


def _take_from_node(k: Kernel, nid: int, starts: dict[int, int], usable_start: int, wanted: int) -> int:
    # Walks the node's ranges and moves its Movable start up until ``wanted`` pages lie below; returns pages taken.
    taken = 0
    for low, high, _ in pfn_ranges(k, nid):
        start = max(starts[nid], low)
        if start >= high:
            continue
        if start < usable_start:
            kernel_pages = min(high, usable_start) - start
            taken += kernel_pages
            wanted -= min(kernel_pages, wanted)
            if high <= usable_start:
                starts[nid] = high
                continue
            start = usable_start
        size = min(high - start, wanted)
        starts[nid] = start + size
        taken += size
        wanted -= size
        if not wanted:
            break
    return taken


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    early_param("movable_node", cmdline_parse_movable_node),
    early_param("kernelcore", needs_value, read_by=find_zone_movable_pfns),
    early_param("movablecore", needs_value, read_by=find_zone_movable_pfns),
)
