"""memmap_init(): the early part of the memory map, holes, and the point from which the rest is left for later.

Source: mm/mm_init.c @ v6.12 (mm/page_alloc.c up to 6.3)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hw.errors import InputError
from hw.units import PAGE_SIZE, align_up
from minikern.core.behaviour import Behaviour
from minikern.core.config import Config
from minikern.core.moduleparam import Parameter, early_param
from minikern.mm.buddy.zones import memory_pfn_ranges
from minikern.mm.page.mmzone import PAGEBLOCK_NR_PAGES, PAGES_PER_SECTION, Pglist, Zone
from minikern.mm.page.page_count import PageCount
from minikern.mm.page.page_flags import BITS_PER_LONG, LAST_PID_SHIFT, LRU_GEN_WIDTH, PageFlags, zones_width
from minikern.mm.page.page_kernels import algorithm
from minikern.mm.page.page_map import PageMap
from minikern.state.page_alloc import PageAlloc

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel


@dataclass
class DeferInit:
    """The state of the deferral test: pages of the current zone seen so far."""

    enabled: bool
    reset_first: bool = False  # 6.1: the counter is reset before the test for low zones
    prev_end_pfn: int = 0
    nr_initialised: int = 0

    def stop(self, node: Pglist, zone_end_pfn: int, start: int, end: int) -> int:
        """First pfn of [start, end) that is not initialised early, ``end`` if all are; sets first_deferred_pfn.

        Gives what the page-by-page test gives: more than a section of the zone has been counted, and the pfn starts a
        section. Source: mm/mm_init.c:defer_init() @ v6.12
        """
        if not self.enabled:
            return end
        if self.reset_first:
            self._enter(zone_end_pfn)
        if zone_end_pfn < node.end_pfn:
            return end
        if node.first_deferred_pfn is not None:
            return start
        self._enter(zone_end_pfn)
        earliest = start + max(0, PAGES_PER_SECTION - self.nr_initialised)
        point = align_up(earliest, PAGES_PER_SECTION)
        if point >= end:
            self.nr_initialised += end - start
            return end
        self.nr_initialised += point - start + 1
        node.first_deferred_pfn = point
        return point

    def _enter(self, zone_end_pfn: int) -> None:
        if self.prev_end_pfn != zone_end_pfn:
            self.prev_end_pfn, self.nr_initialised = zone_end_pfn, 0


def page_flags_layout(config: Config, behaviour: Behaviour) -> PageFlags:
    """The layout that Kconfig values and one release's flag numbers give.

    Raises InputError when the fields do not fit.
    """
    nodes = config.number("CONFIG_NODES_SHIFT")
    zones = zones_width(config)
    lru_gen = LRU_GEN_WIDTH if config.enabled("CONFIG_LRU_GEN") else 0
    cpupid = 0
    if config.enabled("CONFIG_NUMA_BALANCING"):
        cpupid = LAST_PID_SHIFT + (config.number("CONFIG_NR_CPUS") - 1).bit_length()
    room = BITS_PER_LONG - behaviour.page_flag_count - lru_gen - nodes - zones
    if room < 0:
        raise InputError(f"CONFIG_NODES_SHIFT={nodes} leaves no room in page->flags: {-room} bits too many")
    if cpupid > room:
        raise InputError(
            f"last_cpupid needs {cpupid} bits, page->flags has {room} left (CONFIG_NR_CPUS, CONFIG_NODES_SHIFT): "
            "struct page would grow beyond 64 bytes"
        )
    return PageFlags(
        nodes_width=nodes,
        zones_width=zones,
        cpupid_width=cpupid,
        lru_gen_width=lru_gen,
        reserved_bit=behaviour.page_flag_reserved,
        private_bit=behaviour.page_flag_reserved + 1,
        head_bit=behaviour.page_flag_head,
        buddy_type=behaviour.page_type_buddy,
        hugetlb_type=behaviour.page_type_hugetlb or None,
    )


def memmap_init(k: Kernel) -> None:
    """Initialise the memory map of all memory that is not deferred, and of holes in present sections.

    Needs ``k.vmemmap`` and ``k.nodes``; sets ``k.page_alloc`` and each node's first_deferred_pfn. Charges
    ``struct_page_init``. Source: mm/mm_init.c:memmap_init() @ v6.12
    """
    flags = page_flags_layout(k.config, k.behaviour)
    made = PageCount if k.vmemmap.backing == "counted" else PageMap
    pages = made(k.vmemmap, flags, k.options.page_kernel or algorithm(k.options.kernel))
    k.page_alloc = PageAlloc(pages, k.nodes, k.vmemmap.groups[-1].end_pfn)
    areas = k.kho.scratch if k.kho.incoming is not None else ()
    k.page_alloc.cma_scratch = [(area.addr // PAGE_SIZE, (area.addr + area.size) // PAGE_SIZE) for area in areas]
    defer = DeferInit(
        enabled=k.config.enabled("CONFIG_DEFERRED_STRUCT_PAGE_INIT") and not k.cmdline.has("early_page_ext"),
        reset_first=k.behaviour.defer_reset_first,
    )
    hole_pfn, end_pfn, zone_id, nid = 0, 0, 0, 0
    for start_pfn, end_pfn, nid in memory_pfn_ranges(k):
        node = k.page_alloc.nodes[nid]
        for zone in node.zones:
            if not zone.present_pages:
                continue
            hole_pfn = memmap_init_zone_range(k, defer, node, zone, start_pfn, end_pfn, hole_pfn)
            zone_id = zone.index
    # The rest of the last section belongs to whatever node and zone came last.
    end_pfn = align_up(end_pfn, PAGES_PER_SECTION)
    if hole_pfn < end_pfn:
        _init_unavailable_range(k, hole_pfn, end_pfn, k.page_alloc.nodes[nid].zones[zone_id])


def memmap_init_zone_range(
    k: Kernel, defer: DeferInit, node: Pglist, zone: Zone, start_pfn: int, end_pfn: int, hole_pfn: int
) -> int:
    """One memory range's part in one zone; returns where the next hole begins. Source: mm/mm_init.c @ v6.12"""
    start, end = max(start_pfn, zone.start_pfn), min(end_pfn, zone.end_pfn)
    if start >= end:
        return hole_pfn
    page_alloc: PageAlloc = k.page_alloc
    page_alloc.pages.add_links(start, end, node.nid, zone.index)
    memmap_init_range(k, start, defer.stop(node, zone.end_pfn, start, end))
    if hole_pfn < start:
        _init_unavailable_range(k, hole_pfn, start, zone)
    return end


def memmap_init_range(k: Kernel, start_pfn: int, end_pfn: int) -> None:
    """Initialise the struct pages of [start_pfn, end_pfn), one node's and zone's, and make their blocks movable.

    Charges ``struct_page_init``. Source: mm/mm_init.c:memmap_init_range() @ v6.12
    """
    k.charge("struct_page_init", k.page_alloc.pages.init_range(start_pfn, end_pfn))
    k.page_alloc.set_movable(start_pfn, end_pfn)


def _init_unavailable_range(k: Kernel, start: int, end: int, zone: Zone) -> None:
    # Source: mm/mm_init.c:init_unavailable_range() @ v6.12. Blocks of 512 pages lie in one section, so testing the
    # first pfn of each block is the same as leaving absent sections out.
    pages: PageMap = k.page_alloc.pages
    pages.add_links(start, end, zone.nid, zone.index)
    count = pages.init_range(start, end, reserved=True)
    if count:
        k.charge("struct_page_init", count)
        if k.behaviour.unavailable_lines:
            k.printk(f"On node {zone.nid}, zone {zone.name}: {count} pages in unavailable ranges")


assert PAGES_PER_SECTION % PAGEBLOCK_NR_PAGES == 0


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    early_param("early_page_ext", read_by=memmap_init),
)
