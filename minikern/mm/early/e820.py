"""The firmware's memory map: sanitised, printed, changed by the command line, fed to memblock.

Source: arch/x86/kernel/e820.c @ v6.12
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from hw.errors import MachineStopped
from hw.units import PAGE_SHIFT
from minikern.core.printk import Level
from minikern.state.e820 import E820State, Entry, Type

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

ULLONG_MAX = 2**64 - 1
E820_MAX_ENTRIES = 128 + 3 * 1024  # zero page plus three a node; Source: arch/x86/include/asm/e820/types.h
ISA_START, ISA_END = 0xA0000, 0x100000
SETUP_FROM_KEXEC = (4, 8, 9)  # EFI, IMA, RNG_SEED: nodes that kexec makes anew for every kernel


TYPE_NAMES: dict[int, str] = {
    Type.RAM: "usable",
    Type.RESERVED_KERN: "usable",
    Type.RESERVED: "reserved",
    Type.SOFT_RESERVED: "soft reserved",
    Type.ACPI: "ACPI data",
    Type.NVS: "ACPI NVS",
    Type.UNUSABLE: "unusable",
    Type.PMEM: f"persistent (type {Type.PMEM.value})",
    Type.PRAM: f"persistent (type {Type.PRAM.value})",
}
RESOURCE_NAMES: dict[int, str] = {
    **TYPE_NAMES,
    Type.RAM: "System RAM",
    Type.RESERVED_KERN: "System RAM",
    Type.RESERVED: "device reserved",
    Type.PMEM: f"persistent RAM (type {Type.PMEM.value})",
    Type.PRAM: f"persistent RAM (type {Type.PRAM.value})",
}  # by e820_lines = "resources"; Source: arch/x86/kernel/e820.c:e820_print_type() @ v7.2
NEVER_MERGED = (Type.PRAM, Type.SOFT_RESERVED)
RAM_TYPES = (Type.RAM, Type.RESERVED_KERN)
MAPPED_TYPES = {False: (Type.RAM,), True: (Type.RAM, Type.ACPI)}  # what counts for the last page: by last_pfn_acpi


def type_name(kind: int) -> str:
    """How the log names a type."""
    return TYPE_NAMES.get(kind, f"type {kind}")


def e820__update_table(entries: list[Entry]) -> list[Entry] | None:
    """Sanitise: sort, resolve overlaps in favour of the numerically higher type, merge neighbours of one type.

    Returns None when the map is unusable (fewer than two entries, or one that wraps) and must be left as it is.
    Source: arch/x86/kernel/e820.c:e820__update_table() @ v6.12
    """
    if len(entries) < 2 or any(entry.addr + entry.size > ULLONG_MAX for entry in entries):
        return None
    points = sorted(
        point
        for index, entry in enumerate(entries)
        if entry.size
        for point in ((entry.addr, 0, index), (entry.end, 1, index))
    )
    result: list[Entry] = []
    open_entries: list[int] = []
    last_type, last_addr = Type.NONE.value, 0
    for addr, is_end, index in points:
        if is_end:
            open_entries.remove(index)
        else:
            open_entries.append(index)
        current = max((entries[i].type for i in open_entries), default=Type.NONE.value)
        if current != last_type or current in NEVER_MERGED:
            if last_type != Type.NONE and addr > last_addr:
                result.append(Entry(last_addr, addr - last_addr, last_type))
            last_type, last_addr = current, addr
    return result[:E820_MAX_ENTRIES]


def e820__range_update(table: list[Entry], start: int, size: int, old: int, new: int) -> list[Entry]:
    """Change the type of every part of [start, start+size) that is ``old``.

    Source: arch/x86/kernel/e820.c:__e820__range_update() @ v6.12
    """
    end = _range_end(start, size)
    return _split(table, start, end, old, lambda low, high: [Entry(low, high - low, new)])


def e820__range_remove(table: list[Entry], start: int, size: int, old: int, check_type: bool) -> list[Entry]:
    """Drop every part of [start, start+size), or only of type ``old``.

    Source: arch/x86/kernel/e820.c:e820__range_remove() @ v6.12
    """
    end = _range_end(start, size)
    return _split(table, start, end, old if check_type else None, lambda low, high: [])


def _range_end(start: int, size: int) -> int:
    # The kernel caps a size that would wrap, so the highest end is 2^64 - 1.
    return start + min(size, ULLONG_MAX - start)


def _split(
    table: list[Entry], start: int, end: int, old: int | None, change: Callable[[int, int], list[Entry]]
) -> list[Entry]:
    kept: list[Entry] = []
    for entry in table:
        low, high = max(entry.addr, start), min(entry.end, end)
        if low >= high or (old is not None and entry.type != old):
            kept.append(entry)
            continue
        if entry.addr < low:
            kept.append(Entry(entry.addr, low - entry.addr, entry.type))
        kept.extend(change(low, high))
        if high < entry.end:
            kept.append(Entry(high, entry.end - high, entry.type))
    return kept


def resource_lines(k: Kernel) -> bool:
    """True if the map is logged in the terms of the resource tree, with its gaps."""
    return k.behaviour.e820_lines == "resources"


def logged_type(k: Kernel, kind: int) -> str:
    """How this kernel's log names a type. Source: arch/x86/kernel/e820.c:e820_print_type() @ v6.12, v7.2"""
    return RESOURCE_NAMES.get(kind, f"type {kind}") if resource_lines(k) else type_name(kind)


def logged_change(k: Kernel, old: int, new: int) -> str:
    """How this kernel's log names a change of type."""
    return f"{logged_type(k, old)} ==> {logged_type(k, new)}"


def e820__print_table(k: Kernel, who: str, table: Iterable[Entry]) -> None:
    """One line an entry, and one a gap from 7.0 on. Source: e820.c:e820__print_table() @ v6.12, v7.2"""
    gaps, last = resource_lines(k), 0
    space = "  " if gaps else " "
    for entry in table:
        if gaps and entry.addr < last:
            k.printk("[Firmware Bug]: out of order E820 entry!")
        if gaps and entry.addr > last:
            k.printk(f"{who}: [gap {last:#018x}-{entry.addr - 1:#018x}]")
        where = f"[mem {entry.addr:#018x}-{entry.end - 1 & ULLONG_MAX:#018x}]"
        k.printk(f"{who}: {where}{space}{logged_type(k, entry.type)}")
        last = entry.end & ULLONG_MAX


def e820_prefix(k: Kernel) -> str:
    """How lines about the map begin."""
    return "e820: " if k.behaviour.e820_prefix else ""


def e820__memory_setup(k: Kernel) -> None:
    """Take the zero page's entries, sanitise, print. Source: arch/x86/kernel/e820.c:e820__memory_setup()"""
    given = [Entry(*row) for row in k.boot_params.e820]
    if len(given) < k.behaviour.e820_min_entries:
        given = _fake_map(k)
    k.charge("e820_entry", len(given))
    table = e820__update_table(given)
    k.e820 = E820State(table=given if table is None else table)
    k.e820.firmware, k.e820.kexec = list(k.e820.table), list(k.e820.table)
    k.printk(f"{e820_prefix(k)}BIOS-provided physical RAM map:")
    e820__print_table(k, "BIOS-e820", k.e820.table)


def _fake_map(k: Kernel) -> list[Entry]:
    # Without a map of two entries the kernel believes the legacy BIOS answers of the zero page.
    # Source: arch/x86/kernel/e820.c:e820__memory_setup_default()
    extended_kib = k.boot_params.alt_mem_k or k.boot_params.ext_mem_k
    if not extended_kib:
        raise MachineStopped("the zero page has no e820 map (expected at least 2 entries) and no memory size either")
    return [Entry(0, 0x9F000, Type.RAM), Entry(0x100000, extended_kib << 10, Type.RAM)]


def debug_change(k: Kernel, verb: str, start: int, size: int, what: str) -> None:
    """The kernel's debug line for a change of the map."""
    k.printk(f"e820: {verb} [mem {start:#010x}-{_range_end(start, size) - 1:#010x}] {what}", Level.DEBUG)


def e820__range_add(k: Kernel, start: int, size: int, kind: int) -> None:
    """Put an entry at the end of the map, unless it is full. Source: e820.c:e820__range_add() @ v6.12"""
    if len(k.e820.table) >= E820_MAX_ENTRIES:
        last = (start + size - 1) & ULLONG_MAX
        full = "E820 table full" if resource_lines(k) else "e820: too many entries"
        k.printk(f"{full}; ignoring [mem {start:#010x}-{last:#010x}]", Level.ERR)
        return
    k.e820.table = [*k.e820.table, Entry(start, size, kind)]


def e820__finish_early_params(k: Kernel) -> None:
    """Print the map again if the command line changed it. Source: arch/x86/kernel/e820.c:e820__finish_early_params()"""
    if not k.e820.user_defined:
        return
    k.e820.table = _sanitised(k.e820.table)
    k.printk("user-defined physical RAM map:")
    e820__print_table(k, "user", k.e820.table)


def _sanitised(table: list[Entry]) -> list[Entry]:
    clean = e820__update_table(table)
    return table if clean is None else clean


def e820__reserve_setup_data(k: Kernel) -> None:
    """Protect setup_data nodes and print the map again if there are any; releases from 6.16 on leave that to memblock.

    Source: arch/x86/kernel/e820.c:e820__reserve_setup_data() @ v6.12
    """
    if not k.boot_params.setup_data or not k.behaviour.e820_setup_data:
        return
    handed_on = k.behaviour.e820_kexec_setup_data  # by kernels before 6.10
    for address, kind, payload in k.boot_params.setup_data:
        size = 16 + payload  # struct setup_data: next, type, len
        change = logged_change(k, Type.RAM, Type.RESERVED_KERN)
        debug_change(k, "update", address, size, change)
        k.e820.table = e820__range_update(k.e820.table, address, size, Type.RAM, Type.RESERVED_KERN)
        if handed_on and kind not in SETUP_FROM_KEXEC:
            debug_change(k, "update", address, size, change)
            k.e820.kexec = e820__range_update(k.e820.kexec, address, size, Type.RAM, Type.RESERVED_KERN)
    k.e820.table, k.e820.kexec = _sanitised(k.e820.table), _sanitised(k.e820.kexec)
    k.printk("extended physical RAM map:")
    e820__print_table(k, "reserve setup_data", k.e820.table)


def e820_add_kernel_range(k: Kernel) -> None:
    """The kernel's own memory is RAM, whatever the map says. Source: arch/x86/kernel/setup.c:e820_add_kernel_range()"""
    image = k.release.image
    start = image.text_start
    size = image.end - start
    if e820__mapped_all(k.e820.table, start, start + size, Type.RAM):
        return
    k.printk(".text .data .bss are not marked as E820_TYPE_RAM!", Level.WARNING)
    debug_change(k, "remove", start, size, "")
    k.e820.table = e820__range_remove(k.e820.table, start, size, 0, False)
    e820__range_add(k, start, size, Type.RAM)


def e820__mapped_all(table: Iterable[Entry], start: int, end: int, kind: int) -> bool:
    """True if entries of ``kind`` cover all of [start, end), walking up the map.

    Source: arch/x86/kernel/e820.c:__e820__mapped_all() @ v6.12
    """
    for entry in table:
        if entry.type != kind or entry.addr >= end or entry.end <= start:
            continue
        if entry.addr <= start:
            start = entry.end
        if start >= end:
            return True
    return False


def trim_bios_range(k: Kernel) -> None:
    """Page 0 and the ISA hole are never RAM. Source: arch/x86/kernel/setup.c:trim_bios_range() @ v6.12"""
    page = 1 << PAGE_SHIFT
    debug_change(k, "update", 0, page, logged_change(k, Type.RAM, Type.RESERVED))
    table = e820__range_update(k.e820.table, 0, page, Type.RAM, Type.RESERVED)
    debug_change(k, "remove", ISA_START, ISA_END - ISA_START, logged_type(k, Type.RAM))
    k.e820.table = _sanitised(e820__range_remove(table, ISA_START, ISA_END - ISA_START, Type.RAM, True))


def e820_end_pfn(table: Iterable[Entry], limit_pfn: int, max_arch_pfn: int, acpi: bool = True) -> int:
    """Highest page frame of RAM, and of ACPI memory if ``acpi``, below ``limit_pfn``.

    Source: arch/x86/kernel/e820.c:e820__end_ram_pfn() @ v6.12
    """
    last = 0
    for entry in table:
        if entry.type not in MAPPED_TYPES[acpi]:
            continue
        start, end = entry.addr >> PAGE_SHIFT, entry.end >> PAGE_SHIFT
        if start >= limit_pfn:
            continue
        last = max(last, min(end, limit_pfn))
    return min(last, max_arch_pfn)


def print_last_pfn(k: Kernel, limit_pfn: int, max_arch_pfn: int) -> int:
    """Find the highest pfn and log it."""
    last = e820_end_pfn(k.e820.table, limit_pfn, max_arch_pfn, k.behaviour.last_pfn_acpi)
    k.printk(f"{e820_prefix(k)}last_pfn = {last:#x} max_arch_pfn = {max_arch_pfn:#x}")
    return last


def e820__memblock_setup(k: Kernel) -> None:
    """Give memblock all RAM, cut to whole pages. Source: arch/x86/kernel/e820.c:e820__memblock_setup() @ v6.12"""
    for entry in k.e820.table:
        if entry.type == Type.SOFT_RESERVED:
            k.memblock.reserve(entry.addr, entry.size)
        if entry.type in RAM_TYPES:
            k.memblock.add(entry.addr, entry.size)
    if k.config.enabled("CONFIG_KEXEC_HANDOVER"):
        # The start-up code of further CPUs needs room down there, where nothing is ever preserved.
        k.memblock.mark_kho_scratch(0, 1 << 20)
    # What lies beyond the addresses the kernel can map is no memory to it.
    limit = 1 << k.max_physmem_bits()
    k.memblock.remove(limit, ULLONG_MAX - limit)
    k.memblock.trim_memory(1 << PAGE_SHIFT)
