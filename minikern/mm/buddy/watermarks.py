"""How many pages each zone keeps back: watermarks and what allocations meant for higher zones leave alone.

Both are computed by initcalls, from the pages managed at that time; pages given back later change neither, but for the
reserves of releases from 7.0 on.
Source: mm/page_alloc.c, mm/khugepaged.c @ v6.12
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from minikern.core.moduleparam import Parameter, setup_param
from minikern.core.printk import Level
from minikern.mm.page.mmzone import PAGEBLOCK_NR_PAGES, ZONE_MOVABLE, ZONE_NORMAL, Pglist, Zone

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

KIB_PER_PAGE = 4
LOWMEM_RESERVE_RATIO = (256, 256, 32, 0, 0)  # Source: mm/page_alloc.c:sysctl_lowmem_reserve_ratio
WATERMARK_SCALE_FACTOR = 10  # in ten thousandths; Source: mm/page_alloc.c
MIN_FREE_KBYTES = (128, 262144)  # bounds; Source: mm/page_alloc.c:calculate_min_free_kbytes() @ v6.12
MIGRATE_PCPTYPES = 3
SWAP_CLUSTER_MAX, MOVABLE_MIN_MAX = 32, 128  # Source: mm/page_alloc.c:__setup_per_zone_wmarks() @ v6.12
THP_WORDS = ("always", "madvise", "never")
THP_MIN_PAGES = 512 << 8  # 512 MiB; Source: mm/huge_memory.c:hugepage_init() @ v6.12


class Wmarks(NamedTuple):
    """A zone's watermarks in pages."""

    min: int = 0
    low: int = 0
    high: int = 0
    promo: int = 0


def _zones(k: Kernel) -> list[Zone]:
    return [zone for node in k.nodes for zone in node.zones]


def watermarks(k: Kernel, zone: Zone) -> Wmarks:
    """The zone's watermarks; all 0 before they are computed."""
    found: Wmarks = k.page_alloc.wmarks.get((zone.nid, zone.index), Wmarks())
    return found


def nr_free_buffer_pages(k: Kernel) -> int:
    """Pages above the high watermark that ordinary kernel memory can come from. Source: mm/page_alloc.c"""
    zones = (zone for zone in _zones(k) if zone.index <= ZONE_NORMAL)
    return sum(max(zone.managed_pages - watermarks(k, zone).high, 0) for zone in zones)


def calculate_min_free_kbytes(k: Kernel) -> int:
    """KiB to keep free by the size of memory. Source: mm/page_alloc.c:calculate_min_free_kbytes() @ v6.12"""
    root = math.isqrt(nr_free_buffer_pages(k) * KIB_PER_PAGE * 16)
    return min(max(root, MIN_FREE_KBYTES[0]), MIN_FREE_KBYTES[1])


def init_per_zone_wmark_min(k: Kernel) -> None:
    """The first watermarks, and the reserves against allocations for higher zones.

    Source: mm/page_alloc.c:init_per_zone_wmark_min() @ v6.12
    """
    k.page_alloc.min_free_kbytes = calculate_min_free_kbytes(k)
    setup_per_zone_wmarks(k)
    setup_per_zone_lowmem_reserve(k)


def managed_pages_changed(k: Kernel) -> None:
    """Reserved pages became managed ones. Source: mm/page_alloc.c:adjust_managed_page_count() @ v7.2"""
    if k.behaviour.lowmem_reserve_follows:
        setup_per_zone_lowmem_reserve(k)


def setup_per_zone_lowmem_reserve(k: Kernel) -> None:
    """What each zone keeps from allocations that could have come from a higher one.

    Source: mm/page_alloc.c:setup_per_zone_lowmem_reserve() @ v6.12
    """
    k.page_alloc.reserve_managed = _managed(k)
    for node in k.nodes:
        for zone in node.zones:
            k.page_alloc.lowmem_reserve[node.nid, zone.index] = _lowmem_reserve(node, zone)


def _managed(k: Kernel) -> dict[tuple[int, int], int]:
    return {(zone.nid, zone.index): zone.managed_pages for zone in _zones(k)}


def _lowmem_reserve(node: Pglist, zone: Zone) -> list[int]:
    ratio = LOWMEM_RESERVE_RATIO[zone.index]
    reserve = [0] * len(node.zones)
    managed = 0
    for upper in node.zones[zone.index + 1 :]:
        managed += upper.managed_pages
        reserve[upper.index] = managed // ratio if ratio and zone.managed_pages else 0
    return reserve


def setup_per_zone_wmarks(k: Kernel) -> None:
    """Share the pages to keep free among the zones. Source: mm/page_alloc.c:__setup_per_zone_wmarks() @ v6.12"""
    k.page_alloc.wmark_managed = _managed(k)
    pages_min = k.page_alloc.min_free_kbytes // KIB_PER_PAGE
    capped = (ZONE_MOVABLE,) if k.behaviour.movable_wmark_capped else ()
    lowmem = sum(zone.managed_pages for zone in _zones(k) if zone.index not in capped)
    if not lowmem:
        return
    for zone in _zones(k):
        share = pages_min * zone.managed_pages // lowmem
        least = share
        if zone.index in capped:
            least = min(max(zone.managed_pages // 1024, SWAP_CLUSTER_MAX), MOVABLE_MIN_MAX)
        step = max(share >> 2, zone.managed_pages * WATERMARK_SCALE_FACTOR // 10000)
        k.page_alloc.wmarks[zone.nid, zone.index] = Wmarks(*(least + n * step for n in range(4)))


def setup_transparent_hugepage(k: Kernel, text: str) -> bool:
    """``transparent_hugepage=``: what it cannot read is left to init. Source: mm/huge_memory.c @ v6.12"""
    if text not in THP_WORDS:
        k.printk("huge_memory: transparent_hugepage= cannot parse, ignored", Level.WARNING)
    return text in THP_WORDS


def hugepage_init(k: Kernel) -> None:
    """Transparent huge pages want more pages kept free; small machines go without.

    Source: mm/huge_memory.c:hugepage_init(), mm/khugepaged.c:set_recommended_min_free_kbytes() @ v6.12
    """
    if k.page_alloc.totalram_pages < THP_MIN_PAGES:
        return
    asked = [word for word in k.cmdline.getall("transparent_hugepage") if word in THP_WORDS]
    if asked[-1:] == ["never"]:
        k.page_alloc.min_free_kbytes = calculate_min_free_kbytes(k)
    else:
        zones = sum(1 for zone in _zones(k) if zone.present_pages and zone.index <= ZONE_NORMAL)
        wanted = PAGEBLOCK_NR_PAGES * zones * (2 + MIGRATE_PCPTYPES * MIGRATE_PCPTYPES)
        wanted = min(wanted, nr_free_buffer_pages(k) // 20) * KIB_PER_PAGE
        k.page_alloc.min_free_kbytes = max(k.page_alloc.min_free_kbytes, wanted)
    setup_per_zone_wmarks(k)


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    setup_param("transparent_hugepage=", setup_transparent_hugepage, read_by=hugepage_init),
)
