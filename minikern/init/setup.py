"""setup_arch(): from the zero page to zones. Source: arch/x86/kernel/setup.c:setup_arch() @ v6.12"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from hw.errors import MachineStopped
from hw.units import PAGE_SHIFT, PAGE_SIZE, SMP_CACHE_BYTES
from minikern.acpi import tables
from minikern.core.cmdline import CommandLine, memparse
from minikern.init import main_lines, params
from minikern.kexec.setup_data import parse_setup_data
from minikern.kho.extend import kho_memory_init_early
from minikern.mm.buddy import zonelist, zones
from minikern.mm.early import (
    crashkernel,
    direct_map,
    e820,
    e820_resources,
    early_allocs,
    efi,
    memtest,
    mtrr,
    numa,
)
from minikern.mm.hugetlb import hugetlb, hugetlb_cma
from minikern.mm.map import hugetlb_preinit, page_init, sparse
from minikern.pci import dmar
from minikern.smp import clocksource, interrupt_mode, madt, mpparse, topology, tsc
from minikern.state.memblock import Memblock
from minikern.tty.console_init import printk_setup

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

PMD_SIZE = 2 << 20  # the kernel is never put at less than this
MIB = 1 << 20
COMMAND_LINE_SIZE = 2048  # Source: arch/x86/include/asm/setup.h
PAT_LINE = "x86/PAT: Configuration [0-7]: WB  WC  UC- UC  WB  WP  UC- WT  "  # Source: arch/x86/mm/pat/memtype.c
MAX_SETUP_DATA = 64  # nodes followed before the list is taken to be a loop

# Offsets in the zero page. Source: Documentation/arch/x86/zero-page.rst, boot.rst
ACPI_RSDP_ADDR = 0x070
EXT_RAMDISK_IMAGE, EXT_RAMDISK_SIZE, EXT_CMD_LINE_PTR = 0x0C0, 0x0C4, 0x0C8
EFI_LOADER_SIGNATURE = 0x1C0
EXT_MEM_K, ALT_MEM_K = 0x002, 0x1E0
E820_ENTRIES, E820_TABLE, E820_MAX_ZEROPAGE = 0x1E8, 0x2D0, 128
TYPE_OF_LOADER, RAMDISK_IMAGE, RAMDISK_SIZE, CMD_LINE_PTR = 0x210, 0x218, 0x21C, 0x228
SETUP_DATA, INIT_SIZE = 0x250, 0x260


def copy_bootdata(k: Kernel) -> None:
    """Read the zero page and the command line. Source: arch/x86/kernel/head64.c:copy_bootdata() @ v6.12"""
    cpu = k.machine.boot_cpu
    base = cpu.rsi

    def u(offset: int, size: int) -> int:
        return cpu.read(base + offset, size)

    params = k.boot_params
    count = min(u(E820_ENTRIES, 1), E820_MAX_ZEROPAGE)
    for index in range(count):
        at = E820_TABLE + 20 * index
        params.e820.append((u(at, 8), u(at + 8, 8), u(at + 16, 4)))
    params.ramdisk = (
        u(RAMDISK_IMAGE, 4) | u(EXT_RAMDISK_IMAGE, 4) << 32,
        u(RAMDISK_SIZE, 4) | u(EXT_RAMDISK_SIZE, 4) << 32,
    )
    params.page = k.machine.bus.read_bytes(base, PAGE_SIZE)
    params.acpi_rsdp = u(ACPI_RSDP_ADDR, 8)
    params.type_of_loader = u(TYPE_OF_LOADER, 1)
    params.efi_loader = k.machine.bus.read_bytes(base + EFI_LOADER_SIGNATURE, 4)
    params.ext_mem_k, params.alt_mem_k = u(EXT_MEM_K, 2), u(ALT_MEM_K, 4)
    params.init_size = u(INIT_SIZE, 4)
    _relocate(k, k.machine.spec.boot.kernel_address)
    address = u(CMD_LINE_PTR, 4) | u(EXT_CMD_LINE_PTR, 4) << 32
    text = k.machine.bus.read_bytes(address, COMMAND_LINE_SIZE) if address else b""
    k.cmdline = CommandLine(text.split(b"\0")[0].decode("utf-8", "replace"))
    _read_setup_data(k, u(SETUP_DATA, 8))


def _relocate(k: Kernel, address: int) -> None:
    # The image's physical addresses, if the loader put it elsewhere. Source: arch/x86/kernel/head64.c:__startup_64()
    image = k.release.image
    delta = address - image.text_start if address else 0
    if delta <= 0 or delta % PMD_SIZE:
        return
    k.release = msgspec.structs.replace(k.release, image=image.moved(delta))


def _read_setup_data(k: Kernel, node: int) -> None:
    for _ in range(MAX_SETUP_DATA):
        if not node:
            return
        following, kind, size = (k.machine.boot_cpu.read(node + at, n) for at, n in ((0, 8), (8, 4), (12, 4)))
        k.boot_params.setup_data.append((node, kind, size))
        node = following


def setup_arch(k: Kernel) -> None:
    """Everything about memory, tables and CPUs that must be known before the first allocation."""
    k.printk(f"Command line: {k.cmdline.text}")
    early_reserve_memory(k)
    e820.e820__memory_setup(k)
    parse_setup_data(k)
    printk_setup(k)
    params.parse_early_param(k)
    efi.reserve_memmap(k)
    k.printk("NX (Execute Disable) protection: active")
    interrupt_mode.setup_apic_calls(k)
    e820.e820__reserve_setup_data(k)
    e820.e820__finish_early_params(k)
    efi.efi_init(k)
    for line in k.machine.spec.dmi:
        k.printk(line)
    tsc.tsc_early_init(k)
    k.residue("setup_arch")
    e820.e820_add_kernel_range(k)
    e820.trim_bios_range(k)
    find_last_pfn(k)
    interrupt_mode.check_x2apic(k)
    e820.e820__memblock_setup(k)
    efi.reserve_tables(k)
    efi.reserve_boot_services(k)
    mpparse.find_smp_config(k)
    reserve_real_mode(k)
    map_memory(k)
    setup_log_buf_early(k)
    reserve_initrd(k)
    tables.acpi_boot_table_init(k)
    mpparse.parse_early_smp_config(k)
    numa.numa_init(k)
    hugetlb.hugetlb_cmdline(k)
    if zones_late(k):
        hugetlb_cma.dma_contiguous_reserve(k)
    else:
        hugetlb.hugetlb_early_reserve(k)
    crashkernel.reserve_crashkernel(k)
    k.totals.dma_reserve = zonelist.find_dma_reserve(k)
    if not zones_late(k):
        kho_memory_init_early(k)
        paging_init(k)
    topology.apply_cmdline_limits_early(k)
    madt.acpi_boot_init(k, topology.register_lapics)
    efi.reserve_images(k)
    mpparse.parse_smp_config(k)
    topology.topology_init(k)
    numa.init_cpu_to_node(k)
    dmar.detect_intel_iommu(k)
    early_allocs.ioapic_setup_resources(k)
    reserve_resources(k)
    if zones_late(k):
        kho_memory_init_early(k)
        hugetlb.hugetlb_reserve(k)
        paging_init(k)


def zones_late(k: Kernel) -> bool:
    """True for releases that lay out huge pages and zones once the architecture is done.

    Source: mm/mm_init.c:mm_core_init_early() @ v7.2
    """
    return k.behaviour.zones_after_setup_arch


def early_reserve_memory(k: Kernel) -> None:
    """What must not be given out: kernel image, first 64 KiB, BIOS, initrd, setup_data.

    Source: arch/x86/kernel/setup.c:early_reserve_memory() @ v6.12
    """
    k.memblock = Memblock()
    image = k.release.image
    k.memblock.reserve_kern(image.text_start, image.brk_start + image.brk_bytes - image.text_start)
    k.memblock.reserve(0, 64 << 10)
    if has_initrd(k):
        address, size = k.boot_params.ramdisk
        k.memblock.reserve_kern(address, page_align(address + size) - address)
    for node, _, payload in k.boot_params.setup_data:
        k.memblock.reserve_kern(node, 16 + payload)
    k.memblock.reserve(_bios_start(k), MIB - _bios_start(k))


def _bios_start(k: Kernel) -> int:
    # End of conventional memory by the BIOS data area, no lower than 128 KiB.
    # Source: arch/x86/kernel/ebda.c:reserve_bios_regions() @ v6.12
    low = k.machine.boot_cpu.read(0x413, 2) << 10
    if not 0x20000 <= low <= 0x9F000:
        low = 0x9F000
    ebda = k.machine.boot_cpu.read(0x40E, 2) << 4
    return ebda if 0x20000 <= ebda < low else low


def find_last_pfn(k: Kernel) -> None:
    """Log and keep the highest page frame, and the highest below 4 GiB if there is more.

    Source: arch/x86/kernel/setup.c:setup_arch() @ v6.12
    """
    max_arch_pfn = 1 << (k.max_physmem_bits() - PAGE_SHIFT)
    k.totals.max_pfn = e820.print_last_pfn(k, max_arch_pfn, max_arch_pfn)
    if mtrr.mtrr_trim_uncached_memory(k):
        k.totals.max_pfn = e820.print_last_pfn(k, max_arch_pfn, max_arch_pfn)
    if k.totals.max_pfn > 1 << (32 - PAGE_SHIFT):
        k.printk(PAT_LINE)
        k.totals.max_low_pfn = e820.print_last_pfn(k, 1 << (32 - PAGE_SHIFT), max_arch_pfn)
    else:
        k.printk(PAT_LINE)
        k.totals.max_low_pfn = k.totals.max_pfn
    if not any(entry.type in e820.RAM_TYPES for entry in k.e820.table):
        raise MachineStopped("no usable memory is left: expected at least one RAM range in the e820 map")


def reserve_real_mode(k: Kernel) -> None:
    """A place below 1 MiB for the trampoline, then all of the first MiB.

    Source: arch/x86/realmode/init.c:reserve_real_mode() @ v6.12
    """
    place = k.memblock.phys_alloc_range(k.release.image.real_mode_bytes, PAGE_SIZE, 0, MIB)
    if place is None:
        k.printk("No sub-1M memory is available for the trampoline")
    k.real_mode_base = place or 0
    first_mib = k.behaviour.reserve_first_mib
    if first_mib == "crashkernel" and k.cmdline.get("crashkernel"):
        k.printk("kexec: Reserving the low 1M of memory for crashkernel")
        first_mib = "always"
    if first_mib == "always":
        k.memblock.reserve(0, MIB)
    k.memblock.clear_kho_scratch(0, MIB)


def map_memory(k: Kernel) -> None:
    """Build the direct mapping."""
    gbpages = direct_map.direct_gbpages(k)
    if gbpages:
        k.printk("Using GB pages for direct mapping")
    k.direct_map = direct_map.init_mem_mapping(k, gbpages)
    memtest.early_memtest(k, k.direct_map.max_mapped)


def setup_log_buf_early(k: Kernel) -> None:
    """``log_buf_len=``: a larger log buffer from memblock. Source: kernel/printk/printk.c:setup_log_buf()"""
    text = k.cmdline.get("log_buf_len")
    if not text:
        return
    size = memparse(text)[0]
    size = 1 << (size - 1).bit_length() if size > 1 else size
    if size <= 1 << k.config.number("CONFIG_LOG_BUF_SHIFT"):
        return
    main_lines.alloc_log_buf(k, size)


def reserve_initrd(k: Kernel) -> None:
    """Say where the initrd is; copy it into mapped memory if the map in use does not call its place RAM.

    Source: arch/x86/kernel/setup.c:reserve_initrd(), relocate_initrd() @ v6.12
    """
    address, size = k.boot_params.ramdisk
    if not has_initrd(k):
        return
    end = page_align(address + size)
    k.printk(f"RAMDISK: [mem {address:#010x}-{end - 1:#010x}]")
    if k.direct_map.is_mapped(address // PAGE_SIZE * PAGE_SIZE, end):
        return
    place = k.memblock.phys_alloc_range(page_align(size), PAGE_SIZE, 0, k.direct_map.max_mapped)
    if place is None:
        raise MachineStopped(f"Cannot find place for new RAMDISK of size {size}")
    there = f"[mem {place:#010x}-{place + size - 1:#010x}]"
    k.printk(f"Allocated new RAMDISK: {there}")
    k.printk(f"Move RAMDISK from [mem {address:#010x}-{address + size - 1:#010x}] to {there}")
    k.boot_params.ramdisk = (place, size)
    k.memblock.phys_free(address, end - address)


def has_initrd(k: Kernel) -> bool:
    """True if a boot loader left an initrd; one without a number of its own is not believed."""
    address, size = k.boot_params.ramdisk
    return bool(k.boot_params.type_of_loader and address and size)


def page_align(value: int) -> int:
    """Up to the next page."""
    return -(-value // PAGE_SIZE) * PAGE_SIZE


def paging_init(k: Kernel) -> None:
    """Sections, zones and the struct pages of what cannot wait. Source: arch/x86/mm/init_64.c:paging_init()"""
    memmaps = sparse.sparse_init(k)
    k.totals.nr_all_pages = k.memblock.phys_mem_size() >> PAGE_SHIFT
    zones.zone_sizes_init(k)
    hugetlb_preinit.hugetlb_vmemmap_init_late(k, memmaps)
    k.totals.nr_free_memblock_pages = sum(
        max(0, (end >> PAGE_SHIFT) - -(-start >> PAGE_SHIFT)) for start, end, _ in k.memblock.free_ranges()
    )
    sparse.vmemmap_init(k, memmaps)
    page_init.memmap_init(k)


def reserve_resources(k: Kernel) -> None:
    """Resource tree, hibernation's holes, the PCI gap. Source: arch/x86/kernel/e820.c:e820__reserve_resources()"""
    k.memblock.alloc(64 * len(k.e820.table), SMP_CACHE_BYTES)
    for _ in k.e820.firmware:
        k.memblock.alloc(104, SMP_CACHE_BYTES)  # struct firmware_map_entry
    e820_resources.register_nosave_regions(k, k.totals.max_pfn)
    e820_resources.setup_pci_gap(k)
    k.printk("Booting paravirtualized kernel on bare hardware")
    k.printk(clocksource.refined_jiffies_line(k.config.number("CONFIG_HZ")))
