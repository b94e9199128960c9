"""What follows from the map once it is final: pages hibernation leaves out, room for devices, odd ends of RAM.

Source: arch/x86/kernel/e820.c @ v6.12
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hw.units import PAGE_SHIFT, SMP_CACHE_BYTES
from minikern.core.printk import Level
from minikern.mm.early.e820 import RAM_TYPES, ULLONG_MAX, e820_prefix, resource_lines
from minikern.state.e820 import Entry, Type

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

MAX_GAP_END = 1 << 32
MIN_GAP = 4 << 20
NOSAVE_REGION_BYTES = 32  # struct nosave_region; Source: kernel/power/snapshot.c


def register_nosave_regions(k: Kernel, limit_pfn: int) -> None:
    """Tell hibernation which pages not to save: what is no memory, outwards to whole pages.

    Source: arch/x86/kernel/e820.c:e820__register_nosave_regions() @ v6.12 (stable, gap rule of 2025)
    """
    if not k.config.get("CONFIG_HIBERNATION", True):
        return
    regions = _gaps(k.e820.table, limit_pfn) if k.behaviour.nosave_gaps else _gaps_and_entries(k.e820.table, limit_pfn)
    end = -1
    for first, last in regions:
        if first < last:
            _register_nosave_region(k, first, last, extends=first == end)
            end = last


def _gaps(table: list[Entry], limit_pfn: int) -> Iterator[tuple[int, int]]:
    """What lies between ranges of memory, as page numbers."""
    last = 0
    for entry in table:
        if entry.type not in RAM_TYPES:
            continue
        if last < entry.addr:
            yield last >> PAGE_SHIFT, -(-entry.addr >> PAGE_SHIFT)
        last = entry.end
    yield last >> PAGE_SHIFT, limit_pfn


def _gaps_and_entries(table: list[Entry], limit_pfn: int) -> Iterator[tuple[int, int]]:
    """Holes, and entries that are no memory, each on its own. Source: arch/x86/kernel/e820.c @ v6.12"""
    pfn = 0
    for entry in table:
        yield pfn, -(-entry.addr >> PAGE_SHIFT)
        pfn = entry.end >> PAGE_SHIFT
        if entry.type not in RAM_TYPES:
            yield -(-entry.addr >> PAGE_SHIFT), pfn
        if pfn >= limit_pfn:
            return


def _register_nosave_region(k: Kernel, start_pfn: int, end_pfn: int, extends: bool) -> None:
    """One that begins where the last one ended lengthens it. Source: kernel/power/snapshot.c @ v6.12"""
    if not extends:
        k.memblock.alloc(NOSAVE_REGION_BYTES, SMP_CACHE_BYTES)
    first, last = start_pfn << PAGE_SHIFT, (end_pfn << PAGE_SHIFT) - 1
    k.printk(f"{k.behaviour.nosave_prefix}Registered nosave memory: [mem {first:#010x}-{last:#010x}]")


def setup_pci_gap(k: Kernel) -> None:
    """The largest hole below 4 GiB is for PCI devices. Source: arch/x86/kernel/e820.c:e820__setup_pci_gap()"""
    search = largest_gap_upwards if resource_lines(k) else largest_gap
    start, size = search(k.e820.table)
    if not size:
        start, size = ((k.totals.max_pfn << PAGE_SHIFT) + (1 << 20)) & ULLONG_MAX, MIN_GAP
        k.printk("Cannot find an available gap in the 32-bit address range", Level.ERR)
        k.printk("PCI devices with unassigned 32-bit BARs may not work!", Level.ERR)
    what = "gap" if resource_lines(k) else "mem"
    k.printk(f"{e820_prefix(k)}[{what} {start:#010x}-{start + size - 1:#010x}] available for PCI devices")


def largest_gap(table: list[Entry]) -> tuple[int, int]:
    """(start, size) of the largest hole of at least 4 MiB below 4 GiB, the lowest of equals; size 0 if none.

    Source: arch/x86/kernel/e820.c:e820_search_gap() @ v6.12
    """
    best, size, last = 0, 0, MAX_GAP_END
    for entry in reversed(table):
        gap = last - entry.end
        if gap >= max(size, MIN_GAP):
            best, size = entry.end, gap
        last = min(last, entry.addr)
    return best, size


def largest_gap_upwards(table: list[Entry]) -> tuple[int, int]:
    """The same from 0 on, the highest of equals. Source: arch/x86/kernel/e820.c:e820_search_gap() @ v7.2"""
    best, size, last = 0, 0, 0
    for start, end in [*((entry.addr, entry.end) for entry in table), (MAX_GAP_END, MAX_GAP_END)]:
        gap = min(start, MAX_GAP_END) - last
        if gap >= max(size, MIN_GAP):
            best, size = last, gap
        last = end
    return best, size


def register_nvs_regions(k: Kernel) -> None:
    """Tell power management what firmware wants kept over a suspend.

    Source: arch/x86/kernel/e820.c:e820__register_nvs_regions(), drivers/acpi/nvs.c @ v6.12
    """
    for entry in k.e820.table:
        if entry.type == Type.NVS:
            where = f"[mem {entry.addr:#010x}-{entry.end - 1:#010x}]"
            k.printk(f"ACPI: PM: Registering ACPI NVS region {where} ({entry.size} bytes)")


def reserve_ram_buffers(k: Kernel) -> None:
    """Keep devices away from the odd end of RAM ranges. Source: e820.c:e820__reserve_resources_late()"""
    for entry in k.e820.table:
        if entry.type != Type.RAM:
            continue
        end = entry.end - 1
        align = _ram_alignment(end)
        stop = -(-entry.end // align) * align - 1
        if stop <= end:
            continue
        where = f"[mem {entry.end:#010x}-{stop:#010x}]"
        if resource_lines(k):
            k.printk(f"e820: register RAM buffer resource {where}")
        else:
            k.printk(f"e820: reserve RAM buffer {where}", Level.DEBUG)


def _ram_alignment(pos: int) -> int:
    mib = pos >> 20
    if mib == 0:
        return 64 << 10
    return 1 << 20 if mib < 16 else 64 << 20
