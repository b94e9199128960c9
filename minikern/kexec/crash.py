"""The crash kernel's side of loading: ELF core header, notes, and the memory map it may use.

The header describes the memory of the kernel that crashed, for whoever reads /proc/vmcore afterwards.
Source: kernel/crash_core.c:crash_prepare_elf64_headers(), arch/x86/kernel/crash.c @ v6.1 and v6.12
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from hw.msr import IA32_FS_BASE, IA32_GS_BASE
from hw.units import PAGE_SIZE
from minikern.kexec.elf import (
    E_IDENT,
    EHDR,
    EM_X86_64,
    ET_CORE,
    EV_CURRENT,
    NHDR,
    PHDR,
    PN_XNUM,
    PT_LOAD,
    PT_NOTE,
    RWX,
)
from minikern.kexec.errors import KexecError
from minikern.kexec.segments import Range, page_align
from minikern.mm.map.sparse import MAX_PHYSMEM_BITS_4LEVEL, MAX_PHYSMEM_BITS_5LEVEL
from minikern.mm.page.mmzone import MIGRATE_TYPES, SECTION_SIZE_BITS
from minikern.mm.page.struct_page import FIELDS, STRUCT_PAGE_SIZE
from minikern.state.page_alloc import NR_PAGE_ORDERS

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

NT_PRSTATUS, PRSTATUS_BYTES, PRSTATUS_PID = 1, 336, 32  # Source: include/linux/elfcore.h, struct elf_prstatus
PRSTATUS_FS_BASE = 280  # among its registers, GS base behind it; Source: arch/x86/include/asm/user_64.h
CRASH_NOTE_BYTES = 2 * NHDR.size + 8 + PRSTATUS_BYTES  # note_buf_t; Source: include/linux/crash_core.h
CRASH_NOTE_STEP = 512  # its per-CPU alignment; Source: kernel/crash_core.c:crash_notes_memory_init()
VMCOREINFO_NOTE_BYTES = 2 * NHDR.size + 12 + 4096  # Source: include/linux/vmcore_info.h
TEXT_ADDRESS = 0xFFFF_FFFF_8100_0000  # of _text, wherever the kernel lies; Source: CONFIG_PHYSICAL_START
DIRECT_MAP, DIRECT_MAP_L5 = 0xFFFF_8880_0000_0000, 0xFF11_0000_0000_0000
LOAD_PHYSICAL_ADDR = 0x100_0000  # of _text in a kernel that was not moved; Source: CONFIG_PHYSICAL_START
PAGE_OFFSETS = {
    "flags": "flags",
    "_refcount": "refcount",
    "mapping": "mapping",
    "lru": "lru_next",
    "_mapcount": "mapcount",
    "private": "private",
    "compound_head": "lru_next",
}
"""Members of struct page a dump reader asks for, as our table of its fields names them."""
LOW_MIB = 1 << 20

Rows = list[tuple[int, int, int]]


class CrashNotes:
    """Memory of the running kernel that the header points at: one note a possible CPU, and vmcoreinfo."""

    def __init__(self, k: Kernel) -> None:
        self.k = k
        self._pages: list[tuple[int, int]] = []
        per_page = PAGE_SIZE // CRASH_NOTE_STEP
        count = len(k.cpus.possible)
        pages = [self._alloc(0) for _ in range(-(-count // per_page))]
        self.cpus = [pages[cpu // per_page] + cpu % per_page * CRASH_NOTE_STEP for cpu in range(count)]
        self.vmcoreinfo = self._alloc(1)
        k.machine.bus.memory.write(self.vmcoreinfo, note(b"VMCOREINFO\0", 0, vmcoreinfo_text(k)))

    def _alloc(self, order: int) -> int:
        pfn = self.k.page_alloc.alloc_pages(order)
        if pfn is None:
            self.free()
            raise KexecError("ENOMEM", "crash notes", f"{1 << order} free pages", "none")
        self._pages.append((pfn, order))
        address = int(pfn) * PAGE_SIZE
        self.k.machine.bus.memory.clear(address, PAGE_SIZE << order)
        return address

    def free(self) -> None:
        """Give the pages back."""
        for pfn, order in self._pages:
            self.k.page_alloc.free_pages(pfn, order)
        self._pages = []

    def save_cpu(self, cpu: int, pid: int = 0) -> None:
        """Write a CPU's note, as it does when it is stopped. Source: kernel/crash_core.c:crash_save_cpu()

        FS and GS base are the CPU's; its general registers, RIP and flags do not exist here and stay 0.
        """
        status = bytearray(PRSTATUS_BYTES)
        struct.pack_into("<I", status, PRSTATUS_PID, pid)
        hardware = self.k.cpus.hardware.get(cpu, self.k.machine.boot_cpu)
        struct.pack_into("<QQ", status, PRSTATUS_FS_BASE, hardware.rdmsr(IA32_FS_BASE), hardware.rdmsr(IA32_GS_BASE))
        self.k.machine.bus.memory.write(self.cpus[cpu], note(b"CORE\0", NT_PRSTATUS, bytes(status)))


def note(name: bytes, kind: int, data: bytes) -> bytes:
    """An ELF note and the empty one behind it; name and data are padded to 4 bytes."""
    parts = [NHDR.pack(len(name), len(data), kind), name.ljust(-(-len(name) // 4) * 4, b"\0")]
    return b"".join([*parts, data.ljust(-(-len(data) // 4) * 4, b"\0"), bytes(NHDR.size)])


def vmcoreinfo_text(k: Kernel) -> bytes:
    """What a dump reader must know first, as far as it is there: symbols have no addresses here, so none is named.

    Source: kernel/vmcore_info.c:crash_save_vmcoreinfo_init(), vmcore_info_64.c:arch_crash_save_vmcoreinfo() @ v6.12
    """
    five_level = k.pgtable_l5_enabled()
    offsets = {field.name: field.offset for field in FIELDS}
    words = k.release.banner.split()
    lines = [
        f"OSRELEASE={words[2] if len(words) > 2 else k.release.name}",
        f"PAGESIZE={PAGE_SIZE}",
        f"NUMBER(SECTION_SIZE_BITS)={SECTION_SIZE_BITS}",
        f"NUMBER(MAX_PHYSMEM_BITS)={MAX_PHYSMEM_BITS_5LEVEL if five_level else MAX_PHYSMEM_BITS_4LEVEL}",
        f"SIZE(page)={STRUCT_PAGE_SIZE}",
        *(f"OFFSET(page.{name})={offsets[ours]}" for name, ours in PAGE_OFFSETS.items()),
        f"LENGTH(zone.free_area)={NR_PAGE_ORDERS}",
        f"LENGTH(free_area.free_list)={MIGRATE_TYPES}",
        # Virtual addresses never move here, whatever the kernel's place.
        f"NUMBER(phys_base)={k.release.image.text_start - LOAD_PHYSICAL_ADDR}",
        f"NUMBER(pgtable_l5_enabled)={int(five_level)}",
        "KERNELOFFSET=0",
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def exclude_mem_range(ranges: Sequence[Range], start: int, end: int) -> list[Range]:
    """Ranges without [start, end). Source: kernel/crash_core.c:crash_exclude_mem_range()"""
    kept = []
    for area in ranges:
        for low, high in ((area.start, min(area.end, start)), (max(area.start, end), area.end)):
            if low < high:
                kept.append(Range(low, high))
    return kept


def prepare_elf_headers(k: Kernel, notes: CrashNotes, ram: Sequence[Range]) -> bytes:
    """The ELF core header for the memory of ``k``, whole pages.

    A PT_NOTE a possible CPU and one for vmcoreinfo, a PT_LOAD for the kernel itself and one a range of System RAM,
    without the first MiB (always reserved) and what the crash kernel may use.
    """
    ranges = exclude_mem_range(ram, 0, LOW_MIB)
    for start, size in (k.crashk.res, k.crashk.low_res):
        ranges = exclude_mem_range(ranges, start, start + size) if size else ranges
    heads = [(PT_NOTE, 0, at, 0, CRASH_NOTE_BYTES) for at in notes.cpus]
    heads.append((PT_NOTE, 0, notes.vmcoreinfo, 0, VMCOREINFO_NOTE_BYTES))
    text, end = k.release.image.text_start, kernel_end(k)
    heads.append((PT_LOAD, RWX, text, TEXT_ADDRESS, end - text))
    direct = DIRECT_MAP_L5 if k.pgtable_l5_enabled() else DIRECT_MAP
    heads += [(PT_LOAD, RWX, area.start, direct + area.start, area.end - area.start) for area in ranges]
    head = EHDR.pack(E_IDENT, ET_CORE, EM_X86_64, EV_CURRENT, 0, EHDR.size, 0, 0, EHDR.size, PHDR.size, len(heads),
                     0, 0, 0)  # fmt: skip
    body = b"".join(PHDR.pack(kind, flags, at, virtual, at, size, size, 0) for kind, flags, at, virtual, size in heads)
    return (head + body).ljust(page_align(EHDR.size + len(heads) * PHDR.size), b"\0")


def kernel_end(k: Kernel) -> int:
    """Physical address behind the kernel image, all of its early heap included."""
    return page_align(k.release.image.end)


def headers_memsz(k: Kernel, bufsz: int) -> int:
    """Bytes of memory kept for the header: with hotplug of CPUs and memory, for all there ever can be.

    Source: arch/x86/kernel/crash.c:crash_load_segments() @ v6.12
    """
    if not k.config.enabled("CONFIG_CRASH_HOTPLUG"):
        return bufsz
    most = 2 + k.config.number("CONFIG_NR_CPUS") + k.config.number("CONFIG_CRASH_MAX_MEMORY_RANGES")
    return bufsz if most >= PN_XNUM else EHDR.size + most * PHDR.size


def crash_memmap(k: Kernel, header: tuple[int, int]) -> Rows:
    """The map of the crash kernel: the low MiB, what is no RAM, and the reservation less the ELF header.

    ``header`` is (address, bytes). Source: arch/x86/kernel/crash.c:crash_setup_memmap_entries() @ v6.12
    """
    from minikern.mm.early.e820 import RAM_TYPES
    from minikern.state.e820 import Type

    rows: Rows = []

    def walk(wanted: Collection[int], kind: Type, limit: int) -> None:
        for entry in k.e820.table:
            if entry.type in wanted and entry.addr < limit:
                rows.append((entry.addr, min(entry.end, limit) - entry.addr, int(kind)))

    walk(RAM_TYPES, Type.RAM, LOW_MIB)
    for kind in (Type.ACPI, Type.NVS, Type.RESERVED):
        walk((kind,), kind, 1 << 64)
    if k.crashk.low_res[1]:
        rows.append((*k.crashk.low_res, int(Type.RAM)))
    start, size = k.crashk.res
    for area in exclude_mem_range([Range(start, start + size)], header[0], sum(header)):
        if area.end - area.start >= PAGE_SIZE:
            rows.append((area.start, area.end - area.start, int(Type.RAM)))
    return rows
