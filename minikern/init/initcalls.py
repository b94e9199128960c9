"""do_basic_setup(): drivers and initcalls, level by level.

Source: init/main.c:do_basic_setup(), do_initcalls() @ v6.12; order inside a level is link order
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.acpi import acpi_init, processor_setup
from minikern.acpi.results import BLOB, MOST_BYTES, results_blob, take_results
from minikern.core.subsystem_lines import SUBSYSTEMS, say
from minikern.init import hash, initramfs
from minikern.init.initcall_debug import initcall
from minikern.kho import incoming, outgoing, scratch
from minikern.mm.buddy import free_reserved, watermarks
from minikern.mm.early import e820_resources, efi, swiotlb
from minikern.mm.hugetlb import hugetlb, hugetlb_cma
from minikern.pci import access, drivers, iommu, portdrv, quirks, resource, root, vmd
from minikern.smp import microcode

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel
    from minikern.state.acpi import PciRoot

MIB = 1 << 20
MEM_SIZE_FOR_LARGE_BLOCK = 64 << 30  # Source: arch/x86/mm/init_64.c @ v6.12
MIN_MEMORY_BLOCK_SIZE = 128 * MIB
MAX_BLOCK_SIZE = 2 << 30


def do_basic_setup(k: Kernel) -> None:
    """All initcalls in the order of their levels."""
    with k.phase("rest"):
        driver_init(k)
        core_initcalls(k)
    arch_initcalls(k)
    subsys_initcalls(k)
    fs_initcalls(k)
    rootfs_initcalls(k)
    device_initcalls(k)


def driver_init(k: Kernel) -> None:
    """Driver core, then memory blocks. Source: drivers/base/init.c:driver_init(), memory.c:memory_dev_init()"""
    k.residue("driver_init")
    k.printk("devtmpfs: initialized")
    block = memory_block_size(k)
    k.printk(f"x86/mm: Memory block size: {block // MIB}MB")
    k.charge("memory_block_register", -(-(k.totals.max_pfn << 12) // block))


def memory_block_size(k: Kernel) -> int:
    """Bytes of one memory block. Source: arch/x86/mm/init_64.c:probe_memory_block_size() @ v6.12"""
    end = k.totals.max_pfn << 12
    if end < MEM_SIZE_FOR_LARGE_BLOCK:
        return MIN_MEMORY_BLOCK_SIZE
    if not k.machine.boot_cpu.cpuid(1).ecx >> 31 & 1:
        return MAX_BLOCK_SIZE
    size = MAX_BLOCK_SIZE
    while size > MIN_MEMORY_BLOCK_SIZE and end & (size - 1):
        size >>= 1
    return size


def core_initcalls(k: Kernel) -> None:
    """Levels pure, core and postcore."""
    with initcall(k, "e820__register_nvs_regions"):
        e820_resources.register_nvs_regions(k)
    if k.config.enabled("CONFIG_CMA"):
        with initcall(k, "cma_init_reserved_areas"):
            hugetlb_cma.cma_init_reserved_areas(k)
    hash.posixtimer_init(k)
    with initcall(k, "futex_init"):
        hash.futex_init(k)
    with initcall(k, "init_per_zone_wmark_min"):
        watermarks.init_per_zone_wmark_min(k)
    k.residue("core_initcalls")
    k.printk("cpuidle: using governor menu")


def arch_initcalls(k: Kernel) -> None:
    """Level arch: PCI access, huge page sizes."""
    if k.behaviour.free_smp_locks == "arch_initcall":
        free_reserved.free_smp_locks(k)
    with initcall(k, "acpi_pci_init"):
        acpi_init.acpi_pci_init(k)
    with k.phase("pci"), initcall(k, "pci_arch_init"):
        access.pci_arch_init(k)
    efi.free_boot_services(k)
    with k.phase("rest"):
        k.residue("arch_initcalls")


def subsys_initcalls(k: Kernel) -> None:
    """Level subsys: huge pages, ACPI with the PCI scan, IOMMU classes."""
    if k.config.get("CONFIG_KPROBES", True):
        k.printk("kprobes: kprobe jump-optimization is enabled. All kprobes are optimized if possible.")
    with k.phase("hugepages"), initcall(k, "hugetlb_init"):
        hugetlb.hugetlb_init(k)
    with initcall(k, "hugepage_init"):
        watermarks.hugepage_init(k)
    with k.phase("acpi"), initcall(k, "acpi_init"):
        if k.experiment.acpi_results and not k.acpi.disabled:
            take_results(k, incoming.blob(k, BLOB, MOST_BYTES))
        acpi_init.acpi_init(k, lambda bridge: _scan_root(k, bridge), lambda: root.pci_acpi_crs_quirks(k))
    with k.phase("pci"):
        with initcall(k, "iommu_subsys_init"):
            iommu.iommu_subsys_init(k)
        say(k, SUBSYSTEMS)
        with initcall(k, "pci_subsys_init"):
            resource.pci_subsys_init(k)
    with k.phase("rest"):
        k.residue("subsys_initcalls")


def _scan_root(k: Kernel, bridge: PciRoot) -> None:
    with k.phase("pci"):
        root.acpi_pci_root_add(k, bridge)


def fs_initcalls(k: Kernel) -> None:
    """Level fs."""
    e820_resources.reserve_ram_buffers(k)
    with initcall(k, "vga_arb_device_init"):
        quirks.vga_arb_init(k)
    incoming.kexec_metadata(k)
    outgoing.kho_init(k)
    scratch.free_scratch(k)
    with k.phase("rest"):
        if k.config.get("CONFIG_QUOTA", True):
            with initcall(k, "dquot_init"):
                hash.dquot_init(k)
        if k.config.get("CONFIG_NET", True):
            with initcall(k, "inet_init"):
                hash.inet_init(k)
        k.residue("fs_initcalls")
    with k.phase("pci"):
        with initcall(k, "pcibios_assign_resources"):
            resource.pcibios_assign_resources(k)
        with initcall(k, "pci_apply_final_quirks"):
            resource.pci_apply_final_quirks(k)


def rootfs_initcalls(k: Kernel) -> None:
    """Level rootfs: the initramfs is unpacked, the IOMMU starts and groups devices."""
    with k.phase("rest"), initcall(k, "populate_rootfs"):
        initramfs.populate_rootfs(k)
    with k.phase("pci"), initcall(k, "pci_iommu_init"):
        iommu.pci_iommu_init(k)
        swiotlb.pci_iommu_init(k)
    initramfs.announce_worker(k)


def device_initcalls(k: Kernel) -> None:
    """Levels device and late: drivers."""
    with k.phase("acpi"), initcall(k, "acpi_processor_driver_init"):
        processor_setup.acpi_processor_init(k)
    with k.phase("rest"):
        k.residue("device_initcalls")
        k.residue("late_initcalls")
        with initcall(k, "microcode_init"):
            microcode.microcode_init(k)
        outgoing.luo_late_startup(k)
        if k.experiment.acpi_results and k.kho.outgoing is not None:
            outgoing.add_blob(k, BLOB, results_blob(k))
        outgoing.reserve_mem_init(k)
        initramfs.wait_for_initramfs(k)
    # What the drivers before them do is not counted; in every captured boot it takes longer than the unpacking.
    portdrv.pcie_portdrv_init(k)
    drivers.shpchp_init(k)
    vmd.vmd_init(k)
    drivers.amd_iommu_v2_init(k)
