"""The verifier's look at zones, nodes and what hangs on their sizes; it computes anew what the boot says."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from minikern.verify.page_check_lists import Wrong
from minikern.verify.page_check_state import Place

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

DMA, DMA32, NORMAL, MOVABLE = range(4)
DMA_END, DMA32_END = (16 << 20) >> 12, (4 << 30) >> 12  # Source: arch/x86/include/asm/dma.h
MOVABLE_ALIGN = 1024  # Source: mm/mm_init.c:find_zone_movable_pfns_for_nodes(), MAX_ORDER_NR_PAGES
RATIOS = (256, 256, 32)  # Source: mm/page_alloc.c:sysctl_lowmem_reserve_ratio
BACKED = (1, 128, 0xEFFFFFFF)  # RAM, that of the kernel's own data, and set aside; arch/x86/include/asm/e820/types.h


class Memory(NamedTuple):
    """Whole pages [start, end) of node ``nid``."""

    start: int
    end: int
    nid: int


def memory(k: Kernel) -> list[Memory]:
    """memblock's memory in whole pages. Wrong: two ranges overlap, or are out of order."""
    ranges = [Memory((r.base + 4095) >> 12, r.end >> 12, max(r.nid, 0)) for r in k.memblock.memory_regions()]
    for one, other in pairwise(ranges):
        if other.start < one.end:
            raise Wrong(other.start, f"memory at pfn {other.start:#x} begins inside the memory before it")
    return [item for item in ranges if item.start < item.end]


def check_nodes(k: Kernel) -> None:
    """Each node is there once, and there is no memory of a node that is not."""
    ranges = memory(k)
    known = {node.nid for node in k.nodes}
    if len(known) < len(k.nodes) or {item.nid for item in ranges} - known:
        raise Wrong(ranges[0].start, f"memory of nodes {sorted({r.nid for r in ranges})}, nodes are {sorted(known)}")


def check_zones(k: Kernel, where: list[Place]) -> None:
    """Nodes and zones have the spans that memory and the architecture's limits give; ``where`` and links agree."""
    ranges = memory(k)
    check_backed(k, ranges)
    for node in k.nodes:
        mine = [item for item in ranges if item.nid == node.nid]
        span = (mine[0].start, mine[-1].end) if mine else (0, 0)
        if (node.start_pfn, node.end_pfn) != span:
            what = f"node {node.nid} spans {node.start_pfn:#x}..{node.end_pfn:#x}"
            raise Wrong(span[0], f"{what}, its memory {span[0]:#x}..{span[1]:#x}")
        for zone in node.zones:
            _check_zone(k, node, zone, mine)
    _check_links(k, where)


def check_backed(k: Kernel, ranges: list[Memory]) -> None:
    """No memory but where the firmware's map, as the kernel uses it, has some."""
    known = [(entry.addr, entry.end) for entry in k.e820.table if entry.type in BACKED] if _mapped(k) else []
    backed = sorted(known + _table_of_unaccepted(k)) if known else []
    for item in ranges if backed else ():
        at = item.start << 12
        for low, high in backed:
            at = high if low <= at < high else at
        if at < item.end << 12:
            raise Wrong(at >> 12, f"pfn {at >> 12:#x} of node {item.nid} is memory, but not in the firmware's map")


def _table_of_unaccepted(k: Kernel) -> list[tuple[int, int]]:
    # Its pages count as memory wherever they lie. Source: drivers/firmware/efi/efi.c:reserve_unaccepted() @ v6.12
    boot = k.machine.spec.boot
    if not boot.efi_unaccepted or not k.behaviour.efi_unaccepted or k.cmdline.has("noefi"):
        return []
    return [(boot.efi_unaccepted >> 12 << 12, boot.efi_unaccepted + boot.efi_unaccepted_bytes + 0xFFF >> 12 << 12)]


def _mapped(k: Kernel) -> bool:
    return "e820" in vars(k)


def _check_zone(k: Kernel, node: Any, zone: Any, mine: list[Memory]) -> None:
    if (node.zones[zone.index], zone.nid) != (zone, node.nid):
        raise Wrong(zone.start_pfn, f"node {node.nid}: zone {zone.name} calls itself one of node {zone.nid}")
    low, high = _limits(k, node, zone.index)
    present = sum(max(0, min(item.end, high) - max(item.start, low)) for item in mine)
    expected = (low, high - low, present) if present else (0, 0, 0)
    if zone.index == MOVABLE and present and low % MOVABLE_ALIGN:
        raise Wrong(low, f"node {node.nid}: zone Movable begins at pfn {low:#x}, no multiple of {MOVABLE_ALIGN}")
    found = (zone.start_pfn, zone.spanned_pages, zone.present_pages)
    if found != expected:
        said = "from pfn {:#x} on {} pages spanned, {} present"
        text = f"{said.format(*found)}; memory and limits give {said.format(*expected)}"
        raise Wrong(found[0] or expected[0], f"node {node.nid} zone {zone.name}: {text}")


def _limits(k: Kernel, node: Any, index: int) -> tuple[int, int]:
    # Where a zone may lie on a node. Movable begins where it says and takes all above it.
    dma = DMA_END if k.config.get("CONFIG_ZONE_DMA", True) else 0
    dma32 = DMA32_END if k.config.get("CONFIG_ZONE_DMA32", True) else dma
    bounds = {DMA: (0, dma), DMA32: (dma, dma32), NORMAL: (dma32, node.end_pfn)}
    movable = node.zones[MOVABLE]
    begins = movable.start_pfn if movable.present_pages else node.end_pfn
    low, high = bounds.get(index, (begins, node.end_pfn) if index == MOVABLE else (0, 0))
    low, high = max(low, node.start_pfn), min(high, node.end_pfn)
    if index != MOVABLE:
        high = min(high, max(begins, low))
    return low, max(low, high)


def _check_links(k: Kernel, where: list[Place]) -> None:
    for place in where:
        for low, high in k.vmemmap.valid_ranges(place.start, place.end):
            at = low
            for item in k.page_alloc.pages.links(low, high):
                if item.start != at or (item.nid, item.zone) != (place.nid, place.zone):
                    break
                at = item.end
            if at != high:
                raise Wrong(at, f"pfn {at:#x}: not known as a page of node {place.nid} zone {place.zone}")


# what is kept back


def check_watermarks(k: Kernel) -> None:
    """Each zone's watermarks and its reserves against higher zones follow from sizes and ``min_free_kbytes``."""
    page_alloc = k.page_alloc
    if not page_alloc.wmarks:
        return
    zones = [zone for node in k.nodes for zone in node.zones]
    for then in (page_alloc.wmark_managed, page_alloc.reserve_managed):
        for zone in zones:
            if then.get((zone.nid, zone.index), 0) > zone.managed_pages:
                raise _of(zone, f"{zone.managed_pages} pages managed, fewer than earlier in the boot")
    for zone, expected in _watermarks(k, zones):
        found = tuple(page_alloc.wmarks.get((zone.nid, zone.index), ()))
        if found != expected:
            raise _of(zone, f"watermarks {found}, its share of {page_alloc.min_free_kbytes} KiB is {expected}")
    _check_reserves(k)


def _of(zone: Any, what: str) -> Wrong:
    return Wrong(zone.start_pfn, f"node {zone.nid} zone {zone.name}: {what}")


def _watermarks(k: Kernel, zones: list[Any]) -> Iterator[tuple[Any, tuple[int, ...]]]:
    # Source: mm/page_alloc.c:__setup_per_zone_wmarks() @ v6.12
    capped = k.behaviour.movable_wmark_capped
    managed = k.page_alloc.wmark_managed
    sharing = sum(pages for (_, index), pages in managed.items() if not (capped and index == MOVABLE))
    for zone in zones:
        pages = managed[zone.nid, zone.index]
        lowest = share = k.page_alloc.min_free_kbytes // 4 * pages // sharing if sharing else 0
        if capped and zone.index == MOVABLE:
            lowest = sorted((32, pages // 1024, 128))[1]
        apart = max(share // 4, pages // 1000)
        yield zone, tuple(range(lowest, lowest + 4 * apart, apart)) if apart else (lowest,) * 4


def _check_reserves(k: Kernel) -> None:
    managed = k.page_alloc.reserve_managed
    for node in k.nodes:
        for zone in node.zones:
            expected, above = [0] * len(node.zones), 0
            for upper in node.zones[zone.index + 1 :]:
                above += managed[node.nid, upper.index]
                if zone.index < len(RATIOS) and managed[node.nid, zone.index]:
                    expected[upper.index] = above // RATIOS[zone.index]
            found = k.page_alloc.lowmem_reserve.get((node.nid, zone.index))
            if found != expected:
                raise _of(zone, f"keeps {found} pages from allocations for higher zones, expected {expected}")


def check_zonelists(k: Kernel) -> None:
    """Each node tries every node with memory once, by distance; itself before all others as near."""
    filled = {node.nid for node in k.nodes if any(zone.present_pages for zone in node.zones)}
    for nid, order in k.page_alloc.fallback_order.items():
        node = k.page_alloc.nodes[nid]
        if sorted(order) != sorted(filled | ({nid} & set(order))):
            raise Wrong(node.start_pfn, f"node {nid}: falls back to nodes {order}, memory is on {sorted(filled)}")
        away = [(other != nid, k.numa.node_distance(nid, other) + (other < nid)) for other in order]
        for one, other, far in zip(away, away[1:], order[1:], strict=False):
            if other < one:
                raise Wrong(node.start_pfn, f"node {nid}: falls back to nodes {order}, but node {far} is nearer")
