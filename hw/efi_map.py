"""The EFI memory map a loader leaves for the kernel: descriptors in memory, their place in the zero page.

Source: UEFI 2.10 clause 7.2 (EFI_MEMORY_DESCRIPTOR); arch/x86/include/uapi/asm/bootparam.h:struct efi_info @ v6.12
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from hw.memory import PhysicalMemory
from hw.spec import MemoryRange

EFI_MEMORY_MAPPED_IO = 11
EFI_MAP_ADDRESS = 0x30000
DESCRIPTOR = struct.Struct("<IIQQQQ8x")  # type, padding, physical, virtual, pages, attributes; 48 bytes as firmware has
EFI_INFO = 0x1C0  # of the zero page
INFO = struct.Struct("<4sIIIIIII")  # signature, system table, descriptor size and version, map, map size, high halves


def write_efi_map(memory: PhysicalMemory, zero_page: int, ranges: Sequence[MemoryRange]) -> None:
    """Describe ``ranges`` as memory-mapped I/O and enter the map into the zero page; nothing to do for none."""
    if not ranges:
        return
    rows = [
        DESCRIPTOR.pack(EFI_MEMORY_MAPPED_IO, 0, item.start, 0, (item.end - item.start) >> 12, 1 << 63 | 1)
        for item in ranges
    ]
    memory.write(EFI_MAP_ADDRESS, b"".join(rows))
    size = DESCRIPTOR.size * len(rows)
    memory.write(zero_page + EFI_INFO, INFO.pack(b"EL64", 0, DESCRIPTOR.size, 1, EFI_MAP_ADDRESS, size, 0, 0))
