"""What a kernel of an EFI machine hands on: firmware calls work in the next kernel only with the map of this one.

The firmware is told once where its runtime code and data lie in virtual addresses; a later kernel has to use the same.
Source: arch/x86/kernel/kexec-bzimage64.c:setup_efi_state() @ v6.12
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from hw.efi_map import EFI_INFO, EFI_MEMORY_RUNTIME, INFO
from hw.units import PAGE_SHIFT
from minikern.kexec.setup_data import SETUP_EFI
from minikern.mm.early import efi

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

DESCRIPTOR = struct.Struct("<IIQQQQ")  # type, padding, physical, virtual, pages, attributes; firmware may add to it
SETUP = struct.Struct("<QQQQ64x")  # struct efi_setup_data: vendor, unused, tables, smbios, and room
PMD_SIZE = 2 << 20
EFI_VA_START = (1 << 64) - (4 << 30)  # Source: arch/x86/include/asm/pgtable_64_types.h @ v6.12
SECURE_BOOT = 0x1EC  # of the zero page
FW_VENDOR, TABLES = 24, 112  # of the system table; Source: UEFI 2.10 clause 4.3


class Row(NamedTuple):
    """One descriptor; ``rest`` is what the firmware's are longer by."""

    kind: int
    start: int
    virtual: int
    pages: int
    attributes: int
    rest: bytes

    @property
    def end(self) -> int:
        """First byte behind it."""
        return self.start + (self.pages << PAGE_SHIFT)

    @property
    def runtime(self) -> bool:
        """True if it outlives the firmware's start-up."""
        return bool(self.attributes & EFI_MEMORY_RUNTIME)


def wanted(k: Kernel) -> bool:
    """True if the kernel came by EFI and calls its services."""
    return efi.memmap_enabled(k) and bool(_info(k)[5])


def runtime_map(k: Kernel) -> bytes:
    """The map the next kernel gets, empty if it gets none.

    A kernel that was itself started so hands on what it was given.
    Source: drivers/firmware/efi/runtime-map.c; arch/x86/platform/efi/efi.c:efi_map_regions() @ v6.12
    """
    raw, step = efi.raw_map(k)
    if not step or not efi.memmap_enabled(k):
        return b""
    if efi.started_by_kexec(k):
        return raw
    rows = _rows(raw, step)
    rows = _merge([piece for row in rows for piece in _kept(k, row)])
    mapped = [row for row in reversed(rows) if row.runtime or row.kind in efi.EFI_BOOT_SERVICES]
    rows = _virtual(mapped)
    if not efi.debug(k):  # efi=debug keeps the firmware's own for its files in debugfs
        rows = [row for row in rows if row.runtime]
    return b"".join(
        DESCRIPTOR.pack(row.kind, 0, row.start, row.virtual, row.pages, row.attributes) + row.rest for row in rows
    )


def efi_info(k: Kernel, place: int, size: int) -> bytes:
    """struct efi_info of the new zero page, with the map of ``size`` bytes at ``place``."""
    signature, table, step, version, _, _, table_high, _ = _info(k)
    if not size:
        place = 0
    return INFO.pack(signature, table, step, version, place & 0xFFFF_FFFF, size, table_high, place >> 32)


def setup_node(k: Kernel) -> bytes:
    """Payload of the SETUP_EFI node: pointers that the firmware has turned into virtual ones in its own tables.

    A kernel that was given them hands them on; of the machine's system table comes what is in memory there.
    """
    memory = k.machine.bus.memory
    given = next((address for address, kind, _ in k.boot_params.setup_data if kind == SETUP_EFI), 0)
    if given:
        return memory.read(given + 16, SETUP.size)
    info = _info(k)
    table = info[1] | info[6] << 32
    vendor, tables = (memory.read_int(table + at, 8) if table else 0 for at in (FW_VENDOR, TABLES))
    return SETUP.pack(vendor, 0, tables, 0)


def _info(k: Kernel) -> tuple[bytes, int, int, int, int, int, int, int]:
    return INFO.unpack_from(k.boot_params.page, EFI_INFO)


def _rows(raw: bytes, step: int) -> list[Row]:
    rows = []
    for at in range(0, len(raw), step):
        kind, _, start, virtual, pages, attributes = DESCRIPTOR.unpack_from(raw, at)
        if pages:  # Source: arch/x86/platform/efi/efi.c:efi_clean_memmap() @ v6.12
            rows.append(Row(kind, start, virtual, pages, attributes, raw[at + DESCRIPTOR.size : at + step]))
    return rows


def _kept(k: Kernel, row: Row) -> list[Row]:
    """The row, marked and cut as the kernel did for what it keeps of the firmware's start-up memory.

    Source: arch/x86/platform/efi/quirks.c:efi_arch_mem_reserve(), efi_reserve_boot_services() @ v6.12
    """
    if row.kind not in efi.EFI_BOOT_SERVICES:
        return [row]
    if (row.start, row.end) not in k.efi.boot_services:
        return [row._replace(attributes=row.attributes | EFI_MEMORY_RUNTIME)]
    pieces, at = [], row.start
    for low, high in sorted(k.efi.kept):
        first, end = low >> PAGE_SHIFT << PAGE_SHIFT, -(-high >> PAGE_SHIFT) << PAGE_SHIFT
        if first < at or end > row.end:
            continue
        if first > at:
            pieces.append(row._replace(start=at, pages=(first - at) >> PAGE_SHIFT))
        marked = row.attributes | EFI_MEMORY_RUNTIME
        pieces.append(row._replace(start=first, pages=(end - first) >> PAGE_SHIFT, attributes=marked))
        at = end
    return [*pieces, row._replace(start=at, pages=(row.end - at) >> PAGE_SHIFT)] if at < row.end else pieces


def _merge(rows: list[Row]) -> list[Row]:
    """Neighbours of one kind as one. Source: arch/x86/platform/efi/efi.c:efi_merge_regions() @ v6.12"""
    out: list[Row] = []
    for row in rows:
        last = out[-1] if out else None
        if last and (last.kind, last.attributes, last.end) == (row.kind, row.attributes, row.start):
            out[-1] = last._replace(pages=last.pages + row.pages)
        else:
            out.append(row)
    return out


def _virtual(rows: list[Row]) -> list[Row]:
    """Addresses from -4 GiB down, each with its place within 2 MiB kept.

    Source: arch/x86/platform/efi/efi_64.c:efi_map_region() @ v6.12
    """
    out, at = [], EFI_VA_START
    for row in rows:
        at -= row.end - row.start
        inside = row.start % PMD_SIZE
        aligned = at // PMD_SIZE * PMD_SIZE + inside
        at = aligned if aligned <= at else aligned - PMD_SIZE
        out.append(row._replace(virtual=at))
    return out
