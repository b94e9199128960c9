"""Power-on self test: what the firmware and the boot loader leave in memory for the kernel to find."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from hw import boot_params, purgatory
from hw.acpi.tables import AreaFullError, Placed, build_tables
from hw.bus import Bus
from hw.efi_map import write_efi_map
from hw.errors import InputError
from hw.faults import madt_places
from hw.memory import PhysicalMemory
from hw.mp_table import IoApicPlace, build_mp_table
from hw.pci.assign import assign_resources
from hw.pci.host import PciTopology
from hw.spec import MachineSpec, MemoryRange, parse_cpulist

# BIOS data area. Source: IBM PC/AT technical reference; arch/x86/include/asm/bios_ebda.h
BDA_EBDA_SEGMENT, BDA_BASE_MEMORY_KIB = 0x40E, 0x413
COMMAND_LINE_SIZE = 2048
PAGE, MIB, FOUR_GIB = 1 << 12, 1 << 20, 1 << 32
HT = 28  # CPUID leaf 1 EDX: EBX bits 23:16 count the package's ids. Source: SDM vol. 2A
PREF_ADDRESS = 0x100_0000  # where the image of a 64-bit kernel wants to be. Source: CONFIG_PHYSICAL_START of x86


def post(bus: Bus, spec: MachineSpec, topology: PciTopology, command_line: str) -> int:
    """Run the firmware: BIOS data, PCI resources, ACPI tables, zero page. Returns the zero page's address.

    InputError: a command line that does not fit.
    """
    memory = bus.memory
    _bios_data_area(memory, spec)
    if topology.roots:
        assign_resources(topology)
    rsdp = _acpi(memory, spec)
    if spec.acpi.mp_table:
        _mp_table(memory, spec)
    encoded = command_line.encode()
    if len(encoded) >= COMMAND_LINE_SIZE:
        raise InputError(f"command line of {len(encoded)} bytes: the kernel takes at most {COMMAND_LINE_SIZE - 1}")
    memory.write(spec.boot.kernel_cmdline_address, encoded + b"\0")
    boot_params.write_setup_data(memory, spec)
    for left in spec.boot.handed_over:
        memory.write(left.address, left.data)
    memory.write(boot_params.BOOT_PARAMS_ADDRESS, boot_params.build(spec, rsdp))
    boot = spec.boot
    write_efi_map(
        memory, boot_params.BOOT_PARAMS_ADDRESS, boot.efi_mmio, boot.boot_services, boot.efi_runtime
    )
    if spec.boot.type_of_loader >> 4 == purgatory.STARTED_BY_KEXEC:
        _purgatory(memory, spec, len(encoded) + 1)
    return boot_params.BOOT_PARAMS_ADDRESS


def _bios_data_area(memory: PhysicalMemory, spec: MachineSpec) -> None:
    first = next((entry for entry in spec.e820 if entry.type == 1), None)
    if first is not None and 0x20000 <= first.end < 0xA0000:
        memory.write_int(BDA_EBDA_SEGMENT, 2, first.end >> 4)
        memory.write_int(BDA_BASE_MEMORY_KIB, 2, first.end >> 10)


def _acpi(memory: PhysicalMemory, spec: MachineSpec) -> int:
    if not spec.acpi.enabled:
        return 0
    given = bool(spec.acpi.raw or spec.acpi.base)
    place_acpi_area(spec)
    places = [] if spec.cpus.cpuid else spec.cpus.topology()
    nodes = [
        (index if node.pxm is None else node.pxm, parse_cpulist(node.cpus, f"nodes[{index}].cpus"), node.memory)
        for index, node in enumerate(spec.nodes)
    ]
    build = partial(build_tables, spec.acpi, places, nodes, spec.distances, spec.pci, madt_places(spec.faults, places))
    try:
        tables = build()
    except AreaFullError:
        if given or not _take_larger_area(spec, build):
            raise
        tables = build()
    for address, data in tables:
        memory.write(address, data)
    return spec.acpi.rsdp_address or 0


def _take_larger_area(spec: MachineSpec, build: Callable[[], list[Placed]]) -> bool:
    """Firmware of a larger machine takes more memory below 4 GiB for its tables; False if there is not enough."""
    spec.acpi.size = 0  # up to 4 GiB, to see what they take
    need = max(address + len(data) for address, data in build() if address >= spec.acpi.base) - spec.acpi.base
    size = -(-need // MIB) * MIB
    low = [entry for entry in spec.e820 if entry.type == 1 and entry.start >= MIB and entry.end <= FOUR_GIB]
    room = next((entry for entry in reversed(low) if entry.end - entry.start > 2 * size), None)
    if room is None:
        return False
    start = room.end // PAGE * PAGE - size
    at = spec.e820.index(room)
    spec.e820[at : at + 1] = [MemoryRange(room.start, start), MemoryRange(start, room.end, 3)]
    spec.acpi.base, spec.acpi.size = start, room.end - start
    return True


def _mp_table(memory: PhysicalMemory, spec: MachineSpec) -> None:
    """The MultiProcessor table beside ACPI: one CPU of every package, as the table knows no threads and cores."""
    leaves = {(row[0], row[1]): row[2:] for row in spec.cpus.cpuid[0].rows} if spec.cpus.cpuid else {}
    signature, ebx, _, features = leaves.get((1, 0), (0, 0, 0, 0))
    per_package = max(1, ebx >> 16 & 0xFF) if features >> HT & 1 else 1
    ids = spec.cpus.apic_ids or [place.apic_id for place in spec.cpus.topology()]
    cpus = [apic_id for apic_id in ids if apic_id % per_package == 0 and apic_id < 0xFF]
    ioapics = [IoApicPlace(io.id, io.version, io.address) for io in spec.acpi.ioapics]
    table = build_mp_table(spec.acpi.mp_table, cpus, ioapics, signature, features, spec.acpi.lapic_address)
    memory.write(spec.acpi.mp_table, table)


def _purgatory(memory: PhysicalMemory, spec: MachineSpec, cmdline_bytes: int) -> None:
    """What the kernel before this one left: the regions of the image it loaded, and their digest.

    The made-up kernel and initrd are zeros of their real sizes. A user-space loader chose the order: kernel first.
    """
    address = purgatory.MIN_ADDRESS
    if not any(entry.type == 1 and entry.start <= address < entry.end for entry in spec.e820):
        return
    page, boot = boot_params.BOOT_PARAMS_ADDRESS, spec.boot
    nodes = [(node.address, 16 + node.data_bytes) for node in boot.setup_data]
    regions = [
        (PREF_ADDRESS, boot.init_size),
        (boot.ramdisk_address, boot.ramdisk_bytes),
        (page, boot_params.SIZE),
        (boot.kernel_cmdline_address, cmdline_bytes),
        *nodes,
    ][: purgatory.MAX_REGIONS]
    registers = {"rip": PREF_ADDRESS + 0x200, "rsi": page}
    digest = purgatory.sha256_of_memory(memory, regions)
    memory.write(address, purgatory.build([region for region in regions if region[1]], digest, registers))


def place_acpi_area(spec: MachineSpec) -> None:
    """Give the tables the first ACPI range of the map when the description does not say where they go."""
    if spec.acpi.raw or spec.acpi.base:
        return
    area = next((entry for entry in spec.e820 if entry.type == 3), None)
    if area is None:
        raise InputError(f"{spec.name}: no e820 range of type 3 (ACPI data) to put the tables in")
    spec.acpi.base, spec.acpi.size = area.start, area.end - area.start
