"""Operands: what a term gave, resolved to the type an operator needs.

A local or argument is read when the operator runs, a name when it is read; an element of a package is taken out.
Source: drivers/acpi/acpica/exresop.c, exresolv.c, exresnte.c @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minikern.acpi import convert
from minikern.acpi.fields import BufferField, FieldUnit, read_buffer_field, read_field
from minikern.acpi.messages import error
from minikern.acpi.values import (
    SCALARS,
    AmlError,
    IndexRef,
    NamePath,
    NodeRef,
    OperandError,
    RefOf,
    Slot,
    type_name,
)
from minikern.state.namespace import Kind, Node

if TYPE_CHECKING:
    from minikern.acpi.interpreter import Interpreter
    from minikern.acpi.stream import Frame

_PLAIN = frozenset({Kind.INTEGER, Kind.STRING, Kind.BUFFER, Kind.PACKAGE, Kind.REFERENCE})


def load_node(run: Interpreter, node: Node) -> Any:
    """Value of a named object; one that is no data gives a reference.

    Source: drivers/acpi/acpica/exresnte.c:acpi_ex_resolve_node_to_value() @ v6.12
    """
    if node.kind in _PLAIN:
        return node.value
    value = node.value
    if isinstance(value, FieldUnit):
        return read_field(run, value)
    if isinstance(value, BufferField):
        return read_buffer_field(run, value)
    if node.kind is Kind.UNTYPED or (value is None and node.kind in _FIELD_KINDS):
        error(run.k, f"No object attached to node [{node.name}] {pointer(node)}", {"": "exresnte-109"})
        raise AmlError("AE_AML_UNINITIALIZED_NODE", node.path)
    return NodeRef(node)


_FIELD_KINDS = frozenset({Kind.BUFFER_FIELD, Kind.REGION_FIELD, Kind.BANK_FIELD, Kind.INDEX_FIELD})


def pointer(node: Node) -> str:
    """What stands for a kernel address in a line: the kernel shows hashed ones, this is as good a number."""
    total = 0
    for char in node.path:
        total = (total * 31 + ord(char)) & 0xFFFF_FFFF
    return f"{total:016x}"


def element(run: Interpreter, item: Any) -> Any:
    """The value of a package's element: a name in it stands for what it names."""
    if not isinstance(item, NamePath):
        return item
    if item.value is not None:
        return item.value
    node = item.node or run.namespace.find(item.path, item.scope)
    return None if node is None else load_node(run, node)


def slot_value(run: Interpreter, slot: Slot) -> Any:
    """Value of a local or argument. Source: drivers/acpi/acpica/dsmthdat.c:acpi_ds_method_data_get_value() @ v6.12"""
    value = slot.values[slot.index]
    if value is not None:
        return value
    if run.slack:
        slot.value = 0
        return 0
    if slot.argument:
        error(run.k, f"Uninitialized Arg[{slot.index}] at node {0:016x}", {"": "dsmthdat-405"})
        raise OperandError("AE_AML_UNINITIALIZED_ARG", f"Arg{slot.index}")
    raise OperandError("AE_AML_UNINITIALIZED_LOCAL", f"Local{slot.index}")


def resolve(run: Interpreter, operand: Any) -> Any:
    """The value an operator works with. Source: drivers/acpi/acpica/exresolv.c:acpi_ex_resolve_to_value() @ v6.12"""
    if isinstance(operand, Slot):
        return slot_value(run, operand)
    if isinstance(operand, IndexRef) and operand.in_package:
        value = element(run, operand.load())
        if value is None:
            text = f"Attempt to dereference an Index to NULL package element Idx={0:016x}"
            error(run.k, text, {"": "exresolv-180"})
            raise OperandError("AE_AML_UNINITIALIZED_ELEMENT", "element without a value")
        return value
    if operand is None:
        raise AmlError("AE_AML_NO_OPERAND", "a term without a value")
    return operand


def _wrong(run: Interpreter, wanted: str, value: Any, line: int) -> OperandError:
    error(run.k, f"Needed [{wanted}], found [{type_name(value)}] {0:016x}", {"": f"exresop-{line}"})
    return OperandError("AE_AML_OPERAND_TYPE", f"needed {wanted}, found {type_name(value)}")


def to_integer(run: Interpreter, operand: Any) -> int:
    """The operand as an integer."""
    value = operand if isinstance(operand, int) else resolve(run, operand)
    if isinstance(value, int):
        return value
    try:
        return convert.to_integer(value, run.width)
    except convert.ConversionError:
        raise _wrong(run, "Integer/String/Buffer", value, 424) from None


def to_buffer(run: Interpreter, operand: Any) -> bytearray:
    """The operand as a buffer; a buffer is not copied."""
    value = resolve(run, operand)
    try:
        return convert.to_buffer(value, run.width)
    except convert.ConversionError:
        raise _wrong(run, "Integer/String/Buffer", value, 450) from None


def to_string(run: Interpreter, operand: Any) -> str:
    """The operand as a string."""
    value = resolve(run, operand)
    try:
        return convert.to_string(value, run.width)
    except convert.ConversionError:
        raise _wrong(run, "Integer/String/Buffer", value, 477) from None


def to_compute_data(run: Interpreter, operand: Any) -> int | str | bytearray:
    """The operand, which must be an integer, string or buffer."""
    value = resolve(run, operand)
    if not isinstance(value, SCALARS):
        raise _wrong(run, "Integer/String/Buffer", value, 502)
    return value


def to_complex(run: Interpreter, operand: Any) -> str | bytearray | list[Any]:
    """The operand, which must be a string, buffer or package."""
    value = resolve(run, operand)
    if not isinstance(value, str | bytearray | list):
        raise _wrong(run, "Buffer/String/Package", value, 588)
    return value


def integer(run: Interpreter, frame: Frame) -> int:
    """Execute one term and take its value as an integer."""
    return to_integer(run, run.term(frame))


def reference(run: Interpreter, frame: Frame, calls: bool = True) -> Any:
    """Read a SuperName or target: a place (Node, Slot), a reference, or None for none (a zero).

    A method named there is called, unless only its name is wanted.
    Source: drivers/acpi/acpica/psargs.c:acpi_ps_get_next_arg() @ v6.12
    """
    op = frame.byte()
    if 0x60 <= op <= 0x6E:
        return frame.slot(op)
    if op == 0:
        return None
    frame.pos -= 1
    if op not in frame.name_start:
        return run.term(frame)
    node = run.node(frame)
    if calls and node.kind is Kind.METHOD:
        return run.call(node, run.arguments(frame, node))
    return node


def reference_value(run: Interpreter, target: Any) -> Any:
    """What a SuperName holds now."""
    if isinstance(target, Node):
        return load_node(run, target)
    return resolve(run, target)


def behind(run: Interpreter, ref: RefOf) -> Any:
    """The value a RefOf reference leads to."""
    if isinstance(ref.target, Node):
        return load_node(run, ref.target)
    return ref.target.value
