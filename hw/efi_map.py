"""The EFI memory map a loader leaves for the kernel: descriptors in memory, their place in the zero page.

Source: UEFI 2.10 clause 7.2 (EFI_MEMORY_DESCRIPTOR); arch/x86/include/uapi/asm/bootparam.h:struct efi_info @ v6.12
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from hw.memory import PhysicalMemory
from hw.spec import MemoryRange

EFI_BOOT_SERVICES_CODE, EFI_BOOT_SERVICES_DATA, EFI_MEMORY_MAPPED_IO = 3, 4, 11
BOOT_SERVICES = {"Boot Code": EFI_BOOT_SERVICES_CODE, "Boot Data": EFI_BOOT_SERVICES_DATA}
"""Linux's names of the two types that are free again after start-up. Source: drivers/firmware/efi/efi.c"""
RUNTIME_SERVICES = {"Runtime Code": 5, "Runtime Data": 6}
EFI_MEMORY_WB, EFI_MEMORY_UC, EFI_MEMORY_RUNTIME = 1 << 3, 1, 1 << 63
EFI_MAP_ADDRESS = 0x30000
DESCRIPTOR = struct.Struct("<IIQQQQ8x")  # type, padding, physical, virtual, pages, attributes; 48 bytes as firmware has
EFI_INFO = 0x1C0  # of the zero page
INFO = struct.Struct("<4sIIIIIII")  # signature, system table, descriptor size and version, map, map size, high halves


def write_efi_map(
    memory: PhysicalMemory, zero_page: int, mmio: Sequence[MemoryRange], services: Sequence[MemoryRange] = (),
    runtime: Sequence[MemoryRange] = (),
) -> None:
    """Describe memory-mapped I/O, boot and runtime services in memory, and enter the map into the zero page.

    Nothing to do for no ranges. A zero page that names a place for its map keeps it if the rows fit there.
    """
    rows = [
        DESCRIPTOR.pack(EFI_MEMORY_MAPPED_IO, 0, item.start, 0, (item.end - item.start) >> 12,
                        EFI_MEMORY_RUNTIME | EFI_MEMORY_UC)
        for item in mmio
    ]  # fmt: skip
    rest = [(item, EFI_MEMORY_WB) for item in services]
    rest += [(item, EFI_MEMORY_WB | EFI_MEMORY_RUNTIME) for item in runtime]
    if runtime:
        rest.sort(key=lambda one: one[0].start)  # as firmware does; without them the order is the caller's
    rows += [
        DESCRIPTOR.pack(item.type, 0, item.start, 0, (item.end - item.start) >> 12, attributes)
        for item, attributes in rest
    ]
    if not rows:
        return
    signature, table, step, _, low, room, table_high, high = INFO.unpack(memory.read(zero_page + EFI_INFO, INFO.size))
    place, size = low | high << 32, DESCRIPTOR.size * len(rows)
    if signature[:2] != b"EL" or step != DESCRIPTOR.size or not place or size > room:
        signature, table, place, room, table_high = b"EL64", 0, EFI_MAP_ADDRESS, size, 0
    memory.write(place, b"".join(rows))
    page = INFO.pack(signature, table, DESCRIPTOR.size, 1, place & 0xFFFF_FFFF, room, table_high, place >> 32)
    memory.write(zero_page + EFI_INFO, page)
