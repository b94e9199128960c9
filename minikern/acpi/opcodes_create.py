"""AML opcodes that create named objects or open scopes.

Source: ACPI 6.5 clauses 20.2.5.1 and 20.2.5.2; drivers/acpi/acpica/dswload2.c, excreate.c @ v6.12
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from minikern.acpi.creation import add_object, create, parent_of
from minikern.acpi.messages import error, skipped_block, warning
from minikern.acpi.methods import MethodCode
from minikern.acpi.opcodes_reference import argument
from minikern.acpi.operands import resolve, to_integer, to_string
from minikern.acpi.spaces import DATA_TABLE, Region, valid_space
from minikern.acpi.store import set_object
from minikern.acpi.stream import Frame
from minikern.acpi.sync import Event, Mutex
from minikern.acpi.values import AmlError, ParseError
from minikern.state.namespace import CONTAINERS, Kind, Node

if TYPE_CHECKING:
    from minikern.acpi.interpreter import Interpreter

Handler = Callable[["Interpreter", Frame], Any]
_RETYPED = (Kind.INTEGER, Kind.STRING, Kind.BUFFER)
SERIALIZED = 1 << 3
NAMED_OPCODES = frozenset({
    0x06, 0x08, 0x14, 0x5B01, 0x5B02, 0x5B13, 0x5B80, 0x5B81, 0x5B82, 0x5B83, 0x5B84, 0x5B85, 0x5B86, 0x5B87, 0x5B88,
    0x8A, 0x8B, 0x8C, 0x8D, 0x8F,
})  # fmt: skip


def _pattern(opcodes: frozenset[int]) -> re.Pattern[bytes]:
    """Any of these."""
    one = b"".join(re.escape(bytes([op])) for op in opcodes if op < 0x100)
    two = b"".join(re.escape(bytes([op & 0xFF])) for op in opcodes if op >= 0x100)
    return re.compile(b"(?:[" + one + rb"]|\x5b[" + two + b"])", re.DOTALL)


_CREATES = _pattern(NAMED_OPCODES)


def _name(run: Interpreter, frame: Frame) -> None:
    made = create(run, frame, Kind.UNTYPED)
    if made is None:
        return
    set_object(made, resolve(run, run.term(frame)))


def _alias(run: Interpreter, frame: Frame) -> None:
    """An alias; what it stands for is entered without a type where it is not there.

    Source: drivers/acpi/acpica/excreate.c:acpi_ex_create_alias() @ v6.12
    """
    prefix, segments = frame.name_path()
    made = create(run, frame, Kind.ALIAS)
    source = run.find(frame.scope, prefix, segments)
    if made is None or source is made:
        return
    if source is None:
        parent = parent_of(run, frame.scope, prefix, segments)
        if parent is None:
            raise AmlError("AE_NOT_FOUND", ".".join(segments))
        source = add_object(run, frame, parent, segments[-1], Kind.UNTYPED)
    made.value = source


def _scope(run: Interpreter, frame: Frame) -> None:
    end = frame.package_end()
    prefix, segments = frame.name_path()
    node = run.find(frame.scope, prefix, segments)
    if node is None:
        run.namespace_error(frame.scope, prefix + ".".join(segments), "AE_NOT_FOUND", {"": "dswload2-162"})
        error(run.k, "AE_NOT_FOUND, During name lookup/catalog", {"": "psobject-220"})
        skip_block(run, frame, 0x10, end, "AE_NOT_FOUND")
        return
    _check_scope(run, frame, node, end)
    run.block(frame, end, node)


def skip_block(run: Interpreter, frame: Frame, opcode: int, end: int, status: str) -> None:
    """Leave the body of a block out whose object cannot be made; in a method that ends the method."""
    if not frame.table_level:
        raise AmlError(status, "an object cannot be made", opcode)
    run.k.printk(skipped_block(opcode))
    frame.pos = end


def _check_scope(run: Interpreter, frame: Frame, node: Node, end: int) -> None:
    if node.kind in CONTAINERS or node.kind is Kind.UNTYPED:
        return
    if node.kind in _RETYPED:
        what = f"[{node.name}] had invalid type ({node.kind.value}) for Scope operator, changed to type ANY"
        warning(run.k, f"Type override - {what}", {"": "dswload2-193"})
        node.kind = Kind.UNTYPED
        return
    text = f"Invalid type ({node.kind.value}) for target of Scope operator [{node.name}] (Cannot override)"
    error(run.k, text, {"": "dswload2-219"})
    error(run.k, "AE_AML_OPERAND_TYPE, During name lookup/catalog", {"": "psobject-220"})
    raise ParseError("AE_AML_OPERAND_TYPE", text, 0x10, frame.pos, resume=end)


def _container(kind: Kind, opcode: int, fixed_bytes: int = 0) -> Handler:
    def handler(run: Interpreter, frame: Frame) -> None:
        end = frame.package_end()
        made = create(run, frame, kind)
        if made is None:
            skip_block(run, frame, opcode, end, "AE_ALREADY_EXISTS")
            return
        if fixed_bytes:
            made.value = frame.data[frame.pos : frame.pos + fixed_bytes]
            frame.number(fixed_bytes)
        run.block(frame, end, made)

    return handler


def _method(run: Interpreter, frame: Frame) -> None:
    end = frame.package_end()
    made = create(run, frame, Kind.METHOD)
    if made is None:
        skip_block(run, frame, 0x14, end, "AE_ALREADY_EXISTS")
        return
    flags = frame.byte()
    made.value = MethodCode(
        frame.data,
        frame.pos,
        end,
        flags & 7,
        frame.width,
        serialized=bool(flags & SERIALIZED),
        level=flags >> 4 if flags & SERIALIZED else 0,
        owner=run.owner,
    )
    if not flags & SERIALIZED and run.auto_serialize:
        auto_serialize(made.value)
        run.account.method_bytes += max(0, end - made.value.start) if frame.table_level else 0
    frame.pos = end


def auto_serialize(code: MethodCode) -> None:
    """A method that creates objects can run only once at a time.

    Without another thread nothing follows from it but the sync level, which is ignored.
    """
    code.serialized = code.ignore_level = creates_objects(code.data, code.start, code.end)


def creates_objects(data: bytes, start: int, end: int) -> bool:
    """A glance at a method's bytes: an opcode that creates, anywhere."""
    return _CREATES.search(data, start, end) is not None


def _external(run: Interpreter, frame: Frame) -> None:
    frame.name_path()
    frame.number(2)


def _mutex(run: Interpreter, frame: Frame) -> None:
    made = create(run, frame, Kind.MUTEX)
    if made is not None:
        made.value = Mutex(frame.byte() & 0x0F)


def _event(run: Interpreter, frame: Frame) -> None:
    create(run, frame, Kind.EVENT, Event())


def _region(run: Interpreter, frame: Frame) -> None:
    made = create(run, frame, Kind.REGION)
    if made is None:
        return
    try:
        space = frame.byte()
        operands = argument(run, frame), argument(run, frame)
        length = to_integer(run, operands[1]) & 0xFFFF_FFFF
        _check_space(run, space)
        made.value = Region(space, to_integer(run, operands[0]), length, made)
    except ParseError:
        _unmake(made)  # what its address needs is not there: neither is the region
        raise
    if not length and space < 10:
        warning(run.k, f"Operation Region [{made.name}] has zero length (SpaceId {space:X})", {"": "dsopcode-397"})


def _check_space(run: Interpreter, space: int) -> None:
    if not valid_space(space):
        error(run.k, f"Invalid/unknown Address Space ID: 0x{space:02X}", {"": "excreate-276"})
        raise AmlError("AE_AML_INVALID_SPACE_ID", f"space {space:#x}")


def _unmake(node: Node) -> None:
    if node.parent is not None and node.parent.children.get(node.name) is node:
        del node.parent.children[node.name]


def _data_region(run: Interpreter, frame: Frame) -> None:
    """Source: drivers/acpi/acpica/dsopcode.c:acpi_ds_eval_table_region_operands() @ v6.12"""
    from minikern.acpi.dynamic import find_table

    made = create(run, frame, Kind.REGION)
    if made is None:
        return
    operands = [run.term(frame) for _ in range(3)]
    signature, oem_id, table_id = (to_string(run, item) for item in operands)
    table = find_table(run, signature, oem_id, table_id)
    if table is None or table.data is None:
        text = f"ACPI Table [{signature[:4]:4s}] OEM:({oem_id}, {table_id}) not found in RSDT/XSDT"
        error(run.k, text, {"": "dsopcode-483"})
        raise AmlError("AE_NOT_FOUND", text)
    made.value = Region(DATA_TABLE, table.address, len(table.data), made, table.data)


HANDLERS: dict[int, Handler] = {
    0x06: _alias,
    0x08: _name,
    0x10: _scope,
    0x14: _method,
    0x15: _external,
    0x5B01: _mutex,
    0x5B02: _event,
    0x5B80: _region,
    0x5B82: _container(Kind.DEVICE, 0x5B82),
    0x5B83: _container(Kind.PROCESSOR, 0x5B83, fixed_bytes=6),
    0x5B84: _container(Kind.POWER, 0x5B84, fixed_bytes=3),
    0x5B85: _container(Kind.THERMAL, 0x5B85),
    0x5B88: _data_region,
}
