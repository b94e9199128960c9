"""AML opcodes that create named objects or open scopes.

Source: ACPI 6.5 clauses 20.2.5.1 and 20.2.5.2
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from minikern.acpi.messages import bios_error, error
from minikern.acpi.namespace import CONTAINERS, Kind, Node, shown
from minikern.acpi.regions import MAX_FIELD_BITS, BufferField, FieldUnit, Region
from minikern.acpi.stream import NAME_START, Frame
from minikern.acpi.values import AmlError, NodeRef, SlotRef, to_buffer

if TYPE_CHECKING:
    from minikern.acpi.interpreter import Interpreter

Handler = Callable[["Interpreter", Frame], Any]


def _name(run: Interpreter, frame: Frame) -> None:
    made = run.create(frame, Kind.UNTYPED)
    value = run.value(run.term(frame))
    if made is not None:
        run.set_object(made, value)


def _alias(run: Interpreter, frame: Frame) -> None:
    at = frame.pos
    prefix, segments = frame.name_path()
    source = run.find(frame.scope, prefix, segments)
    if source is None:
        frame.name_path()
        raise AmlError("AE_NOT_FOUND", prefix + ".".join(segments), offset=at)
    run.create(frame, Kind.ALIAS, source)


def _scope(run: Interpreter, frame: Frame) -> None:
    end = frame.package_end()
    prefix, segments = frame.name_path()
    node = run.find(frame.scope, prefix, segments)
    if node is None:
        name = prefix + ".".join(segments)
        where = shown(frame.scope.path, name)
        bios_error(run.k, f"Could not resolve symbol [{where}], AE_NOT_FOUND", {"": "dswload2-162"})
        error(run.k, "AE_NOT_FOUND, During name lookup/catalog", {"": "psobject-220"})
        frame.pos = end
        return
    if node.kind not in CONTAINERS and node.kind not in (Kind.INTEGER, Kind.STRING, Kind.BUFFER):
        raise AmlError("AE_AML_OPERAND_TYPE", f"{node.path} opens no scope", 0x10, frame.pos)
    run.block(frame, end, node)


def _container(kind: Kind, fixed_bytes: int = 0) -> Handler:
    def handler(run: Interpreter, frame: Frame) -> None:
        end = frame.package_end()
        made = run.create(frame, kind)
        if made is None:
            frame.pos = end
            return
        if fixed_bytes:
            made.value = frame.data[frame.pos : frame.pos + fixed_bytes]
            frame.number(fixed_bytes)
        run.block(frame, end, made)

    return handler


def _method(run: Interpreter, frame: Frame) -> None:
    from minikern.acpi.interpreter import MethodCode

    end = frame.package_end()
    made = run.create(frame, Kind.METHOD)
    flags = frame.byte()
    if made is not None:
        made.value = MethodCode(frame.data, frame.pos, end, flags & 7, frame.width)
    frame.pos = end


def _external(run: Interpreter, frame: Frame) -> None:
    frame.name_path()
    frame.number(2)


def _mutex(run: Interpreter, frame: Frame) -> None:
    run.create(frame, Kind.MUTEX)
    frame.byte()


def _event(run: Interpreter, frame: Frame) -> None:
    run.create(frame, Kind.EVENT)


def _region(run: Interpreter, frame: Frame) -> None:
    made = run.create(frame, Kind.REGION)
    space = frame.byte()
    offset, length = run.integer(frame), run.integer(frame)
    if made is not None:
        made.value = Region(space, offset, length, made)


def _data_region(run: Interpreter, frame: Frame) -> None:
    run.create(frame, Kind.REGION)
    for _ in range(3):
        run.term(frame)


def _field(run: Interpreter, frame: Frame) -> None:
    end = frame.package_end()
    region = run.node(frame)
    flags = frame.byte()
    _units(run, frame, end, Kind.REGION_FIELD, flags, region=region)


def _index_field(run: Interpreter, frame: Frame) -> None:
    end = frame.package_end()
    index, data = run.node(frame), run.node(frame)
    flags = frame.byte()
    _units(run, frame, end, Kind.INDEX_FIELD, flags, index=index, data=data)


def _bank_field(run: Interpreter, frame: Frame) -> None:
    end = frame.package_end()
    region, bank = run.node(frame), run.node(frame)
    value = run.integer(frame)
    flags = frame.byte()
    _units(run, frame, end, Kind.BANK_FIELD, flags, region=region, bank=bank, bank_value=value)


def _units(
    run: Interpreter,
    frame: Frame,
    end: int,
    kind: Kind,
    flags: int,
    region: Node | None = None,
    index: Node | None = None,
    data: Node | None = None,
    bank: Node | None = None,
    bank_value: int = 0,
) -> None:
    """The elements of a field list; names become objects of the current scope."""
    offset = 0
    outer, frame.end = frame.end, end
    while frame.pos < end:
        lead = frame.data[frame.pos]
        if lead in NAME_START:
            prefix, segments = frame.name_path()
            bits = frame.field_bits()
            unit = FieldUnit(region, offset, bits, flags, index, data, bank, bank_value)
            _add_unit(run, frame, prefix, segments, kind, unit)
            offset += bits
            continue
        frame.byte()
        if lead == 0x00:
            offset += frame.field_bits()
        elif lead in (0x01, 0x03):
            flags = flags & ~0xF | frame.byte() & 0xF
            frame.number(1 if lead == 0x01 else 2)
        elif lead == 0x02:
            _connection(run, frame)
        else:
            raise AmlError("AE_AML_BAD_OPCODE", "unknown field element", lead, frame.pos - 1)
        if offset > MAX_FIELD_BITS << 8:
            raise AmlError("AE_AML_REGION_LIMIT", f"field offset {offset} bits", lead, frame.pos)
    frame.end = outer


def _add_unit(
    run: Interpreter, frame: Frame, prefix: str, segments: list[str], kind: Kind, unit: FieldUnit
) -> None:
    if prefix or len(segments) != 1 or not 0 < unit.bits <= MAX_FIELD_BITS:
        raise AmlError("AE_AML_BAD_NAME", f"field unit of {unit.bits} bits", offset=frame.pos)
    if segments[0] in frame.scope.children:
        path = shown(frame.scope.path, segments[0])
        bios_error(run.k, f"Failure creating named object [{path}], AE_ALREADY_EXISTS", {"": "dsfield-184"})
        return
    run.add(frame, frame.scope, segments[0], kind, unit)


def _connection(run: Interpreter, frame: Frame) -> None:
    if frame.pos < frame.end and frame.data[frame.pos] in NAME_START:
        frame.name_path()
    else:
        run.term(frame)


def _create_field(bits: int) -> Handler:
    def handler(run: Interpreter, frame: Frame) -> None:
        source = run.value(run.term(frame))
        position = run.integer(frame)
        width = bits
        if bits == 0:
            width = run.integer(frame)
        elif bits != 1:
            position *= 8
        buffer = run.dereference(source) if isinstance(source, NodeRef | SlotRef) else source
        if not isinstance(buffer, bytearray):
            buffer = to_buffer(buffer)
        if width <= 0 or position + width > 8 * len(buffer):
            at = frame.pos
            frame.name_path()
            raise AmlError("AE_AML_BUFFER_LIMIT", f"bits {position}+{width} of {8 * len(buffer)}", offset=at)
        run.create(frame, Kind.BUFFER_FIELD, BufferField(buffer, position, width))

    return handler


HANDLERS: dict[int, Handler] = {
    0x06: _alias,
    0x08: _name,
    0x10: _scope,
    0x14: _method,
    0x15: _external,
    0x8A: _create_field(32),
    0x8B: _create_field(16),
    0x8C: _create_field(8),
    0x8D: _create_field(1),
    0x8F: _create_field(64),
    0x5B01: _mutex,
    0x5B02: _event,
    0x5B13: _create_field(0),
    0x5B80: _region,
    0x5B81: _field,
    0x5B82: _container(Kind.DEVICE),
    0x5B83: _container(Kind.PROCESSOR, fixed_bytes=6),
    0x5B84: _container(Kind.POWER, fixed_bytes=3),
    0x5B85: _container(Kind.THERMAL),
    0x5B86: _index_field,
    0x5B87: _bank_field,
    0x5B88: _data_region,
}
