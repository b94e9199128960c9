"""AML opcodes that create fields: of regions, of register pairs, of banked regions and of buffers.

Source: ACPI 6.5 clause 20.2.5.2; drivers/acpi/acpica/dsfield.c, dsopcode.c @ v6.12
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from minikern.acpi.creation import add_object, parent_of
from minikern.acpi.fields import MAX_FIELD_BITS, BufferField, FieldUnit
from minikern.acpi.messages import bios_error, error
from minikern.acpi.operands import resolve, to_buffer, to_integer
from minikern.acpi.stream import Frame
from minikern.acpi.values import AmlError, ParseError
from minikern.state.namespace import Kind, Node

if TYPE_CHECKING:
    from minikern.acpi.interpreter import Interpreter

Handler = Callable[["Interpreter", Frame], Any]
MAX_OFFSET_BITS = 0xFFFF_FFFF
ACCESS_BITS = 0x07  # of the flags byte


@dataclass(slots=True)
class _Unit:
    """One named element of a field list."""

    name: str
    offset: int
    bits: int
    flags: int
    node: Node | None = None



def _field(run: Interpreter, frame: Frame) -> None:
    end = frame.package_end()
    region = frame.name_path()
    units = field_units(frame, frame.byte(), end, run.term)
    _enter(run, frame, units, Kind.REGION_FIELD)
    owner = _lookup(run, frame, region, "dsfield-500")
    _attach(units, lambda unit: FieldUnit(unit.name, owner, unit.offset, unit.bits, unit.flags))


def _index_field(run: Interpreter, frame: Frame) -> None:
    end = frame.package_end()
    names = frame.name_path(), frame.name_path()
    units = field_units(frame, frame.byte(), end, run.term)
    _enter(run, frame, units, Kind.INDEX_FIELD)
    index, data = (_lookup(run, frame, name, "dsfield-739") for name in names)
    _attach(units, lambda unit: FieldUnit(unit.name, None, unit.offset, unit.bits, unit.flags, index, data))


def _bank_field(run: Interpreter, frame: Frame) -> None:
    end = frame.package_end()
    names = frame.name_path(), frame.name_path()
    value = to_integer(run, run.term(frame))
    units = field_units(frame, frame.byte(), end, run.term)
    _enter(run, frame, units, Kind.BANK_FIELD)
    region, bank = (_lookup(run, frame, name, "dsfield-634") for name in names)

    def made(unit: _Unit) -> FieldUnit:
        return FieldUnit(unit.name, region, unit.offset, unit.bits, unit.flags, bank=bank, bank_value=value)

    _attach(units, made)


def _lookup(run: Interpreter, frame: Frame, name: tuple[str, list[str]], line: str) -> Node:
    node = run.find(frame.scope, *name)
    if node is None:
        run.namespace_error(frame.scope, name[0] + ".".join(name[1]), "AE_NOT_FOUND", {"": line})
        raise AmlError("AE_NOT_FOUND", ".".join(name[1]))
    return node


def field_units(frame: Frame, flags: int, end: int, evaluate: Callable[[Frame], Any]) -> list[_Unit]:
    """The elements of a field list, up to ``end``; ``evaluate`` reads a connection's term."""
    offset = 0
    found: list[_Unit] = []
    while frame.pos < end:
        lead = frame.byte()
        if lead == 0x00:
            offset += frame.field_bits()
        elif lead in (0x01, 0x03):
            flags = flags & ~ACCESS_BITS | frame.byte() & ACCESS_BITS
            frame.number(1 if lead == 0x01 else 2)
        elif lead == 0x02:
            _connection(frame, evaluate)
        else:
            frame.pos -= 1
            name = frame.segment()
            bits = frame.field_bits()
            found.append(_Unit(name, offset, bits, flags))
            offset += bits
        if offset > MAX_OFFSET_BITS:
            raise ParseError("AE_SUPPORT", f"field offset {offset} bits", lead, frame.pos, resume=end)
    frame.pos = end
    return found


def _connection(frame: Frame, evaluate: Callable[[Frame], Any]) -> None:
    if frame.pos < frame.end and frame.data[frame.pos] in frame.name_start:
        frame.name_path()
    else:
        evaluate(frame)


def _enter(run: Interpreter, frame: Frame, units: list[_Unit], kind: Kind) -> None:
    """Names first, objects after: a name that is taken keeps its object.

    Source: drivers/acpi/acpica/dsfield.c:acpi_ds_init_field_objects() @ v6.12
    """
    for unit in units:
        if unit.name in frame.scope.children:
            run.namespace_error(frame.scope, unit.name, "AE_ALREADY_EXISTS", {"": "dsfield-184"})
        else:
            unit.node = add_object(run, frame, frame.scope, unit.name, kind)


def _attach(units: list[_Unit], made: Callable[[_Unit], FieldUnit]) -> None:
    for unit in units:
        if unit.node is None:
            continue
        if not 0 < unit.bits <= MAX_FIELD_BITS:
            raise AmlError("AE_AML_OPERAND_VALUE", f"field unit of {unit.bits} bits")
        unit.node.value = made(unit)


def _create_field(bits: int) -> Handler:
    def handler(run: Interpreter, frame: Frame) -> None:
        source, position = run.term(frame), run.term(frame)
        width = run.term(frame) if bits == 0 else bits
        name = frame.name_path()
        made = _new_buffer_field(run, frame, name)
        count, at = to_integer(run, width) & 0xFFFF_FFFF, to_integer(run, position) & 0xFFFF_FFFF
        buffer = to_buffer(run, resolve(run, source))
        _check_span(run, made, at if bits < 8 else 8 * at, count, buffer)
        made.value = BufferField(buffer, at if bits < 8 else 8 * at, count, free_form=bits == 0)

    return handler


def _new_buffer_field(run: Interpreter, frame: Frame, name: tuple[str, list[str]]) -> Node:
    prefix, segments = name
    parent = parent_of(run, frame.scope, prefix, segments)
    if parent is not None and segments and segments[-1] not in parent.children:
        return add_object(run, frame, parent, segments[-1], Kind.BUFFER_FIELD)
    status = "AE_NOT_FOUND" if parent is None else "AE_ALREADY_EXISTS"
    run.namespace_error(frame.scope, prefix + ".".join(segments), status, {"": "dsfield-184"})
    error(run.k, f"{status}, CreateBufferField failure", {"": "dswload2-477"})
    raise AmlError(status, ".".join(segments))


def _check_span(run: Interpreter, node: Node, at: int, count: int, buffer: bytearray) -> None:
    """Source: drivers/acpi/acpica/dsopcode.c:acpi_ds_init_buffer_field() @ v6.12"""
    if count == 0:
        bios_error(run.k, "Attempt to CreateField of length zero", {"": "dsopcode-133"})
        raise AmlError("AE_AML_OPERAND_VALUE", "a field of no bits")
    size = 8 * len(buffer)
    if at + count > size:
        where = f"Field [{node.name}] at bit offset/length {at}/{count} exceeds size of target Buffer ({size} bits)"
        bios_error(run.k, f"AE_AML_BUFFER_LIMIT, {where}", {"": "dsopcode-198"})
        raise AmlError("AE_AML_BUFFER_LIMIT", where)


HANDLERS: dict[int, Handler] = {
    0x8A: _create_field(32),
    0x8B: _create_field(16),
    0x8C: _create_field(8),
    0x8D: _create_field(1),
    0x8F: _create_field(64),
    0x5B13: _create_field(0),
    0x5B81: _field,
    0x5B86: _index_field,
    0x5B87: _bank_field,
}
