"""HugeTLB at boot: the pages that ``hugepagesz=`` and ``hugepages=`` ask for.

Gigantic pages leave memblock while the command line is parsed, normal ones leave the buddy allocator in
``hugetlb_init()``. Source: mm/hugetlb.c @ v6.12
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from minikern.cmdline import memparse
from minikern.mm.hugetlb_cmdline import Hstate, HugetlbCommandLine, size_name
from minikern.mm.hugetlb_vmemmap import (
    HUGETLB_VMEMMAP_RESERVE_PAGES,
    VmemmapPageTable,
    hugetlb_vmemmap_optimizable_size,
    hugetlb_vmemmap_optimize,
)
from minikern.mm.page_alloc import MIGRATE_MOVABLE, PageAlloc
from minikern.mm.struct_page import PAGE_SHIFT, PAGE_SIZE

PMD_ORDER, PUD_ORDER = 9, 18  # 2 MiB and 1 GiB; Source: arch/x86/include/asm/pgtable_64_types.h
PSE_BIT = 3  # CPUID.1:EDX
PDPE1GB_BIT = 26  # CPUID.80000001H:EDX; Source: SDM vol. 2A, CPUID

# Bits of a huge page's private field. Source: include/linux/hugetlb.h:enum hugetlb_page_flags @ v6.12
HPG_FREED, HPG_VMEMMAP_OPTIMIZED = 1 << 3, 1 << 4


@dataclass
class HugeTLB:
    """All huge page sizes and pages of one boot. ``optimized`` are the heads whose memory map HVO folded."""

    cmdline: HugetlbCommandLine
    vmemmap_optimize: bool
    boot_pages: list[tuple[Hstate, int]] = field(default_factory=list)
    optimized: set[int] = field(default_factory=set)
    page_table: VmemmapPageTable | None = None

    @property
    def hstates(self) -> list[Hstate]:
        """Sizes in the order in which they were registered."""
        return self.cmdline.hstates

    def folios(self) -> Iterator[tuple[int, int]]:
        """(head pfn, order) of every prepared huge page."""
        for h in self.hstates:
            for pfn in h.free_pages:
                yield pfn, h.order


# while the command line is parsed


def hugetlb_parse_cmdline(k: Any) -> None:
    """Act on the huge page parameters in their order; gigantic pages are taken from memblock at once.

    Sets ``k.hugetlb``. Charges ``hugetlb_page_alloc``.
    Source: mm/hugetlb.c:hugepages_setup(), hugepagesz_setup(), default_hugepagesz_setup() @ v6.12
    """
    can_fold = k.config.enabled("CONFIG_HUGETLB_PAGE_OPTIMIZE_VMEMMAP")
    default_on = k.config.enabled("CONFIG_HUGETLB_PAGE_OPTIMIZE_VMEMMAP_DEFAULT_ON")
    optimize = can_fold and k.cmdline.get_bool("hugetlb_free_vmemmap", default_on)
    parser = HugetlbCommandLine(
        valid_sizes={PAGE_SIZE << order for order in valid_orders(k)},
        online_nodes=[node.nid for node in k.nodes],
        printk=k.printk,
        alloc_gigantic=lambda h: hugetlb_hstate_alloc_pages(k, h),
    )
    k.hugetlb = HugeTLB(parser, optimize)
    for name, value in k.cmdline.args:
        if value is not None:
            parser.parameter(name, value)


def valid_orders(k: Any) -> tuple[int, ...]:
    """Page orders the CPU can map. Source: arch/x86/mm/hugetlbpage.c:arch_hugetlb_valid_size() @ v6.12"""
    return (PMD_ORDER, PUD_ORDER) if _has_gbpages(k) else (PMD_ORDER,)


def _has_gbpages(k: Any) -> bool:
    return bool(k.machine.boot_cpu.cpuid(0x80000001).edx >> PDPE1GB_BIT & 1)


def hugepages_supported(k: Any) -> bool:
    """True if the CPU has 2 MiB pages. Source: arch/x86/include/asm/hugetlb.h"""
    return bool(k.machine.boot_cpu.cpuid(1).edx >> PSE_BIT & 1)


def memory_nodes(k: Any) -> list[int]:
    """Nodes with memory, ascending."""
    return [node.nid for node in k.nodes if node.last_zone is not None]


# allocation


def hugetlb_hstate_alloc_pages(k: Any, h: Hstate) -> None:
    """Allocate what was asked for of one size, by node or in turn, with Linux's warnings about what was not there.

    Source: mm/hugetlb.c:hugetlb_hstate_alloc_pages() @ v6.12
    """
    cma = k.cmdline.get("hugetlb_cma")
    if h.gigantic and cma is not None and memparse(cma)[0]:
        if not k.hugetlb.cmdline.cma_warned:
            k.printk("HugeTLB: hugetlb_cma is enabled, skip boot time allocation")
        k.hugetlb.cmdline.cma_warned = True
        return
    if any(h.max_huge_pages_node.values()):
        _alloc_specific_nodes(k, h)
        return
    allocated = 0
    while allocated < h.max_huge_pages and _alloc_in_turn(k, h):
        allocated += 1
    if allocated < h.max_huge_pages:
        k.printk(
            f"HugeTLB: allocating {h.max_huge_pages} of page size {size_name(h.order)} failed."
            f"  Only allocated {allocated} hugepages."
        )
        h.max_huge_pages = allocated


def _alloc_specific_nodes(k: Any, h: Hstate) -> None:
    for nid, wanted in sorted(h.max_huge_pages_node.items()):
        got = 0
        while got < wanted and (_alloc_gigantic(k, h, nid) if h.gigantic else _alloc_buddy(k, h, nid)):
            got += 1
        if got < wanted:
            k.printk(
                f"HugeTLB: allocating {wanted} of page size {size_name(h.order)} failed node{nid}."
                f"  Only allocated {got} hugepages."
            )
            h.max_huge_pages -= wanted - got
            h.max_huge_pages_node[nid] = got


def _alloc_in_turn(k: Any, h: Hstate) -> bool:
    # A gigantic page is tried on one node only: memblock itself falls back to others.
    nodes = memory_nodes(k)
    for _ in range(1 if h.gigantic else len(nodes)):
        nid = nodes[h.next_node % len(nodes)]
        h.next_node += 1
        if _alloc_gigantic(k, h, nid) if h.gigantic else _alloc_buddy(k, h, nid):
            return True
    return False


def _alloc_gigantic(k: Any, h: Hstate, nid: int) -> bool:
    # Source: mm/hugetlb.c:__alloc_bootmem_huge_page() @ v6.12
    size = PAGE_SIZE << h.order
    address = k.memblock.alloc(size, size, nid=nid)
    if address is None:
        return False
    if k.behaviour["hugetlb_tail_skip"]:
        k.memblock.reserved_mark_noinit(address + PAGE_SIZE, size - PAGE_SIZE)
    k.hugetlb.boot_pages.append((h, address >> PAGE_SHIFT))
    k.charge("hugetlb_page_alloc")
    return True


def _alloc_buddy(k: Any, h: Hstate, nid: int) -> bool:
    # Source: mm/hugetlb.c:alloc_fresh_hugetlb_folio(), mm/page_alloc.c:prep_compound_page() @ v6.12
    page_alloc: PageAlloc = k.page_alloc
    pfn = page_alloc.alloc_pages(h.order, nid, MIGRATE_MOVABLE, this_node=True)
    if pfn is None:
        return False
    del page_alloc.allocated[pfn]  # from here on the page is HugeTLB's
    k.charge("hugetlb_page_alloc")
    k.charge("compound_tail_prep", page_alloc.pages.prep_tails(pfn, 1, 1 << h.order))
    _finish(k, h, pfn, _optimize(k, pfn, h.order))
    return True


# hugetlb_init


def hugetlb_init(k: Any) -> None:
    """Register the default size, allocate normal pages, prepare gigantic ones, report.

    Charges ``hugetlb_page_alloc``, ``compound_head_prep``, ``compound_tail_prep`` or ``compound_tail_init_prep``, and
    ``hvo_remap_page``. Source: mm/hugetlb.c:hugetlb_init() @ v6.12
    """
    parser = k.hugetlb.cmdline
    if not hugepages_supported(k):
        if parser.hstates or parser.default_max_huge_pages:
            k.printk("HugeTLB: huge pages not supported, ignoring associated command-line parameters")
        return
    if k.config.enabled("CONFIG_CONTIG_ALLOC") and _has_gbpages(k):
        parser.add_hstate(PUD_ORDER)  # an initcall of its own: arch/x86/mm/hugetlbpage.c:gigantic_pages_init()
    parser.set_default(PMD_ORDER)
    for h in parser.hstates:
        if not h.gigantic:
            hugetlb_hstate_alloc_pages(k, h)
    gather_bootmem_prealloc(k)
    report_hugepages(k)


def gather_bootmem_prealloc(k: Any) -> None:
    """Make compound pages of the gigantic pages taken from memblock, and fold their memory map if HVO is on.

    With ``hugetlb_tail_skip`` only the tails that stay are written before HVO, the others only if it fails.
    Source: mm/hugetlb.c:gather_bootmem_prealloc_node(), prep_and_add_bootmem_folios() @ v6.12
    """
    waiting, k.hugetlb.boot_pages = k.hugetlb.boot_pages, []
    for h, pfn in waiting if k.behaviour["hugetlb_tail_skip"] else reversed(waiting):
        if k.behaviour["hugetlb_tail_skip"]:
            optimized = _prep_skipping(k, pfn, h.order)
        else:
            k.charge("compound_tail_prep", k.page_alloc.pages.prep_tails(pfn, 1, 1 << h.order))
            optimized = _optimize(k, pfn, h.order)
        _finish(k, h, pfn, optimized)
        k.page_alloc.zone_of(pfn).managed_pages += 1 << h.order
        k.page_alloc.totalram_pages += 1 << h.order


def _prep_skipping(k: Any, pfn: int, order: int) -> bool:
    pages, kept = k.page_alloc.pages, HUGETLB_VMEMMAP_RESERVE_PAGES
    k.charge("compound_tail_init_prep", pages.prep_tails(pfn, 1, kept))
    optimized = _optimize(k, pfn, order)
    if not optimized:
        k.charge("compound_tail_init_prep", pages.prep_tails(pfn, kept, 1 << order))
    return optimized


def _optimize(k: Any, pfn: int, order: int) -> bool:
    hugetlb: HugeTLB = k.hugetlb
    if not hugetlb.vmemmap_optimize or not hugetlb_vmemmap_optimizable_size(order):
        return False
    if hugetlb.page_table is None:
        hugetlb.page_table = VmemmapPageTable(k.vmemmap.memmaps)
    return hugetlb_vmemmap_optimize(k, hugetlb.page_table, pfn, order)


def _finish(k: Any, h: Hstate, pfn: int, optimized: bool) -> None:
    k.charge("compound_head_prep")
    private = HPG_FREED
    if optimized:
        private |= HPG_VMEMMAP_OPTIMIZED
        k.hugetlb.optimized.add(pfn)
    k.page_alloc.pages.prep_head(pfn, h.order, private)
    h.free_pages.append(pfn)


def report_hugepages(k: Any) -> None:
    """Two lines for each size; the second says what HVO could free, whether it is on or not.

    Source: mm/hugetlb.c:report_hugepages() @ v6.12
    """
    for h in k.hugetlb.hstates:
        name = size_name(h.order)
        k.printk(f"HugeTLB: registered {name} page size, pre-allocated {len(h.free_pages)} pages")
        kib = hugetlb_vmemmap_optimizable_size(h.order) >> 10
        k.printk(f"HugeTLB: {kib} KiB vmemmap can be freed for a {name} page")
