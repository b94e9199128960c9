"""Field units: bits of a region, of an index and data register pair, of a banked region, of a buffer.

Source: ACPI 6.5 clause 19.6.48; drivers/acpi/acpica/exfldio.c, exfield.c @ v6.12
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from minikern.acpi.messages import error
from minikern.acpi.spaces import Region, access_region
from minikern.acpi.values import AmlError, get_bits, set_bits
from minikern.state.namespace import Node

if TYPE_CHECKING:
    from minikern.acpi.interpreter import Interpreter

_ACCESS_BITS = {0: 8, 1: 8, 2: 16, 3: 32, 4: 64, 5: 8}  # AccessType of field flags. Source: ACPI 6.5 clause 20.2.5.2
MAX_FIELD_BITS = 1 << 20
CREATE_FIELD_BUFFER = "20191213"  # from this revision on CreateField gives buffers, however short


@dataclass(eq=False, slots=True)
class FieldUnit:
    """Bits of a region (``region``, maybe banked) or of a register pair (``index``, ``data``)."""

    name: str
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
        """Bits of one access."""
        return _ACCESS_BITS.get(self.flags & 0xF, 8)


@dataclass(eq=False, slots=True)
class BufferField:
    """Bits of a buffer; ``free_form`` for those CreateField makes."""

    buffer: bytearray
    bit_offset: int
    bits: int
    free_form: bool = False


def read_field(run: Interpreter, unit: FieldUnit) -> int | bytearray:
    """Value of a field unit, read in accesses of its width: an integer, or a buffer where it is wider than one."""
    number = read_bits(run, unit)
    size = (unit.bits + 7) // 8
    return number if size <= run.width else bytearray(number.to_bytes(size, "little"))


def read_bits(run: Interpreter, unit: FieldUnit) -> int:
    """The bits of a field unit as one number."""
    width = unit.access_bits
    first, last = unit.bit_offset // width, (unit.bit_offset + unit.bits - 1) // width
    value = 0
    for number in range(first, last + 1):
        value |= _read_unit(run, unit, first, number) << (number - first) * width
    return value >> unit.bit_offset % width & ((1 << unit.bits) - 1)


def write_field(run: Interpreter, unit: FieldUnit, value: Any) -> None:
    """Store ``value`` into a field unit, the raw bytes of a buffer or string."""
    write_bits(run, unit, raw_bits(value))


def raw_bits(value: Any) -> int:
    """Source: drivers/acpi/acpica/exfield.c:acpi_ex_write_data_to_field() @ v6.12"""
    if isinstance(value, int):
        return value
    if isinstance(value, bytearray):
        return int.from_bytes(value, "little")
    if isinstance(value, str):
        return int.from_bytes(value.encode("latin-1", "replace"), "little")
    raise AmlError("AE_AML_OPERAND_TYPE", "a field holds an integer, buffer or string")


def write_bits(run: Interpreter, unit: FieldUnit, value: int) -> None:
    """Store a number; the other bits of an access keep, set or clear as the field's update rule says."""
    width = unit.access_bits
    first, last = unit.bit_offset // width, (unit.bit_offset + unit.bits - 1) // width
    shift, full = unit.bit_offset - first * width, (1 << width) - 1
    mask = ((1 << unit.bits) - 1) << shift
    for number in range(first, last + 1):
        at = (number - first) * width
        part_mask = mask >> at & full
        part = value << shift >> at & part_mask
        if part_mask != full:
            part |= _other_bits(run, unit, first, number) & ~part_mask & full
        _write_unit(run, unit, first, number, part)


def _other_bits(run: Interpreter, unit: FieldUnit, first: int, number: int) -> int:
    rule = unit.flags >> 5 & 3  # 0 preserve, 1 write ones, 2 write zeros
    if rule == 0:
        return _read_unit(run, unit, first, number)
    if rule == 3:
        raise AmlError("AE_AML_OPERAND_VALUE", "unknown update rule")
    return (1 << unit.access_bits) - 1 if rule == 1 else 0


def _select(run: Interpreter, unit: FieldUnit, offset: int) -> None:
    if unit.index is not None:
        _write_register(run, unit.index, offset)
    if unit.bank is not None:
        _write_register(run, unit.bank, unit.bank_value)


def _write_register(run: Interpreter, node: Node, value: int) -> None:
    held = node.value
    if not isinstance(held, FieldUnit):
        raise AmlError("AE_AML_OPERAND_TYPE", f"{node.path} is no register")
    if held.bits < 64 and value >> held.bits:
        text = f"Index value 0x{value:016X} overflows field width 0x{held.bits:X}"
        error(run.k, text, {"": "exfldio-317"})
        raise AmlError("AE_AML_REGISTER_LIMIT", text)
    write_bits(run, held, value)


def _read_unit(run: Interpreter, unit: FieldUnit, first: int, number: int) -> int:
    size = unit.access_bits // 8
    _select(run, unit, number * size)
    if unit.data is not None:
        data = unit.data.value
        return read_bits(run, data) & ((1 << unit.access_bits) - 1) if isinstance(data, FieldUnit) else 0
    return access_region(run, _region(unit), unit.name, first * size, (number - first) * size, size, None)


def _write_unit(run: Interpreter, unit: FieldUnit, first: int, number: int, value: int) -> None:
    size = unit.access_bits // 8
    _select(run, unit, number * size)
    if unit.data is not None:
        data = unit.data.value
        if isinstance(data, FieldUnit):
            write_bits(run, data, value & ((1 << data.bits) - 1))
        return
    access_region(run, _region(unit), unit.name, first * size, (number - first) * size, size, value)


def _region(unit: FieldUnit) -> Region:
    region = unit.region.value if unit.region is not None else None
    if not isinstance(region, Region):
        raise AmlError("AE_AML_OPERAND_TYPE", "the field's region is none")
    return region


def read_buffer_field(run: Interpreter, field: BufferField) -> int | bytearray:
    """Value of a buffer field: an integer where it fits into one, else a buffer."""
    value = get_bits(field.buffer, field.bit_offset, field.bits)
    size = (field.bits + 7) // 8
    if size <= run.width and not (field.free_form and run.revision >= CREATE_FIELD_BUFFER):
        return value
    return bytearray(value.to_bytes(size, "little"))


def write_buffer_field(field: BufferField, value: Any) -> None:
    """Store into a buffer field; what is wider than the field is cut."""
    set_bits(field.buffer, field.bit_offset, field.bits, raw_bits(value))
