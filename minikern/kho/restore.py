"""Preserved memory becomes the new kernel's own: page by page where it was asked for so, or as a folio.

Source: kernel/liveupdate/kexec_handover.c:kho_restore_page() @ v7.2
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace
from typing import TYPE_CHECKING

from hw.units import PAGE_SHIFT, PAGE_SIZE
from minikern.mm.buddy.watermarks import managed_pages_changed

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel


MAX_ORDER = 53 - PAGE_SHIFT  # of a block that has a key


class NotPreservedError(Exception):
    """No preserved block begins there, or it was restored already; the kernel warns and gives nothing."""


def restore_page(k: Kernel, phys: int) -> int:
    """Take the preserved block at ``phys`` as allocated pages; returns its order. NotPreservedError: there is none.

    The pages are managed from then on.
    """
    order = _take(k, phys)
    pfn, pages = phys >> PAGE_SHIFT, 1 << order
    page_alloc = k.page_alloc
    page_alloc.pages.set_private(pfn, pfn + pages, pages, 0)
    for page in range(pfn, pfn + pages):
        page_alloc.pages.set_refcount(page, int(page == pfn))
    page_alloc.allocated[pfn] = order
    page_alloc.zone_of(pfn).managed_pages += pages
    page_alloc.release(pfn, pfn + pages)
    managed_pages_changed(k)
    return order


def _take(k: Kernel, phys: int) -> int:
    # The block leaves the list of those that wait; what lies side by side with it stays. In the list, which has the
    # order of the walk, the largest blocks come first.
    found = k.kho.incoming.blocks if k.kho.incoming is not None else []
    for order in range(MAX_ORDER):
        at = bisect_right(found, (-order, phys), key=lambda blocks: (-blocks.order, blocks.phys)) - 1
        if at < 0 or found[at].order != order:
            continue
        blocks, size = found[at], PAGE_SIZE << order
        index, inside = divmod(phys - blocks.phys, size)
        if index < blocks.count and not inside:
            before = replace(blocks, count=index)
            after = replace(blocks, phys=phys + size, count=blocks.count - index - 1)
            found[at : at + 1] = [part for part in (before, after) if part.count]
            return order
    raise NotPreservedError(f"{phys:#x}")



def restore_free(k: Kernel, phys: int) -> None:
    """Restore a block and free it: its content has been read. Source: kho_restore_free() @ v7.2"""
    order = restore_page(k, phys)
    k.page_alloc.free_pages(phys >> PAGE_SHIFT, order)
