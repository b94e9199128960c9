"""cma_alloc(): neighbouring pages out of an area kept for that.

Source: mm/cma.c:cma_alloc(), kernel/dma/contiguous.c:dma_alloc_from_contiguous() @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hw.units import PAGE_SIZE

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

DEFAULT_AREA = "reserved"  # the one that cma= asks for
CMA_ALIGNMENT = 8  # the largest order anybody gets; Source: kernel/dma/Kconfig, CONFIG_CMA_ALIGNMENT


def dma_alloc_from_contiguous(k: Kernel, pages: int, order: int = 0) -> int | None:
    """First pfn of so many pages, aligned to 2**order as far as that is granted; None: there is no room, or no area."""
    area = next((one for one in k.cma.areas if one.name == DEFAULT_AREA), None)
    if area is None:
        return None
    step = 1 << min(order, CMA_ALIGNMENT)
    pfn, end = area.base // PAGE_SIZE, (area.base + area.size) // PAGE_SIZE
    while pfn + pages <= end:
        busy = next((at for at in range(pfn + pages - 1, pfn - 1, -1) if at in k.page_alloc.allocated), None)
        if busy is None:
            return pfn if k.page_alloc.alloc_contig_range(pfn, pfn + pages) else None
        pfn = -(-(busy + 1) // step) * step
    return None


def dma_release_from_contiguous(k: Kernel, pfn: int, pages: int) -> None:
    """Give them back."""
    for page in range(pfn, pfn + pages):
        k.page_alloc.free_pages(page, 0)
