"""Stores: what an operator does with its result.

The destination's type decides: named data keeps its type and converts, a local takes anything, a field takes raw bits.
Source: drivers/acpi/acpica/exstore.c, exstoren.c, exstorob.c @ v6.12
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from minikern.acpi import convert
from minikern.acpi.fields import BufferField, FieldUnit, write_buffer_field, write_field
from minikern.acpi.messages import error
from minikern.acpi.values import (
    KINDS,
    SCALARS,
    AmlError,
    DebugObject,
    IndexRef,
    RefOf,
    Slot,
    TableHandle,
    Text,
    copy,
    type_name,
)
from minikern.state.namespace import Kind, Node

if TYPE_CHECKING:
    from minikern.acpi.interpreter import Interpreter


class By(Enum):
    """The operator that stores; they differ in what they convert."""

    STORE = "Store"
    COPY = "CopyObject"
    RESULT = "a target operand"
    FIXED = "a target operand that keeps its result's type"


_NO_TARGET = frozenset({
    Kind.DEVICE, Kind.EVENT, Kind.MUTEX, Kind.REGION, Kind.POWER, Kind.PROCESSOR, Kind.THERMAL,
})  # fmt: skip
_CONVERTED = frozenset({Kind.INTEGER, Kind.STRING, Kind.BUFFER})


def store(run: Interpreter, value: Any, target: Any, by: By = By.RESULT) -> None:
    """Store into what :func:`operands.reference` gave; None swallows it."""
    run.changes += 1
    if target is None:
        return
    if isinstance(value, int) and value > 0xFFFF_FFFF and run.width == 4 and not _is_field(target):
        value &= 0xFFFF_FFFF
    if isinstance(target, Node):
        store_node(run, target, value, by)
    elif isinstance(target, Slot):
        store_slot(run, target, value)
    elif isinstance(target, IndexRef):
        store_index(run, target, value)
    elif isinstance(target, RefOf) or not isinstance(target, DebugObject | int):
        raise _no_target(run, target)


def _is_field(target: Any) -> bool:
    return isinstance(target, Node) and isinstance(target.value, FieldUnit | BufferField)


def _no_target(run: Interpreter, target: Any) -> AmlError:
    text = f"Target is not a Reference or Constant object - {type_name(target)} [{0:016x}]"
    error(run.k, text, {"": "exstore-113"})
    return AmlError("AE_AML_OPERAND_TYPE", text)


def store_slot(run: Interpreter, slot: Slot, value: Any) -> None:
    """Store into a local or argument; an argument that came by RefOf is written through.

    Source: drivers/acpi/acpica/dsmthdat.c:acpi_ds_store_object_to_local() @ v6.12
    """
    held = slot.values[slot.index]
    if slot.argument and isinstance(held, RefOf):
        if isinstance(held.target, Node):
            store_node(run, held.target, value, By.COPY)
        else:
            held.target.value = copy(value)
        return
    if held is not value or value is None:
        slot.values[slot.index] = copy(value)


def store_index(run: Interpreter, place: IndexRef, value: Any) -> None:
    """Store into an element or byte. Source: drivers/acpi/acpica/exstore.c:acpi_ex_store_object_to_index() @ v6.12"""
    container, at = place.container, place.index
    if isinstance(container, list):
        if at < len(container):
            container[at] = copy(value)
        return
    byte = _low_byte(run, value)
    if isinstance(container, Text):
        container.put(at, byte)
    elif at < len(container):
        container[at] = byte


def _low_byte(run: Interpreter, value: Any) -> int:
    if isinstance(value, int):
        return value & 0xFF
    if isinstance(value, str):
        return ord(value[0]) & 0xFF if value else 0
    if isinstance(value, bytearray):
        return value[0] if value else 0
    error(run.k, f"Source must be type [Integer/Buffer/String], found [{type_name(value)}]", {"": "exstore-345"})
    raise AmlError("AE_AML_OPERAND_TYPE", "a byte cannot hold it")


def store_node(run: Interpreter, node: Node, value: Any, by: By) -> None:
    """Store into a named object. Source: drivers/acpi/acpica/exstore.c:acpi_ex_store_object_to_node() @ v6.12"""
    if by is not By.COPY:
        _check_target(run, node, value, by)
    held = node.value
    if isinstance(value, TableHandle) and node.kind in _CONVERTED:
        set_object(node, value)
    elif isinstance(held, FieldUnit):
        write_field(run, held, _plain_source(run, node, value))
    elif isinstance(held, BufferField):
        write_buffer_field(held, _plain_source(run, node, value))
    elif node.kind in _CONVERTED and by is not By.COPY:
        _convert_into(run, node, _plain_source(run, node, value), by)
    else:
        set_object(node, copy(value))


def _check_target(run: Interpreter, node: Node, value: Any, by: By) -> None:
    if node.kind is Kind.PACKAGE and by is By.STORE:
        if isinstance(value, list):
            return
        text = f"Cannot assign type [{type_name(value)}] to [Package] (source must be type Pkg)"
    elif node.kind in _NO_TARGET or node.kind is Kind.PACKAGE:
        text = f"Target must be [Buffer/Integer/String/Reference], found [{node.kind.value}] ({node.name})"
    else:
        return
    error(run.k, text, {"": "exstore-416"})
    raise AmlError("AE_AML_TARGET_TYPE", text)


def _plain_source(run: Interpreter, node: Node, value: Any) -> Any:
    """Source: drivers/acpi/acpica/exstoren.c:acpi_ex_resolve_object() @ v6.12"""
    if isinstance(value, SCALARS):
        return value
    text = f"Cannot assign type [{type_name(value)}] to [{node.kind.value}] (must be type Int/Str/Buf)"
    error(run.k, text, {"": "exstoren-114"})
    raise AmlError("AE_AML_OPERAND_TYPE", text)


def _convert_into(run: Interpreter, node: Node, value: int | str | bytearray, by: By) -> None:
    if by is By.FIXED and KINDS[type(value)] is not node.kind:
        return set_object(node, copy(value))
    if node.kind is Kind.INTEGER:
        node.value = convert.to_integer(value, run.width) & ((1 << 8 * run.width) - 1)
    elif node.kind is Kind.STRING:
        node.value = convert.to_string(value, run.width)
    else:
        _fill_buffer(node, convert.to_buffer(value, run.width))
    return None


def _fill_buffer(node: Node, data: bytearray) -> None:
    """A buffer keeps its length, unless it has none. Source: exstorob.c:acpi_ex_store_buffer_to_buffer() @ v6.12"""
    held = node.value
    if isinstance(held, bytearray) and held:
        held[:] = data[: len(held)].ljust(len(held), b"\0")
    else:
        node.value = bytearray(data)


def set_object(node: Node, value: Any) -> None:
    """Make ``node`` an object of the value's own type; package elements that shared the old one keep it."""
    for element in node.shared or ():
        element.keep(node.value)
    node.shared = None
    node.value = value
    node.kind = KINDS.get(type(value), Kind.REFERENCE)
