"""RAM that the memory type registers leave uncached is not used.

Source: arch/x86/kernel/cpu/mtrr/cleanup.c:mtrr_trim_uncached_memory() @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hw.units import PAGE_SHIFT
from minikern.core.moduleparam import Parameter, early_param
from minikern.core.printk import Level
from minikern.mm.early import e820
from minikern.state.e820 import Type

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

MTRRCAP, PHYSBASE0, DEF_TYPE = 0xFE, 0x200, 0x2FF  # Source: SDM vol. 4
VALID = 1 << 11
UNCACHABLE, WRITE_PROTECT, WRITE_BACK = 0, 5, 6  # Source: SDM vol. 3A, "Memory Types That Can Be Encoded in MTRRs"
MAX_VARIABLE = 255
ULLONG_MASK = 2**64 - 1

Range = tuple[int, int]


class Mtrr(NamedTuple):
    """One variable range: [start, end) bytes of ``kind``."""

    start: int
    end: int
    kind: int


def mtrr_trim_uncached_memory(k: Kernel) -> bool:
    """Make RAM reserved where no register makes it write-back; True if the map changed.

    Nothing is done when memory is write-back by default, or with ``disable_mtrr_trim``.
    """
    cpu = k.machine.boot_cpu
    if not cpu.cpuid(1).edx >> 12 & 1 or k.cmdline.has("disable_mtrr_trim"):
        return False
    if cpu.rdmsr(DEF_TYPE) & 0xFF != UNCACHABLE or not cpu.rdmsr(DEF_TYPE) & VALID:
        return False
    registers = variable_ranges(k)
    if not registers:
        k.printk("WARNING: strange, CPU MTRRs all blank?", Level.WARNING)
        return False
    cached = write_back_ranges(registers)
    top = k.totals.max_pfn << PAGE_SHIFT
    holes: list[Range] = []
    position = 0
    for start, end in cached:
        if position < start:
            holes.append((position, start))
        position = end
    if position < top:
        holes.append((position, top))
    lost = sum(_trim(k, start, end) for start, end in holes)
    if not lost:
        return False
    mib = lost >> 20
    k.printk(f"WARNING: BIOS bug: CPU MTRRs don't cover all of memory, losing {mib}MB of RAM.", Level.WARNING)
    k.printk("update e820 for mtrr")
    k.e820.table = e820.e820__update_table(k.e820.table) or k.e820.table
    k.printk("modified physical RAM map:")
    e820.e820__print_table(k, "modified", k.e820.table)
    return True


def variable_ranges(k: Kernel) -> list[Mtrr]:
    """The valid variable range registers. Source: arch/x86/kernel/cpu/mtrr/generic.c:generic_get_mtrr() @ v6.12"""
    cpu = k.machine.boot_cpu
    phys_bits = cpu.cpuid(0x80000008).eax & 0xFF or 36
    found = []
    for index in range(min(cpu.rdmsr(MTRRCAP) & 0xFF, MAX_VARIABLE)):
        base, mask = cpu.rdmsr(PHYSBASE0 + 2 * index), cpu.rdmsr(PHYSBASE0 + 2 * index + 1)
        if not mask & VALID:
            continue
        full = mask & ~0xFFF | ULLONG_MASK & ~((1 << phys_bits) - 1)
        start, size = base & ~0xFFF, -full & ULLONG_MASK
        found.append(Mtrr(start, start + size, base & 0xFF))
    return found


def write_back_ranges(registers: list[Mtrr]) -> list[Range]:
    """Where memory is cached: write-back registers less uncached and write-protected ones, joined, ascending.

    Source: arch/x86/kernel/cpu/mtrr/cleanup.c:x86_get_mtrr_mem_range() @ v6.12
    """
    joined: list[Range] = []
    for start, end, kind in sorted(registers):
        if kind != WRITE_BACK:
            continue
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    for start, end, kind in registers:
        if kind in (UNCACHABLE, WRITE_PROTECT):
            joined = [part for low, high in joined for part in ((low, min(high, start)), (max(low, end), high))
                      if part[0] < part[1]]  # fmt: skip
    return joined


def _trim(k: Kernel, start: int, end: int) -> int:
    before = sum(entry.size for entry in k.e820.table if entry.type == Type.RAM)
    e820.debug_change(k, "update", start, end - start, e820.logged_change(k, Type.RAM, Type.RESERVED))
    k.e820.table = e820.e820__range_update(k.e820.table, start, end - start, Type.RAM, Type.RESERVED)
    return before - sum(entry.size for entry in k.e820.table if entry.type == Type.RAM)


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    early_param("disable_mtrr_trim", read_by=mtrr_trim_uncached_memory),
)
