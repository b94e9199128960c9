"""Gigantic pages taken from memblock become compound pages, once there are ``struct page`` for them.

Source: mm/hugetlb.c:gather_bootmem_prealloc() @ v6.9, hugetlb_bootmem_struct_page_init() @ stable 6.12
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

import simpy

from minikern.core.work import Work, run_here, run_on
from minikern.mm.buddy.memblock_free import zones_of
from minikern.mm.hugetlb.hugetlb_alloc import HPG_FREED, mark_optimized, optimize, padata_run
from minikern.mm.hugetlb.hugetlb_vmemmap import HUGETLB_VMEMMAP_RESERVE_PAGES, hugetlb_vmemmap_optimize_bootmem_folio
from minikern.mm.map.hugetlb_preinit import one_zone
from minikern.mm.map.padata import MtJob, numa_aware_cpus
from minikern.state.hugetlb import BootPage
from minikern.state.page_alloc import PageAlloc

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel


def gather_bootmem_prealloc(k: Kernel) -> None:
    """Make compound pages of the gigantic pages taken from memblock, and fold their memory map if HVO is on.

    With ``hugetlb_tail_skip`` (6.7) only the tails that stay are written before HVO, the others only if it fails; with
    ``hugetlb_parallel`` (6.9) each node's list is one piece of a job for as many threads as nodes have memory.
    """
    waiting, k.hugetlb.boot_pages = k.hugetlb.boot_pages, []
    if not waiting:
        return
    waiting.reverse()  # lists grow at their head
    if not k.behaviour.hugetlb_parallel:
        run_here(k, gather_list(k, waiting))
        return
    cpus = numa_aware_cpus(k)

    def thread(worker: int, start: int, end: int) -> Generator[simpy.Event, Any, None]:
        for nid in range(start, end):
            mine = [page for page in waiting if page.nid == nid]
            yield from run_on(k, cpus[worker % len(cpus)], gather_list(k, mine))

    padata_run(k, MtJob(0, k.numa.nr_node_ids(), 1, 1, len(k.hugetlb.memory_nodes)), thread)


def gather_list(k: Kernel, waiting: Sequence[BootPage]) -> Work[None]:
    """Prepare the pages of one list. Source: mm/hugetlb.c:gather_bootmem_prealloc_node() @ v6.12"""
    ready: list[BootPage] = []
    for page in waiting:
        if not one_zone(k, page):
            yield from _free_invalid_page(k, page)
            continue
        if ready and page.h is not ready[0].h:
            yield from _prep_and_add(k, ready)
            ready = []
        yield from _init_vmemmap(k, page)
        k.page_alloc.zone_of(page.pfn).managed_pages += page.pages
        k.page_alloc.release(page.pfn, page.pfn + page.pages)
        if k.behaviour.hugetlb_tail_skip:
            ready.insert(0, page)
        else:
            yield from _prep_and_add(k, [page])
    yield from _prep_and_add(k, ready)


def _init_vmemmap(k: Kernel, page: BootPage) -> Work[None]:
    # Source: mm/hugetlb.c:hugetlb_folio_init_vmemmap() @ v6.12, prep_compound_gigantic_page() @ v6.6
    pages = k.page_alloc.pages
    if k.behaviour.hugetlb_tail_skip:
        yield "compound_tail_init_prep", pages.prep_tails(page.pfn, 1, HUGETLB_VMEMMAP_RESERVE_PAGES)
    else:
        yield "compound_tail_prep", pages.prep_tails(page.pfn, 1, page.pages)
    yield "compound_head_prep", 1
    pages.prep_head(page.pfn, page.h.order, HPG_FREED)
    if page.hvo:
        yield "vmemmap_pte_set", hugetlb_vmemmap_optimize_bootmem_folio(k, page)


def _prep_and_add(k: Kernel, ready: Sequence[BootPage]) -> Work[None]:
    # Source: mm/hugetlb.c:prep_and_add_bootmem_folios() @ v6.12
    if not ready:
        return
    h, pages = ready[0].h, k.page_alloc.pages
    yield from optimize(k, [page.pfn for page in ready if not page.hvo], h.order)
    for page in ready:
        if k.behaviour.hugetlb_tail_skip and page.pfn not in k.hugetlb.optimized:
            count = pages.prep_tails(page.pfn, HUGETLB_VMEMMAP_RESERVE_PAGES, page.pages)
            yield "compound_tail_init_prep", count
        mark_optimized(k, page.pfn)
        h.free_pages.append(page.pfn)


def _free_invalid_page(k: Kernel, page: BootPage) -> Work[None]:
    # It lies in more than one zone: its pages become ordinary ones.
    # Source: mm/hugetlb.c:hugetlb_bootmem_free_invalid_page() @ v6.15
    page_alloc: PageAlloc = k.page_alloc
    for zone, low, high in zones_of(page_alloc.nodes[page.nid], page.pfn, page.pfn + page.pages):
        yield "struct_page_init", page_alloc.pages.free_bootmem_range(low, high)
        page_alloc.set_movable(low, high)
        page_alloc.free_range(zone, low, high)
        yield "struct_page_free", high - low
        zone.managed_pages += high - low
        page_alloc.release(low, high)
