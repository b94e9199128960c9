"""Reserved memory that goes to the buddy allocator for movable pages only, so that it can be emptied again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.mm.buddy.memblock_free import free_to_buddy, zones_of
from minikern.mm.buddy.watermarks import managed_pages_changed

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel


def init_cma_reserved(k: Kernel, start: int, end: int) -> None:
    """Free the reserved pages [start, end), whole pageblocks, as CMA; they are managed from now on.

    Charges ``struct_page_free``. Source: mm/mm_init.c:init_cma_reserved_pageblock() @ v6.12
    """
    if start >= end:
        return
    node = k.page_alloc.nodes[k.page_alloc.zone_of(start).nid]
    for zone, low, high in zones_of(node, start, end):
        k.page_alloc.set_cma(low, high)
        k.charge("struct_page_free", free_to_buddy(k.page_alloc, zone, low, high))
        zone.cma_pages += high - low
        k.page_alloc.release(low, high)
    managed_pages_changed(k)
