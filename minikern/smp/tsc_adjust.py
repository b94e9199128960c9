"""IA32_TSC_ADJUST: what firmware left in it, and keeping it equal within a package.

Source: arch/x86/kernel/tsc_sync.c @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.core.printk import Level
from minikern.state.cpus import TscAdjust

if TYPE_CHECKING:
    from hw.cpu import CPU
    from minikern.core.kernel import Kernel

MSR_IA32_TSC_ADJUST = 0x3B
FW_BUG = "[Firmware Bug]: "
_MASK64 = (1 << 64) - 1


def read_tsc_adjust(cpu: CPU) -> int:
    """The register as a signed number of cycles."""
    value = cpu.rdmsr(MSR_IA32_TSC_ADJUST)
    return value - (1 << 64) if value >> 63 else value


def write_tsc_adjust(cpu: CPU, value: int) -> None:
    """Set the register to a signed number of cycles."""
    cpu.wrmsr(MSR_IA32_TSC_ADJUST, value & _MASK64)


def tsc_store_and_check_tsc_adjust(k: Kernel, nr: int, cpu: CPU, bootcpu: bool = False) -> bool:
    """Note the register of CPU number ``nr`` and make it that of its package. True: no synchronisation test needed.

    Source: arch/x86/kernel/tsc_sync.c:tsc_store_and_check_tsc_adjust() @ v6.12
    """
    maps = k.cpus
    if not maps.boot.has("tsc_adjust"):
        return False
    bootval = read_tsc_adjust(cpu)
    reference = None if bootcpu else maps.any_sibling(nr)
    if reference is None or reference not in maps.tsc.adjust:
        maps.tsc.adjust[nr] = TscAdjust(bootval, _sanitize_first_cpu(k, nr, cpu, bootval, bootcpu))
        return False
    theirs = maps.tsc.adjust[reference]
    if bootval != theirs.bootval and not maps.tsc.adjust_reported:
        maps.tsc.adjust_reported = True
        k.printk(f"{FW_BUG}TSC ADJUST differs within socket(s), fixing all errors", Level.WARNING)
    if bootval != theirs.adjusted:
        write_tsc_adjust(cpu, theirs.adjusted)
    maps.tsc.adjust[nr] = TscAdjust(bootval, theirs.adjusted)
    return True


def _sanitize_first_cpu(k: Kernel, nr: int, cpu: CPU, bootval: int, bootcpu: bool) -> int:
    # Only the boot CPU's value is forced: a further package's is taken as is and tested.
    if not bootcpu or bootval == 0:
        return bootval
    k.printk(f"{FW_BUG}TSC ADJUST: CPU{nr}: {bootval} force to 0", Level.WARNING)
    write_tsc_adjust(cpu, 0)
    return 0
