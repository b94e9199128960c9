"""Pre-HVO: the memory map of a gigantic page that is taken early enough is made folded in the first place.

Since 6.15 gigantic pages leave memblock before the memory map is laid out. A page that fills whole sections gets one
frame for its first 64 ``struct page``; every other page of its map is an alias of that frame, and no memory is taken
for it. Source: mm/hugetlb_vmemmap.c, mm/sparse-vmemmap.c @ v6.15
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from hw.units import PAGE_SHIFT, PAGE_SIZE
from minikern.mm.page.mmzone import PAGES_PER_SECTION, Zone
from minikern.mm.page.vmemmap import Memmap, PreinitMap

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel
    from minikern.state.hugetlb import BootPage


def qualifies(k: Kernel, page: BootPage) -> bool:
    """True if the page's map can be made folded: HVO is on, and the page is made of whole, aligned sections.

    Source: mm/hugetlb_vmemmap.c:vmemmap_should_optimize_bootmem_page() @ v6.15
    """
    whole = page.pfn % PAGES_PER_SECTION == page.pages % PAGES_PER_SECTION == 0  # more than one page of map to fold
    return k.hugetlb.vmemmap_optimize and whole


def hugetlb_vmemmap_init_early(k: Kernel, nid: int, populate: Callable[[int, int], int]) -> Iterator[PreinitMap]:
    """Make the maps of one node's pages; ``populate(head, pages)`` builds page tables and returns the frame.

    Source: mm/hugetlb_vmemmap.c:hugetlb_vmemmap_init_early() @ v6.15
    """
    if not k.behaviour.hugetlb_prehvo:
        return
    for page in reversed(k.hugetlb.boot_pages):
        if page.nid == nid and not page.hvo and qualifies(k, page):
            page.hvo = True
            yield PreinitMap(page.pfn, page.pages, populate(page.pfn, page.pages))


def hugetlb_vmemmap_init_late(k: Kernel, memmaps: list[Memmap]) -> None:
    """Once zones are known: pages that lie in more than one are given up, and get an ordinary map.

    ``memmaps`` is extended by theirs. Source: mm/hugetlb_vmemmap.c:hugetlb_vmemmap_init_late() @ v6.15
    """
    if not k.hugetlb.preinit:
        return
    for page in [page for page in k.hugetlb.boot_pages if page.hvo]:
        page.zones_valid = one_zone(k, page)
        if not page.zones_valid:
            k.hugetlb.boot_pages.remove(page)
            _undo_hvo(k, page, memmaps)
    if k.behaviour.vmemmap_tails:
        _alloc_tails(k, [page for page in k.hugetlb.boot_pages if page.hvo])


def _alloc_tails(k: Kernel, pages: list[BootPage]) -> None:
    # One more frame for each zone and size, in which the tails of all its pages are to be.
    # Source: mm/sparse-vmemmap.c:vmemmap_get_tail() @ v7.2
    seen: set[tuple[int, int, int]] = set()
    for page in pages:
        node = next(node for node in k.nodes if node.nid == page.nid)
        zone = next(at for at, zone in enumerate(node.zones) if _meets(zone, page.pfn, page.pfn + page.pages))
        if (page.nid, zone, page.h.order) not in seen:
            seen.add((page.nid, zone, page.h.order))
            k.memblock.alloc(PAGE_SIZE, PAGE_SIZE, nid=page.nid)


def _undo_hvo(k: Kernel, page: BootPage, memmaps: list[Memmap]) -> None:
    entry = next(entry for entry in k.hugetlb.preinit if entry.head == page.pfn)
    k.hugetlb.preinit.remove(entry)
    k.memblock.phys_free(entry.frame * PAGE_SIZE, PAGE_SIZE)
    from minikern.mm.map.sparse import section_memmap  # sparse makes the folded maps, so it imports this module

    first = page.pfn // PAGES_PER_SECTION
    memmaps += [section_memmap(k.memblock, first + at, page.nid) for at in range(page.pages // PAGES_PER_SECTION)]
    memmaps.sort()
    k.memblock.phys_free(page.pfn << PAGE_SHIFT, page.pages << PAGE_SHIFT)


def one_zone(k: Kernel, page: BootPage) -> bool:
    """True if the page lies in one zone of its node, or nobody asks (before 6.15); others are counted as invalid.

    Source: mm/hugetlb.c:hugetlb_bootmem_page_zones_valid(), mm/mm_init.c:pfn_range_intersects_zones() @ v6.15
    """
    if page.zones_valid or not k.behaviour.hugetlb_prehvo:
        return True
    node = next(node for node in k.nodes if node.nid == page.nid)
    met = [zone for zone in node.zones if _meets(zone, page.pfn, page.pfn + page.pages)]
    if len(met) > 1:
        page.h.invalid += 1
    return len(met) <= 1


def _meets(zone: Zone, start: int, end: int) -> bool:
    return bool(zone.spanned_pages) and zone.start_pfn < end and start < zone.end_pfn
