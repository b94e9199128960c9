"""Taking huge pages: gigantic ones from memblock, normal ones from the buddy allocator, in turn or by node.

Source: mm/hugetlb.c @ v6.12
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import numpy as np
import simpy

from hw.numbers import is_count
from hw.units import PAGE_SHIFT, PAGE_SIZE
from minikern.core.moduleparam import Parameter, setup_param
from minikern.core.work import Work, run_here, run_on
from minikern.mm.hugetlb.hugetlb_cmdline import size_name
from minikern.mm.hugetlb.hugetlb_vmemmap import hugetlb_vmemmap_optimize_folios, hvo_for
from minikern.mm.map.padata import MtJob, WorkPool, numa_aware_cpus, padata_do_multithreaded
from minikern.mm.page.struct_page import W_PRIVATE
from minikern.state.hugetlb import BootPage, Hstate
from minikern.state.page_alloc import MIGRATE_MOVABLE, PageAlloc

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

# Bits of a huge page's private field. Source: include/linux/hugetlb.h:enum hugetlb_page_flags @ v6.12
HPG_FREED, HPG_VMEMMAP_OPTIMIZED = 1 << 3, 1 << 4


def hugetlb_hstate_alloc_pages(k: Kernel, h: Hstate) -> None:
    """Allocate what was asked for of one size, by node or in turn, with Linux's warnings about what was not there.

    Source: mm/hugetlb.c:hugetlb_hstate_alloc_pages() @ v6.12
    """
    if h.gigantic and k.cma.hugetlb_size:
        if not k.hugetlb.cmdline.cma_warned:
            k.printk("HugeTLB: hugetlb_cma is enabled, skip boot time allocation")
        k.hugetlb.cmdline.cma_warned = True
        return
    if not h.max_huge_pages and (h.gigantic or not k.behaviour.hugetlb_none_asked):
        return
    if any(h.max_huge_pages_node.values()):
        _alloc_specific_nodes(k, h)
        return
    if h.gigantic:
        allocated = _gigantic_pages_alloc_boot(k, h)
    elif k.behaviour.hugetlb_parallel:
        allocated = _pages_alloc_parallel(k, h)
    else:
        allocated = _pages_alloc_serial(k, h)
    if allocated < h.max_huge_pages:
        k.printk(
            f"HugeTLB: allocating {h.max_huge_pages} of page size {size_name(h.order)} failed."
            f"  Only allocated {allocated} hugepages."
        )
        h.max_huge_pages = allocated


def _alloc_specific_nodes(k: Kernel, h: Hstate) -> None:
    for nid, wanted in sorted(h.max_huge_pages_node.items()):
        got = 0
        while got < wanted and _alloc_on(k, h, nid):
            got += 1
        if got < wanted:
            k.printk(
                f"HugeTLB: allocating {wanted} of page size {size_name(h.order)} failed node{nid}."
                f"  Only allocated {got} hugepages."
            )
            h.max_huge_pages -= wanted - got
            h.max_huge_pages_node[nid] = got


def _alloc_on(k: Kernel, h: Hstate, nid: int) -> bool:
    if h.gigantic:
        return alloc_bootmem_huge_page(k, h, nid, exact=k.behaviour.hugetlb_exact_node)
    pfn = run_here(k, _alloc_fresh(k, h, nid))
    if pfn is None:
        return False
    run_here(k, _optimize_and_add(k, h, [pfn]))
    return True


# gigantic pages


def _gigantic_pages_alloc_boot(k: Kernel, h: Hstate) -> int:
    # A page is tried on one node only: memblock itself falls back to others.
    nodes = k.hugetlb.memory_nodes
    allocated = 0
    while allocated < h.max_huge_pages:
        nid = nodes[h.next_node % len(nodes)]
        h.next_node += 1
        if not alloc_bootmem_huge_page(k, h, nid):
            break
        allocated += 1
    return allocated


def alloc_bootmem_huge_page(k: Kernel, h: Hstate, nid: int, exact: bool = False) -> bool:
    """Take one gigantic page from memblock, from ``nid`` only if ``exact``; False if there is none.

    Since pre-HVO a page waits on the list of the node it really came from.
    Source: mm/hugetlb.c:__alloc_bootmem_huge_page() @ v6.12, alloc_bootmem() @ v6.15
    """
    size = PAGE_SIZE << h.order
    if k.behaviour.memblock_hugetlb_flag:
        address = k.memblock.alloc_hugetlb(size, nid, exact, k.kho.scratch)
    else:
        address = k.memblock.alloc(size, size, nid=nid, exact_nid=exact)
    if address is None:
        return False
    if k.behaviour.hugetlb_tail_skip:
        k.memblock.reserved_mark_noinit(address + PAGE_SIZE, size - PAGE_SIZE)
    if k.behaviour.hugetlb_prehvo:
        nid = max(next(r.nid for r in k.memblock.memory_regions() if address < r.end), 0)
    k.hugetlb.boot_pages.append(BootPage(h, address >> PAGE_SHIFT, nid))
    k.charge("hugetlb_page_alloc")
    return True


# normal pages


def _alloc_fresh(k: Kernel, h: Hstate, nid: int) -> Work[int | None]:
    # Source: mm/hugetlb.c:alloc_fresh_hugetlb_folio(), mm/page_alloc.c:prep_compound_page() @ v6.12
    page_alloc: PageAlloc = k.page_alloc
    pfn = page_alloc.alloc_pages(h.order, nid, MIGRATE_MOVABLE, this_node=True)
    if pfn is None:
        return None
    del page_alloc.allocated[pfn]  # from here on the page is HugeTLB's
    yield "hugetlb_page_alloc", 1
    yield "compound_tail_prep", page_alloc.pages.prep_tails(pfn, 1, 1 << h.order)
    yield "compound_head_prep", 1
    page_alloc.pages.prep_head(pfn, h.order, HPG_FREED)
    return pfn


def _alloc_pool(k: Kernel, h: Hstate, nodes: list[int], turn: int) -> Work[tuple[int | None, int]]:
    # Source: mm/hugetlb.c:alloc_pool_huge_folio() @ v6.12
    for _ in nodes:
        nid = nodes[turn % len(nodes)]
        turn += 1
        pfn = yield from _alloc_fresh(k, h, nid)
        if pfn is not None:
            return pfn, turn
    return None, turn


def _optimize_and_add(k: Kernel, h: Hstate, heads: list[int]) -> Work[None]:
    yield from optimize(k, heads, h.order)
    yield from _add(k, h, heads)


def _add(k: Kernel, h: Hstate, heads: list[int]) -> Work[None]:
    # Under hugetlb_lock. Source: mm/hugetlb.c:prep_and_add_allocated_folios() @ v6.12
    for pfn in heads:
        mark_optimized(k, pfn)
        h.free_pages.append(pfn)
    yield "hugetlb_pool_add", len(heads)


def optimize(k: Kernel, heads: list[int], order: int) -> Work[None]:
    """Fold the memory maps of new huge pages if that is wanted and there is something to gain."""
    hvo = hvo_for(k, order)
    if hvo is not None:
        yield from hugetlb_vmemmap_optimize_folios(k, hvo, heads, order)


def mark_optimized(k: Kernel, pfn: int) -> None:
    """Let the head say whether its memory map is folded."""
    row = k.vmemmap.row(pfn)
    if row is not None:
        folded = pfn in k.hugetlb.optimized
        row[W_PRIVATE] = np.uint64(HPG_FREED | (HPG_VMEMMAP_OPTIMIZED if folded else 0))


def _pages_alloc_serial(k: Kernel, h: Hstate) -> int:
    # Up to 6.6 each page is finished before the next is taken; from 6.7 on the list is finished as a whole.
    nodes, heads = k.hugetlb.memory_nodes, list[int]()
    while len(heads) < h.max_huge_pages:
        pfn, h.next_node = run_here(k, _alloc_pool(k, h, nodes, h.next_node))
        if pfn is None:
            break
        heads.append(pfn)
        if not k.behaviour.hvo_batch:
            run_here(k, _optimize_and_add(k, h, [pfn]))
    if k.behaviour.hvo_batch:
        run_here(k, _optimize_and_add(k, h, heads))
    return len(heads)


def _pages_alloc_parallel(k: Kernel, h: Hstate) -> int:
    """Allocate with several threads: two a node, or since 6.15 one for four CPUs, repeated while HVO yields memory.

    Source: mm/hugetlb.c:hugetlb_pages_alloc_boot() @ v6.9 and v6.15
    """
    nodes = k.hugetlb.memory_nodes
    if not k.behaviour.hugetlb_alloc_threads:
        wanted = h.max_huge_pages
        _alloc_job(k, h, MtJob(0, wanted, 1, wanted // len(nodes) // 2, 2 * len(nodes)))
        return len(h.free_pages)
    threads = _threads_asked_for(k) or max(len(k.cpus.online) // 4, 1)
    tick_ns = 1_000_000_000 // k.config.number("CONFIG_HZ")
    began, before = k.machine.clock.now // tick_ns, -1
    while before < len(h.free_pages) < h.max_huge_pages:
        before = len(h.free_pages)
        remaining = h.max_huge_pages - before
        _alloc_job(k, h, MtJob(before, remaining, 1, remaining // threads, threads))
    spent_ms = (k.machine.clock.now // tick_ns - began) * tick_ns // 1_000_000
    k.printk(f"HugeTLB: allocation took {spent_ms}ms with hugepage_allocation_threads={threads}")
    return len(h.free_pages)


def _threads_asked_for(k: Kernel) -> int:
    # Source: mm/hugetlb.c:hugepage_alloc_threads_setup() @ v6.15
    text = k.cmdline.get("hugepage_alloc_threads") or ""
    return int(text) if is_count(text) and len(text) < 10 else 0


def _alloc_job(k: Kernel, h: Hstate, job: MtJob) -> None:
    # Each thread begins with the first node. Source: mm/hugetlb.c:hugetlb_pages_alloc_boot_node() @ v6.9
    nodes, cpus = k.hugetlb.memory_nodes, numa_aware_cpus(k)
    hugetlb_lock = simpy.Resource(k.machine.clock.env)

    def thread(worker: int, start: int, end: int) -> Generator[simpy.Event, Any, None]:
        cpu, turn, heads = cpus[worker % len(cpus)], 0, list[int]()
        while len(heads) < end - start:
            pfn, turn = yield from run_on(k, cpu, _alloc_pool(k, h, nodes, turn))
            if pfn is None:
                break
            heads.append(pfn)
        yield from run_on(k, cpu, optimize(k, heads, h.order))
        with hugetlb_lock.request() as mine:
            yield mine
            yield from run_on(k, cpu, _add(k, h, heads))

    padata_run(k, job, thread)


def padata_run(k: Kernel, job: MtJob, thread: Callable[[int, int, int], Generator[simpy.Event, Any, None]]) -> None:
    """Work a job off on as many threads as it is worth, and wait for it."""
    env: simpy.Environment = k.machine.clock.env
    pool = WorkPool(len(k.cpus.possible))
    k.wait(k.machine.clock.process(padata_do_multithreaded(env, job, pool, thread)))


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    setup_param("hugepage_alloc_threads=", read_by=_threads_asked_for),
)
