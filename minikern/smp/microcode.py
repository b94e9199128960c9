"""Early microcode loading: every CPU brings its core up to the revision of the boot CPU's update.

The update comes with the initial RAM disk on a real machine; here its header stands in the trampoline's page and its
revision is one above the firmware's. Source: arch/x86/kernel/cpu/microcode/core.c, intel.c, amd.c @ v6.12
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import simpy

from hw.errors import GeneralProtection
from minikern.smp.cpus import cpus_of

if TYPE_CHECKING:
    from hw.cpu import CPU
    from minikern.kernel import Kernel

MSR_IA32_UCODE_WRITE, MSR_IA32_UCODE_REV = 0x79, 0x8B
MSR_AMD64_PATCH_LOADER = 0xC001_0020
AMD_VENDORS = frozenset({"AuthenticAMD", "HygonGenuine"})
HEADER_BYTES, REVISION_OFFSET = 48, 4  # Source: SDM vol. 3A, "Microcode Update"
UPDATE_OFFSET = 0xF00  # ours: in the trampoline's page


def load_ucode_bsp(k: Kernel) -> None:
    """Load the update on the boot CPU; its revision is what the other CPUs are held against.

    Nothing is loaded under a hypervisor or ``dis_ucode_ldr``. Source: core.c:load_ucode_bsp() @ v6.12
    """
    maps = cpus_of(k)
    if k.cmdline.has("dis_ucode_ldr") or maps.boot.has("hypervisor") or not k.real_mode_base:
        return
    cpu = k.machine.boot_cpu
    try:
        revision = microcode_revision(k, cpu) + 1
        cpu.write(k.real_mode_base + UPDATE_OFFSET + REVISION_OFFSET, 4, revision)
        _apply(k, cpu)
        maps.microcode_revision = microcode_revision(k, cpu)
    except GeneralProtection:
        maps.microcode_revision = 0  # no such registers: nothing to load


def load_ucode_ap(k: Kernel, nr: int, cpu: CPU) -> Generator[simpy.Event, None, None]:
    """Load the update if this core does not run it yet: a thread whose core is done only looks.

    Source: core.c:load_ucode_ap(), intel.c:apply_microcode_early() @ v6.12
    """
    wanted = cpus_of(k).microcode_revision
    if not wanted:
        return
    if microcode_revision(k, cpu) >= wanted:
        yield k.charge_on(nr, "microcode_check")
        return
    yield k.charge_on(nr, "microcode_load")
    _apply(k, cpu)
    k.mark(nr, "microcode", microcode_revision(k, cpu))


def microcode_revision(k: Kernel, cpu: CPU) -> int:
    """Revision the CPU runs; GeneralProtection where it has none. Source: SDM vol. 3A, "Microcode Update"."""
    if cpus_of(k).boot.vendor in AMD_VENDORS:
        return cpu.rdmsr(MSR_IA32_UCODE_REV) & 0xFFFFFFFF
    cpu.wrmsr(MSR_IA32_UCODE_REV, 0)
    cpu.cpuid(1)
    return cpu.rdmsr(MSR_IA32_UCODE_REV) >> 32


def _apply(k: Kernel, cpu: CPU) -> None:
    header = k.real_mode_base + UPDATE_OFFSET
    if cpus_of(k).boot.vendor in AMD_VENDORS:
        cpu.wrmsr(MSR_AMD64_PATCH_LOADER, header)
    else:
        cpu.wrmsr(MSR_IA32_UCODE_WRITE, header + HEADER_BYTES)
