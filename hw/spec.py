"""MachineSpec: the validated description of a machine.

A description comes from a preset (``hw/machines/*.toml``), a TOML file of the user's, options, or a captured folder;
from here on all are the same. Sizes are bytes, addresses physical, ranges half open.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from hw.acpi.spec import MAX_CPUS as MAX_CPUS
from hw.acpi.spec import AcpiSpec, Dword
from hw.errors import InputError
from hw.faults import FaultSpec, check_faults
from hw.numbers import is_count
from hw.pci.spec import PciSpec, check_pci
from hw.uart import CLOCK_HZ, LEGACY_PORTS, PORTS
from hw.units import parse_size

Positive = Annotated[int, Meta(ge=1)]
NonNegative = Annotated[int, Meta(ge=0)]
MsrNumber = Annotated[str, Meta(pattern="^(0x)?[0-9a-fA-F]{1,8}$")]

EFI_RANGES = ("efi_mmio", "boot_services", "efi_tables", "efi_runtime", "efi_images")
KERNEL_IMAGE_SIZE = 1 << 30  # Source: arch/x86/include/asm/page_64_types.h @ v6.12
PHYSICAL_BITS = 52  # of an address; Source: SDM volume 3, section 4.1.4
MAX_NODES = 1024  # 1 << NODES_SHIFT of the same
MAX_E820 = 128  # entries of the zero page; Source: Documentation/arch/x86/zero-page.rst


class CpuPlace(msgspec.Struct, frozen=True):
    """Where one CPU sits, in the order the firmware lists it."""

    apic_id: int
    package: int
    core: int
    thread: int


class CpuSpec(msgspec.Struct, forbid_unknown_fields=True):
    """Processors: ``sockets`` packages of ``cores`` cores, on ``dies`` dies, of ``threads`` threads, all of one kind.

    ``enumeration`` is the order of the MADT: ``threads-last`` lists first threads of all packages, then their
    siblings, as server firmware does; ``linear`` lists by APIC id.
    """

    count: Annotated[int, Meta(ge=1, le=MAX_CPUS)]
    sockets: Annotated[int, Meta(ge=1, le=MAX_CPUS)] = 1
    cores: Annotated[int, Meta(ge=1, le=MAX_CPUS)] | None = None  # per socket; default: what count needs
    threads: Annotated[int, Meta(ge=1, le=MAX_CPUS)] = 1
    dies: Annotated[int, Meta(ge=1, le=MAX_CPUS)] = 1  # per socket
    vendor: str = "GenuineIntel"
    family: NonNegative = 6
    model: NonNegative = 0x6A
    stepping: NonNegative = 6
    model_name: str = "Intel(R) Xeon(R) Processor"
    tsc_khz: Annotated[int, Meta(ge=1, le=100_000_000)] = 2_100_000
    crystal_hz: Dword = 0  # CPUID leaf 0x15 ECX; 0: not enumerated
    phys_bits: Annotated[int, Meta(ge=32, le=52)] = 46
    microcode: Annotated[int, Meta(ge=0, lt=1 << 32)] = 0  # revision the firmware loaded
    tsc_adjust: bool = True
    enumeration: str = "linear"
    features: list[str] = []
    x2apic: bool = False  # firmware hands over in x2APIC mode
    firmware_bsp: bool = True  # the first CPU is the one that firmware started; a crash kernel's may be another
    cpuid: list[CpuidDump] = []  # captured leaves, one table a CPU, in MADT order
    msrs: list[dict[MsrNumber, NonNegative]] = []  # captured registers by number in hex, one table a CPU
    apic_ids: list[Dword] = []  # captured ids in MADT order

    def cores_per_socket(self) -> int:
        """Cores in one package; what ``count`` needs when not given."""
        if self.cores is not None:
            return self.cores
        return max(1, -(-self.count // (self.sockets * self.threads)))

    def topology(self) -> list[CpuPlace]:
        """All CPUs in firmware (MADT) order, with APIC ids packed by power-of-two fields as the SDM lays them out."""
        cores = self.cores_per_socket()
        smt_bits = (self.threads - 1).bit_length()
        a_die = -(-cores // self.dies)
        die_shift = smt_bits + (a_die - 1).bit_length()
        package_shift = die_shift + (self.dies - 1).bit_length()
        at = [(core // a_die) << die_shift | (core % a_die) << smt_bits for core in range(cores)]
        places = [
            CpuPlace(package << package_shift | at[core] | thread, package, core, thread)
            for package in range(self.sockets)
            for core in range(cores)
            for thread in range(self.threads)
        ]
        if self.enumeration == "threads-last":
            places.sort(key=lambda place: (place.thread, place.package, place.core))
        return places[: self.count]


class CpuidDump(msgspec.Struct, forbid_unknown_fields=True):
    """CPUID leaves of one CPU: rows of (leaf, subleaf, eax, ebx, ecx, edx)."""

    rows: list[tuple[Dword, Dword, Dword, Dword, Dword, Dword]]


class MemoryRange(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One e820 entry as the firmware reports it: [start, end) of ``type``."""

    start: NonNegative
    end: NonNegative
    type: Annotated[int, Meta(ge=0, lt=1 << 32)] = 1  # as wide as in the zero page


class NodeMemory(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One SRAT memory range."""

    base: NonNegative
    length: NonNegative
    hotplug: bool = False


class NodeSpec(msgspec.Struct, forbid_unknown_fields=True):
    """One NUMA node: its proximity domain, memory and CPUs (positions in MADT order, as a cpulist)."""

    memory: list[NodeMemory] = []
    cpus: str = ""
    pxm: NonNegative | None = None


class SetupData(msgspec.Struct, forbid_unknown_fields=True):
    """A setup_data node the boot loader left in memory. Source: arch/x86/include/uapi/asm/setup_data.h"""

    address: Positive
    type: NonNegative
    data_bytes: NonNegative = 0
    data: bytes = b""  # its first bytes, where they matter


class LeftBytes(msgspec.Struct, forbid_unknown_fields=True):
    """Bytes that somebody left in memory for the kernel to find."""

    address: NonNegative
    data: bytes


class UartSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A serial port of the 16550 kind.

    ``clock_hz`` feeds the baud rate generator; ``gap_ns`` is a pause after every byte; ``paced`` is False where a
    hypervisor takes each byte at once.
    """

    port: Annotated[int, Meta(ge=0, le=0x10000 - PORTS)]
    clock_hz: Positive = CLOCK_HZ
    gap_ns: NonNegative = 0
    paced: bool = True


def pc_uarts() -> list[UartSpec]:
    """The two ports a PC has."""
    return [UartSpec(port) for port in LEGACY_PORTS[:2]]


class BootSpec(msgspec.Struct, forbid_unknown_fields=True):
    """What the boot loader hands over beside the memory map."""

    ramdisk_address: NonNegative = 0
    ramdisk_bytes: NonNegative = 0
    microcode: Annotated[int, Meta(ge=0, lt=1 << 32)] = 0  # revision of the update in front of the initrd; 0: none
    microcode_date: Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")] = "2024-01-01"
    setup_data: list[SetupData] = []
    handed_over: list[LeftBytes] = []  # what the kernel before this one kept for it
    type_of_loader: NonNegative = 0xD0
    init_size: NonNegative = 0
    boot_params: bytes = b""  # captured zero page
    kernel_cmdline_address: Positive = 0x20000
    efi: bool = False
    efi_mmio: list[MemoryRange] = []  # memory-mapped I/O in the EFI memory map
    kernel_address: NonNegative = 0  # where the kernel was put if not where it wanted to be
    boot_services: list[MemoryRange] = []  # what the firmware's own code and data took; type as in the EFI memory map
    efi_tables: list[MemoryRange] = []  # boot-services memory with tables the kernel keeps (ESRT, MOK variables)
    efi_runtime: list[MemoryRange] = []  # the firmware's code and data for later calls; type as in the EFI memory map
    efi_unaccepted: NonNegative = 0  # where the table of unaccepted memory lies, 0: there is none
    efi_unaccepted_bytes: NonNegative = 0
    efi_memattr: NonNegative = 0  # where the memory attributes table lies
    efi_images: list[MemoryRange] = []  # the same, found later through ACPI (the boot logo of the BGRT)


class MachineSpec(msgspec.Struct, forbid_unknown_fields=True):
    """A whole machine."""

    name: str
    cpus: CpuSpec
    title: str = ""
    append: str = ""
    memory: str = ""  # total size; the map is made up when ``e820`` is empty
    e820: list[MemoryRange] = []
    nodes: list[NodeSpec] = []
    distances: list[list[int]] = []
    acpi: AcpiSpec = msgspec.field(default_factory=AcpiSpec)
    pci: PciSpec = msgspec.field(default_factory=PciSpec)
    pci_file: str = ""  # a PCI description kept in a file of its own beside this one
    boot: BootSpec = msgspec.field(default_factory=BootSpec)
    uarts: list[UartSpec] = msgspec.field(default_factory=pc_uarts)
    dmi: list[str] = []  # captured SMBIOS lines
    faults: FaultSpec = msgspec.field(default_factory=FaultSpec)

    def memory_bytes(self) -> int:
        """Size given by ``memory``; 0 when the map is given range by range."""
        return parse_size(self.memory, "memory") if self.memory else 0


def check_spec(spec: MachineSpec) -> None:
    """Refuse a description that no machine can have; InputError says which part and why."""
    _check_cpus(spec)
    _check_memory(spec)
    _check_nodes(spec)
    _check_left_in_memory(spec)
    check_pci(spec.pci, spec.name)
    check_faults(spec.faults, spec.cpus, bool(spec.acpi.raw or spec.cpus.cpuid))


def _check_cpus(spec: MachineSpec) -> None:
    cpus = spec.cpus
    room = cpus.sockets * cpus.cores_per_socket() * cpus.threads
    if cpus.count > room:
        raise InputError(
            f"{spec.name}: cpus.count is {cpus.count}, but {cpus.sockets} sockets x {cpus.cores_per_socket()} cores x"
            f" {cpus.threads} threads make {room}"
        )
    if cpus.dies > cpus.cores_per_socket():
        raise InputError(f"{spec.name}: cpus.dies is {cpus.dies}: expected at most {cpus.cores_per_socket()}")
    if cpus.enumeration not in ("linear", "threads-last"):
        raise InputError(f"{spec.name}: cpus.enumeration is {cpus.enumeration!r}: expected linear or threads-last")


def _check_memory(spec: MachineSpec) -> None:
    if not spec.e820 and not spec.memory_bytes():
        raise InputError(f"{spec.name}: no memory: expected e820 ranges or memory = \"SIZE\"")
    if len(spec.e820) > MAX_E820:
        raise InputError(f"{spec.name}: {len(spec.e820)} e820 ranges: the zero page holds at most {MAX_E820}")
    for index, entry in enumerate(spec.e820):
        if entry.end <= entry.start:
            raise InputError(
                f"{spec.name}: e820[{index}]: end {entry.end:#x} is not above start {entry.start:#x}"
            )
        if entry.end > 1 << 52:
            raise InputError(f"{spec.name}: e820[{index}]: end {entry.end:#x} is above 2^52, the physical limit")
    if spec.e820 and not any(entry.type == 1 for entry in spec.e820):
        raise InputError(f"{spec.name}: e820 has no usable memory (no range of type 1)")


def _check_left_in_memory(spec: MachineSpec) -> None:
    if spec.boot.init_size > KERNEL_IMAGE_SIZE:
        size = spec.boot.init_size
        raise InputError(f"{spec.name}: boot.init_size {size:#x}: no kernel is larger than {KERNEL_IMAGE_SIZE:#x}")
    room = spec.memory_bytes() or sum(entry.end - entry.start for entry in spec.e820)
    if spec.boot.ramdisk_bytes > room > 0:
        raise InputError(f"{spec.name}: boot.ramdisk_bytes {spec.boot.ramdisk_bytes}: all memory has {room}")
    for name in EFI_RANGES:
        ranges: list[MemoryRange] = getattr(spec.boot, name)
        for index, entry in enumerate(ranges):
            if entry.end < entry.start:
                what = f"boot.{name}[{index}]: end {entry.end:#x} is below start {entry.start:#x}"
                raise InputError(f"{spec.name}: {what}")
    table = spec.boot.efi_unaccepted
    if table >> PHYSICAL_BITS:  # beyond the map it may lie: a crash kernel is told of a part of the memory only
        raise InputError(f"{spec.name}: boot.efi_unaccepted {table:#x}: expected a place below 2^{PHYSICAL_BITS}")
    for nmi in spec.acpi.lapic_nmis:
        if nmi.uid > 0xFF and not nmi.x2apic:
            raise InputError(f"{spec.name}: acpi.lapic_nmis: uid {nmi.uid}: expected at most 255 without x2apic")


def _check_nodes(spec: MachineSpec) -> None:
    if len(spec.nodes) > MAX_NODES:
        raise InputError(f"{spec.name}: {len(spec.nodes)} nodes: expected at most {MAX_NODES}")
    for index, node in enumerate(spec.nodes):
        if not node.memory and not node.cpus:
            raise InputError(f"{spec.name}: nodes[{index}] has neither CPUs nor memory")
        for cpu in parse_cpulist(node.cpus, f"{spec.name}: nodes[{index}].cpus"):
            if cpu >= spec.cpus.count:
                raise InputError(f"{spec.name}: nodes[{index}].cpus names CPU {cpu} of {spec.cpus.count} (from 0)")
    if spec.nodes and not any(node.memory for node in spec.nodes):
        raise InputError(f"{spec.name}: no node has memory")
    for row, values in enumerate(spec.distances):
        if len(values) != len(spec.nodes) or len(spec.distances) != len(spec.nodes):
            raise InputError(
                f"{spec.name}: distances[{row}] has {len(values)} entries in a table of {len(spec.distances)} rows:"
                f" expected {len(spec.nodes)} each"
            )
        for value in values:
            if not 1 <= value <= 255:
                raise InputError(f"{spec.name}: distances[{row}] holds {value}: expected 1 to 255")


def parse_cpulist(text: str, where: str) -> list[int]:
    """CPU numbers of a cpulist such as ``0-3,8``; InputError names ``where`` it stood."""
    cpus: list[int] = []
    for part in filter(None, text.split(",")):
        first, dash, last = part.partition("-")
        if not is_count(first) or (dash and not is_count(last)):
            raise InputError(f"{where}: {part!r} is not a CPU number or range such as 0-3")
        low, high = int(first), int(last) if dash else int(first)
        if high < low or high >= MAX_CPUS:
            raise InputError(f"{where}: range {part!r} is empty or beyond {MAX_CPUS} CPUs")
        cpus.extend(range(low, high + 1))
    return cpus
