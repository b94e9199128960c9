"""HugeTLB at boot: the pages that ``hugepagesz=`` and ``hugepages=`` ask for.

Gigantic pages leave memblock while the command line is parsed (since 6.15: before the memory map is laid out), normal
ones leave the buddy allocator in ``hugetlb_init()``. Source: mm/hugetlb.c @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hw.units import PAGE_SIZE
from minikern.core.moduleparam import Parameter, a_bool, early_param, module_param, needs_bool, needs_value, setup_param
from minikern.core.work import run_here
from minikern.mm.hugetlb.hugetlb_alloc import hugetlb_hstate_alloc_pages
from minikern.mm.hugetlb.hugetlb_cma import dma_contiguous_reserve, hugetlb_cma_reserve
from minikern.mm.hugetlb.hugetlb_cmdline import HugetlbCommandLine, size_name
from minikern.mm.hugetlb.hugetlb_gather import gather_bootmem_prealloc
from minikern.mm.hugetlb.hugetlb_vmemmap import hugetlb_vmemmap_restore_folio
from minikern.state.hugetlb import HugeTLB, hugetlb_vmemmap_optimizable_size

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

PMD_ORDER, PUD_ORDER = 9, 18  # 2 MiB and 1 GiB; Source: arch/x86/include/asm/pgtable_64_types.h
PSE_BIT = 3  # CPUID.1:EDX
PDPE1GB_BIT = 26  # CPUID.80000001H:EDX; Source: SDM vol. 2A, CPUID


# while the command line is parsed


def hugetlb_early_reserve(k: Kernel) -> None:
    """What is taken as soon as nodes are known: memory for contiguous allocations, then, with pre-HVO, huge pages.

    Source: arch/x86/kernel/setup.c:setup_arch() @ v6.12 and v6.15
    """
    dma_contiguous_reserve(k)
    hugetlb_reserve(k)


def hugetlb_reserve(k: Kernel) -> None:
    """Areas of ``hugetlb_cma=``, then, with pre-HVO, huge pages; from 7.0 on when setup_arch() is over.

    Source: mm/mm_init.c:mm_core_init_early() @ v7.2
    """
    if has_gbpages(k):
        hugetlb_cma_reserve(k, online_nodes(k))
        hugetlb_bootmem_alloc(k)


def hugetlb_bootmem_alloc(k: Kernel) -> None:
    """With pre-HVO, act on the huge page parameters as soon as nodes are known, before there is a memory map.

    Source: mm/hugetlb.c:hugetlb_bootmem_alloc() @ v6.15
    """
    if k.behaviour.hugetlb_prehvo:
        hugetlb_parse_cmdline(k)


def hugetlb_parse_cmdline(k: Kernel) -> None:
    """Act on all huge page parameters in their order. Does nothing if that was done before."""
    if k.hugetlb.parsed:
        return
    for name, value in k.cmdline.args:
        hugetlb_parameter(k, name, value)
    k.hugetlb.parsed = True


def hugepagesz_setup(k: Kernel, text: str) -> bool:
    """``hugepagesz=``. Source: mm/hugetlb.c:hugepagesz_setup() @ v6.12"""
    hugetlb_parameter(k, "hugepagesz", text)
    return True


def hugepages_setup(k: Kernel, text: str) -> bool:
    """``hugepages=``. Source: mm/hugetlb.c:hugepages_setup() @ v6.12"""
    hugetlb_parameter(k, "hugepages", text)
    return True


def default_hugepagesz_setup(k: Kernel, text: str) -> bool:
    """``default_hugepagesz=``. Source: mm/hugetlb.c:default_hugepagesz_setup() @ v6.12"""
    hugetlb_parameter(k, "default_hugepagesz", text)
    return True


def hugetlb_parameter(k: Kernel, name: str, value: str | None) -> None:
    """Act on one huge page parameter; gigantic pages are taken from memblock at once.

    Charges ``hugetlb_page_alloc``. Others, and all of them once they were parsed, are left alone.
    Source: mm/hugetlb.c:hugepages_setup(), hugepagesz_setup(), default_hugepagesz_setup() @ v6.12
    """
    if value is not None and not k.hugetlb.parsed:
        k.hugetlb.cmdline.parameter(name, value)


def hugetlb_cmdline(k: Kernel) -> None:
    """Make ``k.hugetlb`` ready for the parameters, once nodes are known."""
    can_fold = k.config.enabled("CONFIG_HUGETLB_PAGE_OPTIMIZE_VMEMMAP")
    default_on = k.config.enabled("CONFIG_HUGETLB_PAGE_OPTIMIZE_VMEMMAP_DEFAULT_ON")
    optimize = can_fold and k.cmdline.get_bool("hugetlb_free_vmemmap", default_on)
    parser = HugetlbCommandLine(
        valid_sizes={PAGE_SIZE << order for order in valid_orders(k)},
        online_nodes=online_nodes(k),
        printk=k.printk,
        alloc_gigantic=lambda h: hugetlb_hstate_alloc_pages(k, h),
    )
    k.hugetlb = HugeTLB(parser, optimize, memory_nodes(k))


def valid_orders(k: Kernel) -> tuple[int, ...]:
    """Page orders the CPU can map. Source: arch/x86/mm/hugetlbpage.c:arch_hugetlb_valid_size() @ v6.12"""
    return (PMD_ORDER, PUD_ORDER) if has_gbpages(k) else (PMD_ORDER,)


def has_gbpages(k: Kernel) -> bool:
    """True if the CPU has 1 GiB pages."""
    return bool(k.machine.boot_cpu.cpuid(0x80000001).edx >> PDPE1GB_BIT & 1)


def hugepages_supported(k: Kernel) -> bool:
    """True if the CPU has 2 MiB pages. Source: arch/x86/include/asm/hugetlb.h"""
    return bool(k.machine.boot_cpu.cpuid(1).edx >> PSE_BIT & 1)


def online_nodes(k: Kernel) -> list[int]:
    """Nodes that are online; before zones are laid out, those with memory stand for them."""
    return [node.nid for node in k.nodes] or memory_nodes(k)


def memory_nodes(k: Kernel) -> list[int]:
    """Nodes with memory, ascending. Source: mm/hugetlb.c:hugetlb_bootmem_set_nodes() @ v6.15 for the early case"""
    if k.nodes:
        return [node.nid for node in k.nodes if node.last_zone is not None]
    return sorted({max(region.nid, 0) for region in k.memblock.memory_regions() if region.size >= PAGE_SIZE})


# initcalls


def hugetlb_bootmem_struct_page_init(k: Kernel) -> None:
    """Gather gigantic pages as soon as all struct pages are there, where the release does it then.

    Source: mm/hugetlb.c:hugetlb_bootmem_struct_page_init() @ stable 6.12
    """
    if k.behaviour.hugetlb_gather == "page_alloc_init_late":
        gather_bootmem_prealloc(k)


def hugetlb_init(k: Kernel) -> None:
    """Register the default size, allocate normal pages, prepare gigantic ones, report.

    Charges ``hugetlb_page_alloc``, ``compound_head_prep``, ``compound_tail_prep`` or ``compound_tail_init_prep``,
    ``hugetlb_pool_add``, ``hvo_remap_page`` and ``tlb_flush_cpu``. Source: mm/hugetlb.c:hugetlb_init() @ v6.12
    """
    parser = k.hugetlb.cmdline
    if not hugepages_supported(k):
        if parser.hstates or parser.default_max_huge_pages:
            k.printk("HugeTLB: huge pages not supported, ignoring associated command-line parameters")
        return
    if k.config.enabled("CONFIG_CONTIG_ALLOC") and has_gbpages(k):
        parser.add_hstate(PUD_ORDER)  # an initcall of its own: arch/x86/mm/hugetlbpage.c:gigantic_pages_init()
    parser.set_default(PMD_ORDER)
    for h in parser.hstates:
        if not h.gigantic:
            hugetlb_hstate_alloc_pages(k, h)
    gather_bootmem_prealloc(k)
    report_hugepages(k)


def report_hugepages(k: Kernel) -> None:
    """Two lines for each size; the second, since 6.0, says what HVO could free, whether it is on or not.

    Source: mm/hugetlb.c:report_hugepages() @ v6.12
    """
    for h in k.hugetlb.hstates:
        name = size_name(h.order)
        colon = ":" if k.behaviour.hugetlb_lines == "vmemmap" else ""
        k.printk(f"HugeTLB{colon} registered {name} page size, pre-allocated {len(h.free_pages)} pages")
        if h.invalid:
            h.max_huge_pages -= h.invalid
            plural = "" if h.invalid == 1 else "s"
            k.printk(f"HugeTLB: {name} page size: {h.invalid} invalid page{plural} discarded")
        kib = hugetlb_vmemmap_optimizable_size(h.order) >> 10
        if k.behaviour.hugetlb_lines == "vmemmap":
            k.printk(f"HugeTLB: {kib} KiB vmemmap can be freed for a {name} page")


# afterwards


def dissolve_free_hugetlb_folio(k: Kernel, pfn: int) -> bool:
    """Break a huge page up into ordinary free pages; False (it stays) if there is no memory for its memory map.

    Source: mm/hugetlb.c:dissolve_free_hugetlb_folio() @ v6.12
    """
    h = next(h for h in k.hugetlb.hstates if pfn in h.free_pages)
    hvo = k.hugetlb.hvo
    if hvo is not None and not run_here(k, hugetlb_vmemmap_restore_folio(k, hvo, pfn, h.order)):
        return False
    h.free_pages.remove(pfn)
    h.max_huge_pages -= 1
    k.charge("struct_page_free", k.page_alloc.pages.free_bootmem_range(pfn, pfn + (1 << h.order)))
    k.page_alloc.free_range(k.page_alloc.zone_of(pfn), pfn, pfn + (1 << h.order))
    return True


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    setup_param("hugepagesz=", hugepagesz_setup),
    setup_param("hugepages=", hugepages_setup),
    setup_param("default_hugepagesz=", default_hugepagesz_setup),
    # Early parameters since 6.15, which are kept until the nodes are known.
    early_param("hugepagesz", needs_value, read_by=hugetlb_parse_cmdline),
    early_param("hugepages", needs_value, read_by=hugetlb_parse_cmdline),
    early_param("default_hugepagesz", needs_value, read_by=hugetlb_parse_cmdline),
    early_param("hugetlb_free_vmemmap", needs_bool, read_by=hugetlb_cmdline),
    module_param("hugetlb_free_vmemmap", a_bool, read_by=hugetlb_cmdline),
)
