"""Configuration space: one declaration per structure, and the bytes with their write masks.

Source: PCI Local Bus Specification 3.0, chapter 6; PCI Express Base Specification, chapter 7
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

CONFIG_BYTES = 256
EXT_CONFIG_BYTES = 4096
MAX_CAPS = 48  # capabilities that fit 192 bytes at 4 each
MAX_EXT_CAPS = (EXT_CONFIG_BYTES - CONFIG_BYTES) // 8


class Register(NamedTuple):
    """One register: where, how many bytes, which bits software can write, which it clears by writing ones."""

    offset: int
    size: int
    writable: int = 0
    clears: int = 0


class Structure:
    """A named block of registers; offsets count from the block's first byte."""

    def __init__(self, name: str, size: int, **registers: Register) -> None:
        self.name = name
        self.size = size
        self.registers = registers
        end = 0
        for key, register in registers.items():
            if register.offset < end or register.offset + register.size > size:
                raise ValueError(f"{name}.{key}: {register.size} bytes at {register.offset:#x} are out of place")
            end = register.offset + register.size
        self.runs = list(_runs(registers.values()))  # registers side by side: offset, what is writable, what clears

    def __getitem__(self, name: str) -> Register:
        return self.registers[name]


def _runs(registers: Iterable[Register]) -> Iterator[tuple[int, bytes, bytes]]:
    start, writable, clears = 0, b"", b""
    for register in registers:
        if register.offset != start + len(writable):
            if writable:
                yield start, writable, clears
            start, writable, clears = register.offset, b"", b""
        writable += register.writable.to_bytes(register.size, "little")
        clears += register.clears.to_bytes(register.size, "little")
    yield start, writable, clears


COMMON = Structure(
    "common header",
    0x10,
    vendor=Register(0x00, 2),
    device=Register(0x02, 2),
    command=Register(0x04, 2, writable=0x0547),
    status=Register(0x06, 2, clears=0xF900),
    revision=Register(0x08, 1),
    class_code=Register(0x09, 3),
    cache_line=Register(0x0C, 1, writable=0xFF),
    latency=Register(0x0D, 1),
    header_type=Register(0x0E, 1),
    bist=Register(0x0F, 1),
)

TYPE0 = Structure(
    "type 0 header",
    0x40,
    bar0=Register(0x10, 4),
    bar1=Register(0x14, 4),
    bar2=Register(0x18, 4),
    bar3=Register(0x1C, 4),
    bar4=Register(0x20, 4),
    bar5=Register(0x24, 4),
    cis=Register(0x28, 4),
    subsystem_vendor=Register(0x2C, 2),
    subsystem=Register(0x2E, 2),
    rom=Register(0x30, 4),
    capabilities=Register(0x34, 1),
    interrupt_line=Register(0x3C, 1, writable=0xFF),
    interrupt_pin=Register(0x3D, 1),
)

TYPE1 = Structure(
    "type 1 header",
    0x40,
    bar0=Register(0x10, 4),
    bar1=Register(0x14, 4),
    primary=Register(0x18, 1, writable=0xFF),
    secondary=Register(0x19, 1, writable=0xFF),
    subordinate=Register(0x1A, 1, writable=0xFF),
    secondary_latency=Register(0x1B, 1, writable=0xFF),
    io_base=Register(0x1C, 1, writable=0xF0),
    io_limit=Register(0x1D, 1, writable=0xF0),
    secondary_status=Register(0x1E, 2, clears=0xF900),
    memory_base=Register(0x20, 2, writable=0xFFF0),
    memory_limit=Register(0x22, 2, writable=0xFFF0),
    pref_base=Register(0x24, 2, writable=0xFFF0),
    pref_limit=Register(0x26, 2, writable=0xFFF0),
    pref_base_upper=Register(0x28, 4, writable=0xFFFF_FFFF),
    pref_limit_upper=Register(0x2C, 4, writable=0xFFFF_FFFF),
    io_base_upper=Register(0x30, 2, writable=0xFFFF),
    io_limit_upper=Register(0x32, 2, writable=0xFFFF),
    capabilities=Register(0x34, 1),
    rom=Register(0x38, 4),
    interrupt_line=Register(0x3C, 1, writable=0xFF),
    interrupt_pin=Register(0x3D, 1),
    bridge_control=Register(0x3E, 2, writable=0x0FFF),
)

TYPE2 = Structure(
    "type 2 header",
    0x48,
    bar0=Register(0x10, 4),
    capabilities=Register(0x14, 1),
    secondary_status=Register(0x16, 2, clears=0xF900),
    primary=Register(0x18, 1, writable=0xFF),
    secondary=Register(0x19, 1, writable=0xFF),
    subordinate=Register(0x1A, 1, writable=0xFF),
    secondary_latency=Register(0x1B, 1, writable=0xFF),
    memory_base0=Register(0x1C, 4, writable=0xFFFF_F000),
    memory_limit0=Register(0x20, 4, writable=0xFFFF_F000),
    memory_base1=Register(0x24, 4, writable=0xFFFF_F000),
    memory_limit1=Register(0x28, 4, writable=0xFFFF_F000),
    io_base0=Register(0x2C, 4, writable=0xFFFF_FFFC),
    io_limit0=Register(0x30, 4, writable=0xFFFF_FFFC),
    io_base1=Register(0x34, 4, writable=0xFFFF_FFFC),
    io_limit1=Register(0x38, 4, writable=0xFFFF_FFFC),
    interrupt_line=Register(0x3C, 1, writable=0xFF),
    interrupt_pin=Register(0x3D, 1),
    bridge_control=Register(0x3E, 2, writable=0x07FF),
    subsystem_vendor=Register(0x40, 2),
    subsystem=Register(0x42, 2),
    legacy_base=Register(0x44, 4, writable=0xFFFF_FFFE),
)
"""Source: PC Card Standard 8.1, volume 7, 4.4 (a bridge's configuration space)"""

CAP_HEADER = Structure("capability header", 2, id=Register(0, 1), next=Register(1, 1))

PM = Structure("power management", 8, cap=Register(2, 2), control=Register(4, 2, writable=0x0103, clears=0x8000))
MSI = Structure(
    "MSI",
    14,
    control=Register(2, 2, writable=0x0071),
    address=Register(4, 4, writable=0xFFFF_FFFC),
    address_high=Register(8, 4, writable=0xFFFF_FFFF),
    data=Register(12, 2, writable=0xFFFF),
)
MSI_X = Structure(
    "MSI-X", 12, control=Register(2, 2, writable=0xC000), table=Register(4, 4), pending=Register(8, 4)
)
PCIE = Structure(
    "PCI Express",
    0x3C,
    flags=Register(0x02, 2),
    device_cap=Register(0x04, 4),
    device_control=Register(0x08, 2, writable=0x7FFF),
    device_status=Register(0x0A, 2, clears=0x000F),
    link_cap=Register(0x0C, 4),
    link_control=Register(0x10, 2, writable=0x03DB),
    link_status=Register(0x12, 2, clears=0xC000),
    slot_cap=Register(0x14, 4),
    slot_control=Register(0x18, 2, writable=0x1FFF),
    slot_status=Register(0x1A, 2, clears=0x011F),
    root_control=Register(0x1C, 2, writable=0x001F),
    root_cap=Register(0x1E, 2),
    root_status=Register(0x20, 4, clears=0x0001_0000),
    device_cap2=Register(0x24, 4),
    device_control2=Register(0x28, 2, writable=0xFFFF),
    device_status2=Register(0x2A, 2),
    link_cap2=Register(0x2C, 4),
    link_control2=Register(0x30, 2, writable=0xFFFF),
    link_status2=Register(0x32, 2),
    slot_cap2=Register(0x34, 4),
    slot_control2=Register(0x38, 2),
    slot_status2=Register(0x3A, 2),
)

EXT_HEADER = Structure("extended capability header", 4, header=Register(0, 4))
AER = Structure(
    "advanced error reporting",
    0x48,
    uncorrectable_status=Register(0x04, 4, clears=0xFFFF_FFFF),
    uncorrectable_mask=Register(0x08, 4, writable=0xFFFF_FFFF),
    uncorrectable_severity=Register(0x0C, 4, writable=0xFFFF_FFFF),
    correctable_status=Register(0x10, 4, clears=0xFFFF_FFFF),
    correctable_mask=Register(0x14, 4, writable=0xFFFF_FFFF),
    control=Register(0x18, 4, writable=0x0000_0140),
    root_command=Register(0x2C, 4, writable=0x7),
    root_status=Register(0x30, 4, clears=0x7F),
)
ACS = Structure("access control services", 8, cap=Register(4, 2), control=Register(6, 2))
ARI = Structure("alternative routing id", 8, cap=Register(4, 2), control=Register(6, 2, writable=0x0073))
SRIOV = Structure(
    "single root I/O virtualization",
    0x40,
    cap=Register(0x04, 4),
    control=Register(0x08, 2, writable=0x001F),
    status=Register(0x0A, 2),
    initial_vfs=Register(0x0C, 2),
    total_vfs=Register(0x0E, 2),
    num_vfs=Register(0x10, 2, writable=0xFFFF),
    link=Register(0x12, 1),
    offset=Register(0x14, 2),
    stride=Register(0x16, 2),
    device=Register(0x1A, 2),
    page_sizes=Register(0x1C, 4),
    page_size=Register(0x20, 4, writable=0xFFFF_FFFF),
    bar0=Register(0x24, 4),
    bar1=Register(0x28, 4),
    bar2=Register(0x2C, 4),
    bar3=Register(0x30, 4),
    bar4=Register(0x34, 4),
    bar5=Register(0x38, 4),
    migration=Register(0x3C, 4),
)
"""Source: Single Root I/O Virtualization and Sharing Specification 1.1, 3.3"""
DPC = Structure(
    "downstream port containment",
    0x10,
    cap=Register(0x04, 2),
    control=Register(0x06, 2, writable=0x003F),
    status=Register(0x08, 2, clears=0x0009),
    source=Register(0x0A, 2),
)
"""Source: PCI Express Base Specification, 7.9.15"""
DSN = Structure("device serial number", 12, low=Register(4, 4), high=Register(8, 4))

CAP_IDS = {0x01: PM, 0x05: MSI, 0x10: PCIE, 0x11: MSI_X}
EXT_IDS = {0x01: AER, 0x03: DSN, 0x0D: ACS, 0x0E: ARI, 0x10: SRIOV, 0x1D: DPC}
CAP_ID = {structure.name: number for number, structure in CAP_IDS.items()}
EXT_ID = {structure.name: number for number, structure in EXT_IDS.items()}

PORT_TYPES = {
    "endpoint": 0,
    "legacy_endpoint": 1,
    "root_port": 4,
    "upstream": 5,
    "downstream": 6,
    "pcie_pci_bridge": 7,
    "pci_pcie_bridge": 8,
    "rciep": 9,
    "event_collector": 10,
}
"""Device/port types of the PCI Express capability. Source: PCI Express Base Specification, 7.5.3.2"""


_WORDS = {1: struct.Struct("<B"), 2: struct.Struct("<H"), 4: struct.Struct("<I"), 8: struct.Struct("<Q")}


class ConfigSpace:
    """Bytes of one function's configuration space (256 or 4096) and what software may change of them.

    Reads beyond the end are all ones, writes there are dropped: what a bus returns where nothing answers.
    """

    def __init__(self, data: bytes | bytearray) -> None:
        if len(data) > EXT_CONFIG_BYTES:
            raise ValueError(f"configuration space of {len(data)} bytes: expected at most {EXT_CONFIG_BYTES}")
        size = CONFIG_BYTES if len(data) <= CONFIG_BYTES else EXT_CONFIG_BYTES
        self.data = bytearray(size)
        self.data[: len(data)] = data
        self._writable = bytearray(size)
        self._clears = bytearray(size)

    def read(self, offset: int, size: int) -> int:
        """Value of ``size`` bytes at ``offset``, little endian."""
        if offset + size > len(self.data):
            return (1 << 8 * size) - 1
        word = _WORDS.get(size)
        if word is None:
            return int.from_bytes(self.data[offset : offset + size], "little")
        value: int = word.unpack_from(self.data, offset)[0]
        return value

    def write(self, offset: int, size: int, value: int) -> None:
        """Software's write: only writable bits change, write-one-to-clear bits clear."""
        if offset + size > len(self.data):
            return
        word = _WORDS.get(size)
        if word is None:
            for at in range(size):
                self.write(offset + at, 1, value >> 8 * at & 0xFF)
            return
        (old,), (mask,) = word.unpack_from(self.data, offset), word.unpack_from(self._writable, offset)
        (clear,) = word.unpack_from(self._clears, offset)
        word.pack_into(self.data, offset, ((old & ~mask) | (value & mask)) & ~(clear & value))

    def put(self, offset: int, size: int, value: int) -> None:
        """Set bytes from the device's side, whatever software may write."""
        self.data[offset : offset + size] = value.to_bytes(size, "little")

    def get(self, structure: Structure, name: str, base: int = 0) -> int:
        """A register's value; ``base`` is where the structure starts."""
        register = structure[name]
        return self.read(base + register.offset, register.size)

    def set(self, structure: Structure, name: str, value: int, base: int = 0) -> None:
        """Set a register from the device's side."""
        register = structure[name]
        self.put(base + register.offset, register.size, value)

    def allow(self, offset: int, size: int, writable: int, clears: int = 0) -> None:
        """Let software write the bits ``writable``, and clear those in ``clears``, of ``size`` bytes at ``offset``."""
        if offset + size <= len(self.data):
            self._writable[offset : offset + size] = writable.to_bytes(size, "little")
            self._clears[offset : offset + size] = clears.to_bytes(size, "little")

    def allow_structure(self, structure: Structure, base: int = 0) -> None:
        """Give every register of ``structure`` at ``base`` the access its declaration says."""
        if base + structure.size > len(self.data):  # of one that is cut off, the registers that are there
            for register in structure.registers.values():
                self.allow(base + register.offset, register.size, register.writable, register.clears)
            return
        for offset, writable, clears in structure.runs:
            end = base + offset + len(writable)
            self._writable[base + offset : end] = writable
            self._clears[base + offset : end] = clears

    @property
    def is_bridge(self) -> bool:
        """True for a type 1 header."""
        return self.data[0x0E] & 0x7F == 1

    @property
    def is_cardbus(self) -> bool:
        """True for a type 2 header."""
        return self.data[0x0E] & 0x7F == 2

    def capabilities(self) -> list[tuple[int, int]]:
        """(id, offset) along the capability list; stops at a pointer outside 0x40..0xff or after 48 entries."""
        found: list[tuple[int, int]] = []
        if not self.data[6] & 0x10:
            return found
        at = self.data[TYPE2["capabilities"].offset if self.is_cardbus else 0x34] & ~3
        while at >= 0x40 and len(found) < MAX_CAPS:
            found.append((self.data[at], at))
            at = self.data[at + 1] & ~3
        return found

    def ext_capabilities(self) -> list[tuple[int, int]]:
        """(id, offset) along the extended list; empty for a 256-byte space; bounded against loops."""
        found: list[tuple[int, int]] = []
        at = CONFIG_BYTES
        while CONFIG_BYTES <= at <= len(self.data) - 4 and len(found) < MAX_EXT_CAPS:
            header = self.read(at, 4)
            if header in (0, 0xFFFF_FFFF):
                break
            found.append((header & 0xFFFF, at))
            at = header >> 20 & ~3
        return found
