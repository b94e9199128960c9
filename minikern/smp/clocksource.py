"""Clock sources: the arithmetic behind their registration lines, and HPET start-up.

Source: kernel/time/clocksource.c, kernel/time/jiffies.c, arch/x86/kernel/hpet.c @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hw.msr import MSR_PKG_CST_CONFIG_CONTROL
from minikern.core.moduleparam import Parameter, Words, setup_param

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

NSEC_PER_SEC = 1_000_000_000
PIT_TICK_RATE = 1_193_182  # Hz. Source: include/linux/timex.h
PMTMR_TICKS_PER_SEC = 3_579_545  # Source: include/linux/acpi_pmtmr.h
JIFFIES_SHIFT = 8  # for HZ below 1000 * 2. Source: kernel/time/jiffies.c
U32_MAX, U64_MAX = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF

MWAIT_LEAF, MWAIT_EXTENSIONS, MWAIT_C10_SHIFT = 5, 1, 28  # Source: SDM vol. 2A, leaf 05H
PKG_CST_LIMIT_MASK, PKG_CST_C10 = 0xF, 8  # Source: arch/x86/kernel/hpet.c:hpet_is_pc10_damaged() @ v6.12
HPET_ID, HPET_PERIOD, HPET_CFG, HPET_COUNTER = 0x000, 0x004, 0x010, 0x0F0
HPET_CFG_ENABLE = 1
HPET_MIN_PERIOD_FS, HPET_MAX_PERIOD_FS = 100_000, 100_000_000  # Source: arch/x86/include/asm/hpet.h
FSEC_PER_SEC = 10**15


class MultShift(NamedTuple):
    """Cycles to ns: ``ns = cycles * mult >> shift``."""

    mult: int
    shift: int


def clocks_calc_mult_shift(from_hz: int, to_hz: int, maxsec: int) -> MultShift:
    """The most precise factors that do not overflow 64 bits for ``maxsec`` seconds."""
    accumulator = 32
    excess = (maxsec * from_hz) >> 32
    while excess:
        excess >>= 1
        accumulator -= 1
    for shift in range(32, 0, -1):
        mult = ((to_hz << shift) + from_hz // 2) // from_hz
        if mult >> accumulator == 0:
            return MultShift(mult, shift)
    return MultShift(mult, 0)


def update_freq(freq: int, scale: int, mask: int) -> MultShift:
    """Factors of a clock source of ``freq`` * ``scale`` Hz. Source: __clocksource_update_freq_scale()"""
    sec = mask // freq // scale or 1
    if sec > 600 and mask > U32_MAX:
        sec = 600
    mult, shift = clocks_calc_mult_shift(freq, NSEC_PER_SEC // scale, sec * scale)
    while mult + mult * 11 // 100 > U32_MAX:
        mult, shift = mult >> 1, shift - 1
    return MultShift(mult, shift)


def clocksource_line(name: str, mask: int, factors: MultShift) -> str:
    """The line of one registration. Source: clocks_calc_max_nsecs(), __clocksource_register_scale()"""
    mult, shift = factors
    maxadj = mult * 11 // 100
    max_cycles = min(U64_MAX // (mult + maxadj), mask)
    max_idle = max_cycles * (mult - maxadj) >> shift >> 1
    return f"clocksource: {name}: mask: {mask:#x} max_cycles: {max_cycles:#x}, max_idle_ns: {max_idle} ns"


def tsc_line(name: str, khz: int) -> str:
    """Registration line of the TSC under ``name`` (tsc-early or tsc)."""
    return clocksource_line(name, U64_MAX, update_freq(khz, 1000, U64_MAX))


def refined_jiffies_line(hz: int) -> str:
    """Registration line of refined-jiffies. Source: kernel/time/jiffies.c:register_refined_jiffies()"""
    cycles_per_tick = (PIT_TICK_RATE + hz // 2) // hz
    shift_hz = ((PIT_TICK_RATE << 8) + cycles_per_tick // 2) // cycles_per_tick
    nsec_per_tick = ((NSEC_PER_SEC << 8) + shift_hz // 2) // shift_hz
    return clocksource_line("refined-jiffies", U32_MAX, MultShift(nsec_per_tick << JIFFIES_SHIFT, JIFFIES_SHIFT))


def jiffies_line(hz: int) -> str:
    """Registration line of jiffies."""
    tick_ns = (NSEC_PER_SEC + hz // 2) // hz
    return clocksource_line("jiffies", U32_MAX, MultShift(tick_ns << JIFFIES_SHIFT, JIFFIES_SHIFT))


def acpi_pm_line() -> str:
    """Registration line of the ACPI PM timer."""
    return clocksource_line("acpi_pm", 0xFFFFFF, update_freq(PMTMR_TICKS_PER_SEC, 1, 0xFFFFFF))


def hpet_enable(k: Kernel) -> bool:
    """Start the HPET's counter if ACPI named one and it looks sane; print its registration line.

    Source: arch/x86/kernel/hpet.c:hpet_enable() @ v6.12
    """
    base = k.acpi.hpet_address if k.acpi else 0
    if not base or k.cmdline.has("nohpet") or k.cmdline.get("hpet") == "disable":
        return False
    if k.behaviour.hpet_stops_in_pc10 and hpet_is_pc10_damaged(k):
        k.printk("hpet: HPET dysfunctional in PC10. Force disabled.")
        return False
    cpu = k.machine.boot_cpu
    period = cpu.read(base + HPET_PERIOD, 4)
    if not HPET_MIN_PERIOD_FS <= period <= HPET_MAX_PERIOD_FS:
        return False
    cpu.write(base + HPET_CFG, 4, cpu.read(base + HPET_CFG, 4) | HPET_CFG_ENABLE)
    k.cpus.tsc.hpet_enabled = True
    k.printk(clocksource_line("hpet", U32_MAX, update_freq(FSEC_PER_SEC // period, 1, U32_MAX)))
    return True


def hpet_is_pc10_damaged(k: Kernel) -> bool:
    """The package may go to C10, by the CPU's idle states and the firmware's limit.

    Source: arch/x86/kernel/hpet.c:hpet_is_pc10_damaged(), mwait_pc10_supported() @ v6.12
    """
    cpu, boot = k.machine.boot_cpu, k.cpus.boot
    if not boot.has("arat") or boot.max_leaf < MWAIT_LEAF:
        return False
    mwait = cpu.cpuid(MWAIT_LEAF)
    if not mwait.ecx & MWAIT_EXTENSIONS or not mwait.edx >> MWAIT_C10_SHIFT:
        return False
    return cpu.rdmsr(MSR_PKG_CST_CONFIG_CONTROL) & PKG_CST_LIMIT_MASK >= PKG_CST_C10


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    setup_param("nohpet", read_by=hpet_enable),
    setup_param("hpet=", read_by=hpet_enable, words=Words(("disable",), ("force", "verbose"))),
)
