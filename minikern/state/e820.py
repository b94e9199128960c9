"""The kernel's e820 maps."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    pass



class Type(IntEnum):
    """Entry types. Source: arch/x86/include/asm/e820/types.h @ v6.12"""

    NONE = 0
    RAM = 1
    RESERVED = 2
    ACPI = 3
    NVS = 4
    UNUSABLE = 5
    PMEM = 7
    PRAM = 12
    RESERVED_KERN = 128
    SOFT_RESERVED = 0xEFFFFFFF



class Entry(NamedTuple):
    """[addr, addr+size) of ``type``; bytes."""

    addr: int
    size: int
    type: int

    @property
    def end(self) -> int:
        """First byte after the entry (may be 2^64)."""
        return self.addr + self.size



@dataclass
class E820State:
    """The map in use, the firmware's untouched one, and the one handed on by kexec."""

    table: list[Entry] = field(default_factory=list)
    firmware: list[Entry] = field(default_factory=list)
    kexec: list[Entry] = field(default_factory=list)
    user_defined: bool = False

