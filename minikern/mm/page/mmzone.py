"""Zones and nodes. Source: include/linux/mmzone.h @ v6.12"""

from __future__ import annotations

from dataclasses import dataclass

ZONE_DMA, ZONE_DMA32, ZONE_NORMAL, ZONE_MOVABLE, ZONE_DEVICE = range(5)
ZONE_NAMES = ("DMA", "DMA32", "Normal", "Movable", "Device")
MAX_NR_ZONES = len(ZONE_NAMES)

LOCAL_DISTANCE, REMOTE_DISTANCE = 10, 20  # Source: include/linux/topology.h

MAX_DMA_PFN = 0x1000  # 16 MiB; Source: arch/x86/include/asm/dma.h
MAX_DMA32_PFN = 0x100000  # 4 GiB; same file

SECTION_SIZE_BITS = 27  # Source: arch/x86/include/asm/sparsemem.h
PAGES_PER_SECTION = 1 << (SECTION_SIZE_BITS - 12)
PAGEBLOCK_ORDER = 9
PAGEBLOCK_NR_PAGES = 1 << PAGEBLOCK_ORDER
MAX_PAGE_ORDER = 10
MIGRATE_TYPES = 6  # Source: include/linux/mmzone.h:enum migratetype, with CMA and ISOLATION


@dataclass
class Zone:
    """One zone of one node; sizes in pages. ``managed_pages`` counts pages handed to the buddy allocator.

    ``cma_pages`` of them are kept for the contiguous allocator.
    """

    index: int
    nid: int
    start_pfn: int = 0
    spanned_pages: int = 0
    present_pages: int = 0
    managed_pages: int = 0
    cma_pages: int = 0

    @property
    def name(self) -> str:
        """Linux's name of the zone."""
        return ZONE_NAMES[self.index]

    @property
    def end_pfn(self) -> int:
        """First pfn after the zone."""
        return self.start_pfn + self.spanned_pages


@dataclass
class Pglist:
    """One node (``pg_data_t``): its span and its zones, indexed by zone number."""

    nid: int
    start_pfn: int
    end_pfn: int
    zones: list[Zone]
    has_cpu: bool = False
    first_deferred_pfn: int | None = None
    deferred_ns: int = 0  # what its thread took for the pages that were put off

    @property
    def present_pages(self) -> int:
        """Pages of memory on the node."""
        return sum(zone.present_pages for zone in self.zones)

    @property
    def spanned_pages(self) -> int:
        """Pages from the node's first to its last, holes included."""
        return self.end_pfn - self.start_pfn

    @property
    def last_zone(self) -> Zone | None:
        """The highest populated zone, None on a memoryless node."""
        return next((zone for zone in reversed(self.zones) if zone.present_pages), None)
