"""The time-stamp counter: how fast it runs and whether it can be trusted.

Source: arch/x86/kernel/tsc.c @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.core.cmdline import kstrtouint
from minikern.core.moduleparam import Parameter, Words, early_param, needs_uint, setup_param
from minikern.core.printk import Level
from minikern.smp.calibrate import NO_TSC_KHZ
from minikern.smp.clocksource import tsc_line
from minikern.smp.pit import pit_hpet_ptimer_calibrate_cpu, quick_pit_calibrate
from minikern.smp.tsc_adjust import tsc_store_and_check_tsc_adjust
from minikern.state.cpus import TscState

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

INTEL_FAM6_ATOM_GOLDMONT_D = 0x5F  # Denverton
DENVERTON_CRYSTAL_KHZ = 25_000
TSC_WORDS = Words(("reliable", "unstable"), ("noirqtime", "nowatchdog", "recalibrate", "watchdog"), "")


def tsc_early_init(k: Kernel) -> bool:
    """Find the TSC's frequency early; on success the log clock starts. True on success.

    Source: arch/x86/kernel/tsc.c:tsc_early_init() @ v6.12
    """
    maps = k.cpus
    if k.release.facts.late_clock:
        k.printk("tsc: Fast TSC calibration failed")
        return False
    if not maps.boot.has("tsc") or not _determine_frequencies(k, early=True):
        return False
    _tsc_enable_sched_clock(k)
    return True


def tsc_init(k: Kernel) -> None:
    """Settle the TSC: calibrate again if it failed early, check that it can be synchronous, register it.

    Source: arch/x86/kernel/tsc.c:tsc_init() @ v6.12
    """
    maps = k.cpus
    tsc = maps.tsc
    if not maps.boot.has("tsc"):
        return
    if not tsc.tsc_khz:
        if not _determine_frequencies(k, early=False):
            mark_tsc_unstable(k, NO_TSC_KHZ)
            return
        _tsc_enable_sched_clock(k)
    tsc.lpj_fine = tsc.tsc_khz * 1000 // k.config.number("CONFIG_HZ")
    if unsynchronized_tsc(k):
        mark_tsc_unstable(k, "TSCs unsynchronized")
        return
    k.printk(tsc_line("tsc-early", tsc.tsc_khz))


def tsc_setup(k: Kernel, text: str) -> bool:
    """``tsc=``; the words without a meaning for a boot are accepted. Source: tsc.c:tsc_setup() @ v6.12"""
    if text == "reliable":
        k.cpus.tsc.reliable = True
    elif text == "unstable":
        mark_tsc_unstable(k, "boot parameter")
    return True


def notsc_setup(k: Kernel, rest: str) -> bool:
    """``notsc``. Source: tsc.c:notsc_setup() @ v6.12"""
    mark_tsc_unstable(k, "boot parameter notsc")
    return True


def mark_tsc_unstable(k: Kernel, reason: str) -> None:
    """Stop trusting the TSC; only the first reason is told. Source: tsc.c:mark_tsc_unstable()"""
    tsc = k.cpus.tsc
    if not tsc.unstable:
        tsc.unstable = reason
        k.printk(f"tsc: Marking TSC unstable due to {reason}")


def unsynchronized_tsc(k: Kernel) -> bool:
    """True if the CPUs' counters cannot be taken to agree. Source: tsc.c:unsynchronized_tsc() @ v6.12, v6.1"""
    maps = k.cpus
    if not maps.boot.has("tsc") or maps.tsc.unstable:
        return True
    if maps.boot.has("constant_tsc") or maps.tsc.reliable or maps.boot.vendor == "GenuineIntel":
        return False
    # Other makers' multi-socket machines are not; older kernels did not count sockets but possible CPUs.
    count = maps.topo.max_packages if k.behaviour.tsc_counts == "packages" else len(maps.possible)
    return count > 1


def _tsc_enable_sched_clock(k: Kernel) -> None:
    tsc_store_and_check_tsc_adjust(k, 0, k.machine.boot_cpu, bootcpu=True)
    k.log.start_clock()


def _determine_frequencies(k: Kernel, early: bool) -> bool:
    """Source: tsc.c:determine_cpu_tsc_frequencies()"""
    tsc = k.cpus.tsc
    if early:
        tsc.cpu_khz = cpu_khz_from_cpuid(k) or quick_pit_calibrate(k)
        given = kstrtouint(k.cmdline.get("tsc_early_khz") or "")
        tsc.tsc_khz = given or native_calibrate_tsc(k)
    else:
        tsc.cpu_khz = pit_hpet_ptimer_calibrate_cpu(k)
    if not tsc.tsc_khz:
        tsc.tsc_khz = tsc.cpu_khz
    elif abs(tsc.cpu_khz - tsc.tsc_khz) * 10 > tsc.tsc_khz:
        tsc.cpu_khz = tsc.tsc_khz
    if not tsc.tsc_khz:
        return False
    _print_frequencies(k, tsc)
    return True


def _print_frequencies(k: Kernel, tsc: TscState) -> None:
    k.printk(f"tsc: Detected {tsc.cpu_khz // 1000}.{tsc.cpu_khz % 1000:03} MHz processor")
    if tsc.cpu_khz != tsc.tsc_khz:
        k.printk(f"tsc: Detected {tsc.tsc_khz // 1000}.{tsc.tsc_khz % 1000:03} MHz TSC", Level.INFO)


def native_calibrate_tsc(k: Kernel) -> int:
    """TSC kHz from CPUID leaves 0x15 and 0x16; 0 if they do not say. Also finds the APIC timer's period.

    Source: arch/x86/kernel/tsc.c:native_calibrate_tsc() @ v6.12
    """
    maps = k.cpus
    if maps.boot.vendor != "GenuineIntel" or maps.boot.max_leaf < 0x15:
        return 0
    ratio = k.machine.boot_cpu.cpuid(0x15)
    if not ratio.eax or not ratio.ebx:
        return 0
    crystal_khz = ratio.ecx // 1000
    if not crystal_khz and maps.boot.model == INTEL_FAM6_ATOM_GOLDMONT_D:
        crystal_khz = DENVERTON_CRYSTAL_KHZ
    maps.tsc.known_freq = bool(crystal_khz)
    if not crystal_khz and maps.boot.max_leaf >= 0x16:
        crystal_khz = (k.machine.boot_cpu.cpuid(0x16).eax & 0xFFFF) * 1000 * ratio.eax // ratio.ebx
    if not crystal_khz:
        return 0
    maps.tsc.lapic_timer_period = crystal_khz * 1000 // k.config.number("CONFIG_HZ")
    return crystal_khz * ratio.ebx // ratio.eax


def cpu_khz_from_cpuid(k: Kernel) -> int:
    """Base frequency of CPUID leaf 0x16 in kHz, 0 if absent. Source: tsc.c:cpu_khz_from_cpuid()"""
    boot = k.cpus.boot
    if boot.vendor != "GenuineIntel" or boot.max_leaf < 0x16:
        return 0
    return (k.machine.boot_cpu.cpuid(0x16).eax & 0xFFFF) * 1000


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    setup_param("tsc=", tsc_setup, words=TSC_WORDS),
    setup_param("notsc", notsc_setup),
    early_param("tsc_early_khz", needs_uint, read_by=tsc_early_init),
)
