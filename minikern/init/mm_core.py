"""mm_core_init(): from memblock to the page allocator, with the Memory line.

Source: mm/mm_init.c:mm_core_init(), arch/x86/mm/init_64.c:mem_init() @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hw.units import PAGE_SIZE
from minikern.core.cmdline import get_bool
from minikern.core.moduleparam import Parameter, early_param, needs_bool
from minikern.kho import retrieve
from minikern.mm.buddy import memblock_free, zonelist
from minikern.mm.early import early_allocs, swiotlb
from minikern.mm.hugetlb import hugetlb, hugetlb_cma
from minikern.mm.map import deferred

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

VMALLOC_BYTES = {4: 32 << 40, 5: 12800 << 40}  # by page-table levels; Source: arch/x86/include/asm/pgtable_64_types.h
PGD_ENTRY_BYTES = {4: 1 << 39, 5: 1 << 48}


def mm_core_init(k: Kernel) -> None:
    """Zonelists, then all free memory to the buddy allocator."""
    preinit = k.behaviour.arch_mm_preinit
    if preinit:
        swiotlb.swiotlb_init(k)
    if not k.behaviour.zonelists_before_cmdline:
        zonelist.build_all_zonelists(k)
    k.page_alloc.fallback_order = k.fallback
    early_allocs.kfence_alloc_pool_and_metadata(k)
    report_meminit(k)
    retrieve.kho_memory_init(k)
    mem_init(k, preinit)
    kmem_cache_init(k)


def report_meminit(k: Kernel) -> None:
    """What is cleared automatically. Source: mm/mm_init.c:report_meminit() @ v6.12"""
    stack = "all(zero)" if k.config.enabled("CONFIG_INIT_STACK_ALL_ZERO") else "off"
    alloc = get_bool(k.cmdline.get("init_on_alloc"), k.config.enabled("CONFIG_INIT_ON_ALLOC_DEFAULT_ON"))
    free = get_bool(k.cmdline.get("init_on_free"), k.config.enabled("CONFIG_INIT_ON_FREE_DEFAULT_ON"))
    on = {True: "on", False: "off"}
    k.printk(f"mem auto-init: stack:{stack}, heap alloc:{on[alloc]}, heap free:{on[free]}")
    if free:
        k.printk("mem auto-init: clearing system memory may take some time...")


def mem_init(k: Kernel, preinit: bool = False) -> None:
    """All free memory to the buddy lists, page tables of the vmalloc area; first the bounce buffers, unless
    arch_mm_preinit() made them before the zonelists (since 6.15).

    Source: arch/x86/mm/init_64.c:mem_init() @ v6.12
    """
    if not preinit:
        swiotlb.swiotlb_init(k)
    memblock_free.memblock_free_all(k)
    memblock_free.register_page_bootmem_info(k)
    preallocate_vmalloc_pages(k)
    if k.behaviour.memory_line == "mem_init":
        mem_init_print_info(k)


def page_alloc_init_late(k: Kernel) -> None:
    """Deferred struct pages on every node; since 6.11 the Memory line follows them.

    Source: mm/mm_init.c:page_alloc_init_late() @ v6.12
    """
    deferred.page_alloc_init_late(k, k.cpus.node_cpus())
    with k.phase("hugepages"):
        hugetlb.hugetlb_bootmem_struct_page_init(k)
    if k.behaviour.memory_line == "page_alloc_init_late":
        mem_init_print_info(k)


def preallocate_vmalloc_pages(k: Kernel) -> None:
    """One upper page-table page for each top-level entry of the vmalloc area.

    Source: arch/x86/mm/init_64.c:preallocate_vmalloc_pages() @ v6.12
    """
    levels = 5 if k.pgtable_l5_enabled() else 4
    pages = VMALLOC_BYTES[levels] // PGD_ENTRY_BYTES[levels]
    for _ in range(pages):
        k.page_alloc.alloc_pages(0)
    k.charge("page_table_page", pages)


def mem_init_print_info(k: Kernel) -> None:
    """The Memory line. Source: mm/mm_init.c:mem_init_print_info() @ v6.12"""
    image = k.release.image
    physical = k.memblock.phys_mem_size() >> 10
    free = k.page_alloc.nr_free_pages() * (PAGE_SIZE >> 10)
    cma = hugetlb_cma.cma_pages(k) * (PAGE_SIZE >> 10)
    reserved = physical - k.page_alloc.totalram_pages * (PAGE_SIZE >> 10) - cma
    k.printk(
        f"Memory: {free}K/{physical}K available ({image.code_kib}K kernel code, {image.rwdata_kib}K rwdata,"
        f" {image.rodata_kib}K rodata, {image.init_kib}K init, {image.bss_kib}K bss, {reserved}K reserved,"
        f" {cma}K cma-reserved)"
    )


def kmem_cache_init(k: Kernel) -> None:
    """Source: mm/slub.c:kmem_cache_init() @ v6.12"""
    k.printk(
        f"SLUB: HWalign=64, Order=0-3, MinObjects=0, CPUs={k.cpus.nr_cpu_ids}, Nodes={k.numa.nr_node_ids()}"
    )
    k.residue("kmem_cache_init")


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    early_param("init_on_alloc", needs_bool, read_by=report_meminit),
    early_param("init_on_free", needs_bool, read_by=report_meminit),
)
