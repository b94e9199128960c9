"""Every module that declares kernel parameters.

Where one word has several handlers they act in this order: ACPI's part of the architecture comes before the bus, as in
Linux's link.
"""

from __future__ import annotations

from collections.abc import Iterator

from minikern.acpi import acpi_init, fadt, interpreter, osi, rsdp, tables
from minikern.acpi import options as acpi_options
from minikern.core.kernel import Kernel
from minikern.core.moduleparam import Parameter, raw_param
from minikern.init import hash, initcall_debug, initramfs, isolation, main_lines, mm_core, printk_params
from minikern.kexec import setup_data
from minikern.kho import cmdline as kho_cmdline
from minikern.kho import reserve_mem
from minikern.mm.buddy import free_reserved, watermarks, zones
from minikern.mm.early import crashkernel, direct_map, e820_params, early_allocs, efi, memtest, mtrr, numa, swiotlb
from minikern.mm.hugetlb import hugetlb, hugetlb_alloc, hugetlb_cma
from minikern.mm.map import page_init
from minikern.pci import amd_iommu, dmar, iommu, osc, portdrv
from minikern.pci import options as pci_options
from minikern.smp import bugs, calibrate, clocksource, interrupt_mode, limits, microcode, smpboot, tsc, wakeup
from minikern.tty import console_init
from minikern.tty import options as tty_options

ROOMS = (
    acpi_init, fadt, interpreter, acpi_options, osi, rsdp, tables, hash, initcall_debug, initramfs, isolation,
    main_lines, mm_core, printk_params, setup_data, kho_cmdline, reserve_mem, free_reserved, watermarks, zones,
    crashkernel, direct_map, e820_params, early_allocs, efi, memtest, mtrr, numa, swiotlb, hugetlb,
    hugetlb_alloc, hugetlb_cma, page_init, amd_iommu, dmar, iommu, pci_options, osc, portdrv,
    bugs, calibrate, clocksource,
    interrupt_mode, limits, microcode, smpboot, tsc, wakeup,
    console_init, tty_options,
)  # fmt: skip


def declared() -> Iterator[Parameter[Kernel]]:
    """What all rooms declare."""
    for room in ROOMS:
        yield from room.PARAMETERS
    yield raw_param("no5lvl", read_by=Kernel.pgtable_l5_enabled)
