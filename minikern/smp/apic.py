"""The local APIC as the kernel drives it: register window or MSRs, whichever mode the CPU is in.

Source: SDM vol. 3A, chapter "Advanced Programmable Interrupt Controller (APIC)"; arch/x86/kernel/apic/apic.c @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hw.cpu import CPU
    from minikern.core.kernel import Kernel

MSR_IA32_APICBASE = 0x1B
APICBASE_X2APIC, APICBASE_ENABLE = 1 << 10, 1 << 11
APICBASE_MASK = ~0xFFF
X2APIC_MSR_BASE = 0x800

APIC_ID, APIC_LVR, APIC_TASKPRI, APIC_SPIV, APIC_ESR = 0x20, 0x30, 0x80, 0xF0, 0x280
APIC_ICR, APIC_ICR2 = 0x300, 0x310
APIC_LVT0, LVT_MASKED, LVT_EXTINT = 0x350, 1 << 16, 0x700

ICR_INIT, ICR_STARTUP = 0x500, 0x600
ICR_BUSY, ICR_ASSERT, ICR_LEVEL = 1 << 12, 1 << 14, 1 << 15
SPIV_ENABLED = 0x100
SPURIOUS_VECTOR = 0xFF
XAPIC_MAX_ID = 254  # 255 is the broadcast. Source: arch/x86/kernel/apic/probe_64.c, default_apic_id_valid()
DELIVERY_POLLS = 1000  # Source: arch/x86/kernel/apic/ipi.c:apic_mem_wait_icr_idle_timeout() @ v6.12


def x2apic_enabled(cpu: CPU) -> bool:
    """True if this CPU's local APIC is in x2APIC mode."""
    return bool(cpu.rdmsr(MSR_IA32_APICBASE) & APICBASE_X2APIC)


def x2apic_enable(cpu: CPU) -> None:
    """Switch this CPU's local APIC to x2APIC mode. Source: arch/x86/kernel/apic/apic.c:__x2apic_enable() @ v6.12"""
    cpu.wrmsr(MSR_IA32_APICBASE, cpu.rdmsr(MSR_IA32_APICBASE) | APICBASE_X2APIC)


def x2apic_disable(cpu: CPU) -> None:
    """Back to xAPIC mode, by way of switching the APIC off. Source: apic.c:__x2apic_disable() @ v6.12"""
    base = cpu.rdmsr(MSR_IA32_APICBASE)
    cpu.wrmsr(MSR_IA32_APICBASE, base & ~(APICBASE_X2APIC | APICBASE_ENABLE))
    cpu.wrmsr(MSR_IA32_APICBASE, base & ~APICBASE_X2APIC)


def apic_read(cpu: CPU, register: int) -> int:
    """Read a 32-bit register of the CPU's own local APIC."""
    base = cpu.rdmsr(MSR_IA32_APICBASE)
    if base & APICBASE_X2APIC:
        return cpu.rdmsr(X2APIC_MSR_BASE + (register >> 4)) & 0xFFFFFFFF
    return cpu.read((base & APICBASE_MASK) + register, 4)


def apic_write(cpu: CPU, register: int, value: int) -> None:
    """Write a 32-bit register of the CPU's own local APIC."""
    base = cpu.rdmsr(MSR_IA32_APICBASE)
    if base & APICBASE_X2APIC:
        cpu.wrmsr(X2APIC_MSR_BASE + (register >> 4), value)
    else:
        cpu.write((base & APICBASE_MASK) + register, 4, value)


def read_apic_id(cpu: CPU) -> int:
    """APIC id from the local APIC itself: 32 bits in x2APIC mode, the top 8 of the register otherwise."""
    value = apic_read(cpu, APIC_ID)
    return value if x2apic_enabled(cpu) else value >> 24


def icr_write(cpu: CPU, low: int, apic_id: int) -> None:
    """Send an interrupt command: one MSR in x2APIC mode, high then low half otherwise."""
    if x2apic_enabled(cpu):
        cpu.wrmsr(X2APIC_MSR_BASE + (APIC_ICR >> 4), apic_id << 32 | low)
        return
    apic_write(cpu, APIC_ICR2, apic_id << 24)
    apic_write(cpu, APIC_ICR, low)


def icr_busy(cpu: CPU) -> bool:
    """True while the last command is still being sent; x2APIC mode has no such state."""
    return not x2apic_enabled(cpu) and bool(apic_read(cpu, APIC_ICR) & ICR_BUSY)


def apic_id_valid(cpu: CPU, apic_id: int) -> bool:
    """True if the CPU can address ``apic_id`` in the mode it is in."""
    return apic_id <= XAPIC_MAX_ID or (x2apic_enabled(cpu) and apic_id < 0xFFFFFFFF)


def setup_local_apic(cpu: CPU, x2apic: bool) -> None:
    """Switch to the mode of the boot CPU, enable the APIC, accept all priorities.

    Source: arch/x86/kernel/apic/apic.c:x2apic_setup(), setup_local_APIC() @ v6.12
    """
    if x2apic and not x2apic_enabled(cpu):
        x2apic_enable(cpu)
    apic_write(cpu, APIC_TASKPRI, 0)
    apic_write(cpu, APIC_SPIV, SPIV_ENABLED | SPURIOUS_VECTOR)


def setup_lint0(k: Kernel, nr: int, cpu: CPU) -> None:
    """The pin of the old interrupt controller: only the boot CPU keeps it, if firmware left it open.

    Source: arch/x86/kernel/apic/apic.c:setup_local_APIC() @ v6.1, v6.12
    """
    keep = nr == 0 and not apic_read(cpu, APIC_LVT0) & LVT_MASKED
    apic_write(cpu, APIC_LVT0, LVT_EXTINT | (0 if keep else LVT_MASKED))
    if k.cpus.apic.verbosity:
        what = "enabled" if keep else "masked"
        k.printk(f"{what.capitalize() if k.behaviour.extint_lines == 'Masked' else what} ExtINT on CPU#{nr}")
