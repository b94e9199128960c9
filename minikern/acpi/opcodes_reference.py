"""AML opcodes for places and references: Store, CopyObject, Index, RefOf, DerefOf, SizeOf, ObjectType.

Source: ACPI 6.5 clause 19.6; drivers/acpi/acpica/exoparg1.c, exoparg2.c, exresolv.c @ v6.12
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from minikern.acpi.messages import bios_error, error
from minikern.acpi.operands import (
    behind,
    element,
    load_node,
    reference,
    resolve,
    slot_value,
    to_complex,
    to_integer,
)
from minikern.acpi.store import By, store
from minikern.acpi.stream import Frame
from minikern.acpi.values import (
    AmlError,
    DebugObject,
    IndexRef,
    NodeRef,
    OperandError,
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

Handler = Callable[["Interpreter", Frame], Any]
_TYPES = {
    Kind.INTEGER: 1, Kind.STRING: 2, Kind.BUFFER: 3, Kind.PACKAGE: 4, Kind.REGION_FIELD: 5, Kind.BANK_FIELD: 5,
    Kind.INDEX_FIELD: 5, Kind.DEVICE: 6, Kind.EVENT: 7, Kind.METHOD: 8, Kind.MUTEX: 9, Kind.REGION: 10,
    Kind.POWER: 11, Kind.PROCESSOR: 12, Kind.THERMAL: 13, Kind.BUFFER_FIELD: 14,
}  # fmt: skip
_DEBUG_TYPE, _TABLE_TYPE = 16, 15
MAX_HOPS = 16
_CLASSES: dict[type, int] = {RefOf: 2, IndexRef: 3, TableHandle: 4}


def _place(op: int) -> Handler:
    return lambda run, frame: frame.slot(op)


def argument(run: Interpreter, frame: Frame) -> Any:
    """One argument of a call: buffers and packages are the caller's own, an element's reference stays one."""
    operand = run.term(frame)
    if isinstance(operand, Slot):
        return slot_value(run, operand)
    if operand is None:
        raise AmlError("AE_AML_NO_OPERAND", "an argument without a value")
    return operand


def _store(run: Interpreter, frame: Frame) -> Any:
    operand = run.term(frame)
    target = reference(run, frame)
    if _same_empty_place(operand, target) and not run.slack:
        return None
    value = operand if isinstance(operand, IndexRef) else resolve(run, operand)
    store(run, value, target, By.STORE)
    return value


def _same_empty_place(operand: Any, target: Any) -> bool:
    """An empty local stored into itself is let pass."""
    if not isinstance(operand, Slot) or not isinstance(target, Slot) or operand.value is not None:
        return False
    return target.values is operand.values and target.index == operand.index


def _copy_object(run: Interpreter, frame: Frame) -> Any:
    operand = run.term(frame)
    target = reference(run, frame, calls=False)
    value = copy(operand if isinstance(operand, IndexRef) else resolve(run, operand))
    store(run, value, target, By.COPY)
    return value


def _index(run: Interpreter, frame: Frame) -> IndexRef:
    """Source: drivers/acpi/acpica/exoparg2.c:acpi_ex_opcode_2A_1T_1R() @ v6.12"""
    at = frame.pos
    source, position = run.term(frame), run.term(frame)
    target = reference(run, frame)
    index = to_integer(run, position)
    container = to_complex(run, source)
    if index >= len(container):
        raise _beyond(run, container, index)
    if isinstance(container, str):
        made = IndexRef(Text(container, _holder(run, frame, source, at)), index)
    else:
        made = IndexRef(container, index)
    store(run, made, target)
    return made


def _beyond(run: Interpreter, container: Any, index: int) -> AmlError:
    kind = {"String": "STRING", "Buffer": "BUFFER"}.get(type_name(container), "PACKAGE")
    status = f"AE_AML_{kind}_LIMIT"
    text = f"{status}, Index (0x{index:016X}) is beyond end of object (length 0x{len(container):X})"
    bios_error(run.k, text, {"": "exoparg2-396"})
    return AmlError(status, text)


def _holder(run: Interpreter, frame: Frame, source: Any, at: int) -> Node | Slot | None:
    """What holds a string that Index points into: the local, or the object its name says."""
    if isinstance(source, Slot):
        return source
    if frame.data[at] not in frame.name_start:
        return None
    behind_name, frame.pos = frame.pos, at
    node = run.find(frame.scope, *frame.name_path())
    frame.pos = behind_name
    return node if node is not None and node.kind is Kind.STRING else None


def _ref_of(run: Interpreter, frame: Frame) -> RefOf:
    return _made_reference(run, reference(run, frame, calls=False))


def _made_reference(run: Interpreter, target: Any) -> RefOf:
    """Source: drivers/acpi/acpica/exmisc.c:acpi_ex_get_object_reference() @ v6.12"""
    if isinstance(target, Node | Slot):
        return RefOf(target)
    if isinstance(target, NodeRef):
        return RefOf(target.node)
    number = _CLASSES.get(type(target))
    if number is not None:
        error(run.k, f"Invalid Reference Class 0x{number:02X}", {"": "exmisc-70"})
    raise AmlError("AE_AML_OPERAND_TYPE", f"no reference to {type_name(target)}")


def _cond_ref_of(run: Interpreter, frame: Frame) -> int:
    found = _existing(run, frame)
    target = reference(run, frame)
    if found is None:
        return 0
    store(run, _made_reference(run, found), target)
    return frame.mask


def _existing(run: Interpreter, frame: Frame) -> Any:
    if frame.pos < frame.end and frame.data[frame.pos] in frame.name_start:
        node = run.find(frame.scope, *frame.name_path())
        return None if node is run.namespace.root else node
    return reference(run, frame, calls=False)


def _deref_of(run: Interpreter, frame: Frame) -> Any:
    before = run.opcodes
    value = reference(run, frame)
    run.opcodes += before == run.opcodes  # a bare name or local is a term here
    if isinstance(value, Node):
        value = value.value
        if not isinstance(value, str | IndexRef | RefOf | NodeRef):
            raise AmlError("AE_AML_OPERAND_TYPE", "DerefOf needs a reference or a name")
    elif isinstance(value, Slot):
        value = slot_value(run, value)
    return dereferenced(run, frame, value)


def dereferenced(run: Interpreter, frame: Frame, value: Any) -> Any:
    """What a reference, or a path in a string, leads to."""
    if isinstance(value, str):
        node = run.namespace.find(value, frame.scope)
        if node is None:
            raise AmlError("AE_NOT_FOUND", value)
        return load_node(run, node)
    if isinstance(value, IndexRef):
        found = element(run, value.load())
        if found is None:
            raise AmlError("AE_AML_UNINITIALIZED_ELEMENT", "reference to an empty element")
        return found
    if isinstance(value, RefOf):
        return behind(run, value)
    if isinstance(value, NodeRef):
        return load_node(run, value.node)
    raise AmlError("AE_AML_OPERAND_TYPE", "DerefOf needs a reference or a name")


def base_object(run: Interpreter, target: Any) -> tuple[int, Any]:
    """Type number and value behind any number of references.

    Source: drivers/acpi/acpica/exresolv.c:acpi_ex_resolve_multiple() @ v6.12
    """
    for _ in range(MAX_HOPS):
        if isinstance(target, Node):
            if target.kind is not Kind.REFERENCE:
                return _node_type(run, target)
            target = target.value
        elif isinstance(target, NodeRef):
            target = target.node
        elif isinstance(target, RefOf):
            target = target.target
        elif isinstance(target, Slot):
            target = target.value
        elif isinstance(target, IndexRef):
            if not target.in_package:
                return 14, target.load()
            target = element(run, target.load())
        else:
            return _data_type(target), target
    raise AmlError("AE_AML_CIRCULAR_REFERENCE", "references go round in a circle")


def _node_type(run: Interpreter, node: Node) -> tuple[int, Any]:
    if node.value is None and node.kind not in (Kind.DEVICE, Kind.THERMAL, Kind.SCOPE):
        error(run.k, f"[{node.name}] Node is unresolved or uninitialized", {"": "exresolv-329"})
        raise AmlError("AE_AML_UNINITIALIZED_NODE", node.path)
    return _TYPES.get(node.kind, 0), node.value


def _data_type(value: Any) -> int:
    if isinstance(value, DebugObject):
        return _DEBUG_TYPE
    if isinstance(value, TableHandle):
        return _TABLE_TYPE
    return {int: 1, str: 2, bytearray: 3, list: 4}.get(type(value), 0)


def _object_type(run: Interpreter, frame: Frame) -> int:
    return base_object(run, reference(run, frame, calls=False))[0]


def _size_of(run: Interpreter, frame: Frame) -> int:
    target = reference(run, frame)
    if isinstance(target, Slot):
        slot_value(run, target)
    number, value = base_object(run, target)
    if isinstance(value, int) and number == 1:
        return frame.width
    if not isinstance(value, str | bytearray | list):
        text = f"Operand must be Buffer/Integer/String/Package - found type {type_name(value)}"
        error(run.k, text, {"": "exoparg1-817"})
        raise OperandError("AE_AML_OPERAND_TYPE", "SizeOf needs data")
    return len(value)


HANDLERS: dict[int, Handler] = {
    **{op: _place(op) for op in range(0x60, 0x6F)},
    0x70: _store,
    0x71: _ref_of,
    0x83: _deref_of,
    0x87: _size_of,
    0x88: _index,
    0x8E: _object_type,
    0x9D: _copy_object,
    0x5B12: _cond_ref_of,
    0x5B31: lambda run, frame: DebugObject(),
}
