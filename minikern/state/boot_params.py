"""What the boot loader handed over."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:

    pass



@dataclass
class BootParams:
    """What the kernel copied out of the zero page before it reused the memory."""

    page: bytes = bytes(4096)  # the zero page itself
    e820: list[tuple[int, int, int]] = field(default_factory=list)  # (base, size, type) as given
    ramdisk: tuple[int, int] = (0, 0)  # address, bytes
    setup_data: list[tuple[int, int, int]] = field(default_factory=list)  # (node address, type, payload bytes)
    seeded: bool = False  # the loader left a random seed, which was used
    acpi_rsdp: int = 0
    type_of_loader: int = 0
    efi_loader: bytes = b""
    ext_mem_k: int = 0
    alt_mem_k: int = 0
    init_size: int = 0  # bytes the kernel needs from its load address to decompress and run

