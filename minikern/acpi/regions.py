"""Operation regions and field units: where AML meets the hardware."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hw.errors import BusError
from minikern.acpi.namespace import Kind, Node
from minikern.acpi.values import get_bits, set_bits, to_integer

if TYPE_CHECKING:
    from minikern.acpi.interpreter import Interpreter

MEMORY, IO, PCI_CONFIG = 0, 1, 2  # address space ids. Source: ACPI 6.5 clause 5.5.2.4
_ACCESS_BITS = {0: 8, 1: 8, 2: 16, 3: 32, 4: 64, 5: 8}  # AccessType of field flags. Source: ACPI 6.5 clause 20.2.5.2
CONFIG_ADDRESS, CONFIG_DATA = 0xCF8, 0xCFC
PCI_HEADER_TYPE, PCI_SECONDARY_BUS = 0x0E, 0x19
MAX_FIELD_BITS = 1 << 20


@dataclass(slots=True)
class Region:
    """An operation region: ``space``, byte ``offset`` in it, ``length`` in bytes."""

    space: int
    offset: int
    length: int
    node: Node


@dataclass(slots=True)
class FieldUnit:
    """Bits of a region, of an index/data register pair, or of a banked region."""

    region: Node | None
    bit_offset: int
    bits: int
    flags: int
    index: Node | None = None
    data: Node | None = None
    bank: Node | None = None
    bank_value: int = 0

    @property
    def access_bits(self) -> int:
        return _ACCESS_BITS.get(self.flags & 0xF, 8)


@dataclass(slots=True)
class BufferField:
    """Bits of a buffer."""

    buffer: bytearray
    bit_offset: int
    bits: int


def read_field(run: Interpreter, unit: FieldUnit) -> int:
    """Value of a field unit, read from the hardware in accesses of its width."""
    return _assemble(unit, lambda number: _read_unit(run, unit, number))


def _assemble(unit: FieldUnit, read: Any) -> int:
    width = unit.access_bits
    first, last = unit.bit_offset // width, (unit.bit_offset + unit.bits - 1) // width
    value = 0
    for number in range(first, last + 1):
        value |= read(number) << (number - first) * width
    return value >> unit.bit_offset % width & ((1 << unit.bits) - 1)


def write_field(run: Interpreter, unit: FieldUnit, value: int) -> None:
    """Store ``value`` into a field unit; other bits keep, set or clear as the field's update rule says."""
    width = unit.access_bits
    first, last = unit.bit_offset // width, (unit.bit_offset + unit.bits - 1) // width
    total = (last - first + 1) * width
    shift = unit.bit_offset - first * width
    mask = ((1 << unit.bits) - 1) << shift
    rule = unit.flags >> 5 & 3  # 0 preserve, 1 write ones, 2 write zeros
    for number in range(first, last + 1):
        at = (number - first) * width
        part_mask = mask >> at & ((1 << width) - 1)
        part = value << shift >> at & part_mask
        if part_mask != (1 << width) - 1 and total:
            rest = {0: _read_unit, 1: _all_ones}.get(rule, _all_zeros)(run, unit, number)
            part |= rest & ~part_mask & ((1 << width) - 1)
        _write_unit(run, unit, number, part)


def _all_ones(run: Interpreter, unit: FieldUnit, number: int) -> int:
    return (1 << unit.access_bits) - 1


def _all_zeros(run: Interpreter, unit: FieldUnit, number: int) -> int:
    return 0


def _select(run: Interpreter, unit: FieldUnit, offset: int) -> None:
    if unit.index is not None:
        run.store_node(unit.index, offset)
    if unit.bank is not None:
        run.store_node(unit.bank, unit.bank_value)


def _read_unit(run: Interpreter, unit: FieldUnit, number: int) -> int:
    size = unit.access_bits // 8
    _select(run, unit, number * size)
    if unit.data is not None:
        return to_integer(run.load_node(unit.data))
    region = unit.region.value if unit.region is not None else None
    if not isinstance(region, Region):
        return 0
    return read_region(run, region, number * size, size)


def _write_unit(run: Interpreter, unit: FieldUnit, number: int, value: int) -> None:
    size = unit.access_bits // 8
    _select(run, unit, number * size)
    if unit.data is not None:
        run.store_node(unit.data, value)
        return
    region = unit.region.value if unit.region is not None else None
    if isinstance(region, Region):
        write_region(run, region, number * size, size, value)


def read_region(run: Interpreter, region: Region, offset: int, size: int) -> int:
    """One access; spaces without a handler read zero, as does what no address decoder answers."""
    cpu, address = run.k.machine.boot_cpu, region.offset + offset
    try:
        if region.space == MEMORY:
            return int.from_bytes(run.k.machine.bus.read_bytes(address, size), "little")
        if region.space == IO:
            port = {1: cpu.inb, 2: cpu.inw, 4: cpu.inl}.get(size)
            return int(port(address & 0xFFFF)) if port else 0
        if region.space == PCI_CONFIG:
            return _pci_read(run, _pci_address(run, region.node), address, size)
    except BusError:
        pass
    return 0


def write_region(run: Interpreter, region: Region, offset: int, size: int, value: int) -> None:
    """One access; spaces without a handler take it and do nothing."""
    cpu, address = run.k.machine.boot_cpu, region.offset + offset
    try:
        if region.space == MEMORY:
            run.k.machine.bus.write_bytes(address, value.to_bytes(size, "little"))
        elif region.space == IO:
            port = {1: cpu.outb, 2: cpu.outw, 4: cpu.outl}.get(size)
            if port:
                port(address & 0xFFFF, value)
        elif region.space == PCI_CONFIG:
            _pci_write(run, _pci_address(run, region.node), address, size, value)
    except BusError:
        pass


def _pci_address(run: Interpreter, node: Node) -> int:
    """Configuration address (bus and devfn fields) of the device a region belongs to.

    Source: drivers/acpi/acpica/hwpci.c:acpi_hw_derive_pci_id() @ v6.12
    """
    chain: list[Node] = []
    scope: Node | None = node.parent
    while scope is not None:
        if scope.kind is Kind.DEVICE:
            if run.is_pci_root(scope):
                break
            if "_ADR" in scope.children:
                chain.append(scope)
        scope = scope.parent
    bus = 0
    if scope is not None and "_BBN" in scope.children:
        bus = to_integer(run.evaluate(scope, "_BBN", 0)) & 0xFF
    place = bus << 16
    for device in reversed(chain):
        adr = to_integer(run.evaluate(device, "_ADR", 0))
        place = bus << 16 | (adr >> 16 & 0x1F) << 11 | (adr & 7) << 8
        if device is not chain[0] and _pci_read(run, place, PCI_HEADER_TYPE, 1) & 0x7F in (1, 2):
            bus = _pci_read(run, place, PCI_SECONDARY_BUS, 1)
    return place


def _pci_read(run: Interpreter, place: int, register: int, size: int) -> int:
    cpu = run.k.machine.boot_cpu
    cpu.outl(CONFIG_ADDRESS, 1 << 31 | place | register & 0xFC)
    value = int(cpu.inl(CONFIG_DATA))
    return value >> 8 * (register & 3) & ((1 << 8 * size) - 1)


def _pci_write(run: Interpreter, place: int, register: int, size: int, value: int) -> None:
    cpu = run.k.machine.boot_cpu
    cpu.outl(CONFIG_ADDRESS, 1 << 31 | place | register & 0xFC)
    port = {1: cpu.outb, 2: cpu.outw, 4: cpu.outl}.get(size)
    if port:
        port(CONFIG_DATA + (register & 3), value)


def read_buffer_field(field: BufferField) -> int | bytearray:
    """Value of a buffer field: an integer up to 64 bits, a buffer beyond."""
    value = get_bits(field.buffer, field.bit_offset, field.bits)
    return value if field.bits <= 64 else bytearray(value.to_bytes((field.bits + 7) // 8, "little"))


def write_buffer_field(field: BufferField, value: Any) -> None:
    """Store into a buffer field; a buffer wider than the field is cut."""
    number = int.from_bytes(value, "little") if isinstance(value, bytearray | bytes) else to_integer(value)
    set_bits(field.buffer, field.bit_offset, field.bits, number)
