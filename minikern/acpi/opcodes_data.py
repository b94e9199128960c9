"""AML opcodes that work on strings, buffers, packages and references.

Source: ACPI 6.5 clauses 19.6 and 20.2.5.4
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from minikern.acpi.namespace import Kind, Node
from minikern.acpi.regions import FieldUnit
from minikern.acpi.stream import Frame
from minikern.acpi.values import AmlError, NodeRef, SlotRef, to_buffer, to_integer, to_string

if TYPE_CHECKING:
    from minikern.acpi.interpreter import Interpreter

MAX_STRING = 4096
Handler = Callable[["Interpreter", Frame], Any]


def mask(frame: Frame) -> int:
    """All ones in the width of an integer."""
    return (1 << 8 * frame.width) - 1


def as_reference(target: Node | NodeRef | SlotRef | None) -> Any:
    """What a target operand refers to."""
    return NodeRef(target) if isinstance(target, Node) else target


def _string(run: Interpreter, frame: Frame) -> str:
    return frame.text()


def _buffer(run: Interpreter, frame: Frame) -> bytearray:
    end = frame.package_end()
    outer, frame.end = frame.end, end
    size = run.integer(frame)
    frame.end = outer
    return frame.buffer_tail(size, end)


def _package(run: Interpreter, frame: Frame) -> list[Any]:
    end = frame.package_end()
    return frame.package(frame.byte(), end)


def _var_package(run: Interpreter, frame: Frame) -> list[Any]:
    end = frame.package_end()
    return frame.package(min(run.integer(frame), 0xFFFF), end)


def _index(run: Interpreter, frame: Frame) -> SlotRef:
    source = run.value(run.term(frame))
    if isinstance(source, NodeRef | SlotRef):
        source = run.dereference(source)
    position = run.integer(frame)
    target = run.target(frame)
    container = bytearray(source.encode("latin-1", "replace")) if isinstance(source, str) else source
    if not isinstance(container, list | bytearray):
        raise AmlError("AE_AML_OPERAND_TYPE", "Index needs a package, buffer or string")
    if position >= len(container):
        raise AmlError("AE_AML_PACKAGE_LIMIT", f"index {position} of {len(container)} elements")
    reference = SlotRef(container, position)
    _put_reference(target, reference)
    return reference


def _put_reference(target: Any, reference: Any) -> None:
    if isinstance(target, SlotRef) and isinstance(target.container, list):
        target.container[target.index] = reference


def _deref_of(run: Interpreter, frame: Frame) -> Any:
    value = run.dereference(run.term(frame))
    if value is None:
        raise AmlError("AE_AML_UNINITIALIZED_ELEMENT", "reference to an empty element")
    return value


def _ref_of(run: Interpreter, frame: Frame) -> Any:
    return as_reference(run.target(frame))


def _cond_ref_of(run: Interpreter, frame: Frame) -> int:
    try:
        found = as_reference(run.target(frame))
    except AmlError as problem:
        if problem.status != "AE_NOT_FOUND":
            raise
        found = None
    target = run.target(frame)
    if found is None:
        return 0
    _put_reference(target, found)
    return mask(frame)


def _size_of(run: Interpreter, frame: Frame) -> int:
    value = run.dereference(as_reference(run.target(frame)))
    if isinstance(value, int):
        return frame.width
    if not isinstance(value, str | bytearray | list):
        raise AmlError("AE_AML_OPERAND_TYPE", "SizeOf needs data")
    return len(value)


_OBJECT_TYPES = {Kind.DEVICE: 6, Kind.EVENT: 7, Kind.METHOD: 8, Kind.MUTEX: 9, Kind.REGION: 10, Kind.POWER: 11,
                 Kind.PROCESSOR: 12, Kind.THERMAL: 13}  # fmt: skip


def _object_type(run: Interpreter, frame: Frame) -> int:
    reference = as_reference(run.target(frame))
    if isinstance(reference, NodeRef):
        if isinstance(reference.node.value, FieldUnit):
            return 5
        kind = _OBJECT_TYPES.get(reference.node.kind)
        if kind is not None:
            return kind
    value = run.dereference(reference)
    return {int: 1, str: 2, bytearray: 3, list: 4}.get(type(value), 0)


def _concatenate(run: Interpreter, frame: Frame) -> Any:
    left, right = run.value(run.term(frame)), run.value(run.term(frame))
    result: Any
    if isinstance(left, str):
        result = (left + to_string(right))[:MAX_STRING]
    elif isinstance(left, bytearray):
        result = (left + to_buffer(right, frame.width))[: 1 << 20]
    else:
        result = to_buffer(to_integer(left), frame.width) + to_buffer(to_integer(right), frame.width)
    run.store(result, run.target(frame))
    return result


def _concatenate_resources(run: Interpreter, frame: Frame) -> bytearray:
    left, right = to_buffer(run.value(run.term(frame))), to_buffer(run.value(run.term(frame)))
    result = bytearray(_without_end(left) + _without_end(right) + b"\x79\x00")[: 1 << 20]
    run.store(result, run.target(frame))
    return result


def _without_end(template: bytearray) -> bytes:
    return bytes(template[:-2]) if template[-2:-1] == b"\x79" else bytes(template)


def _mid(run: Interpreter, frame: Frame) -> Any:
    source = run.value(run.term(frame))
    start, count = run.integer(frame), run.integer(frame)
    data = source if isinstance(source, str) else to_buffer(source, frame.width)
    result = data[min(start, len(data)) : min(start + count, len(data))]
    run.store(result, run.target(frame))
    return result


def _convert(change: Callable[[Any, Frame], Any]) -> Handler:
    def handler(run: Interpreter, frame: Frame) -> Any:
        result = change(run.value(run.term(frame)), frame)
        run.store(result, run.target(frame))
        return result

    return handler


def _to_integer_explicit(value: Any, frame: Frame) -> int:
    if isinstance(value, str) and not value.startswith(("0x", "0X")):
        digits = value.strip()
        return int(digits) & mask(frame) if digits.isdecimal() and len(digits) < 24 else 0
    return to_integer(value) & mask(frame)


def _to_string_op(run: Interpreter, frame: Frame) -> str:
    data = to_buffer(run.value(run.term(frame)))
    limit = run.integer(frame)
    text = bytes(data[: min(limit, len(data))]).split(b"\0", 1)[0].decode("latin-1")
    run.store(text, run.target(frame))
    return text


def _match(run: Interpreter, frame: Frame) -> int:
    package = run.value(run.term(frame))
    tests = []
    for _ in range(2):
        test = frame.byte()
        tests.append((test, run.integer(frame)))
    start = run.integer(frame)
    for position, element in enumerate(package if isinstance(package, list) else []):
        value = run.value(element)
        if position >= start and isinstance(value, int) and all(_matches(value, *test) for test in tests):
            return position
    return mask(frame)


def _matches(value: int, test: int, operand: int) -> bool:
    return test == 0 or (
        {1: value == operand, 2: value <= operand, 3: value < operand, 4: value >= operand, 5: value > operand}
    ).get(test, False)


HANDLERS: dict[int, Handler] = {
    0x0D: _string,
    0x11: _buffer,
    0x12: _package,
    0x13: _var_package,
    0x71: _ref_of,
    0x73: _concatenate,
    0x83: _deref_of,
    0x84: _concatenate_resources,
    0x87: _size_of,
    0x88: _index,
    0x89: _match,
    0x8E: _object_type,
    0x96: _convert(lambda value, frame: to_buffer(value, frame.width)),
    0x97: _convert(lambda value, frame: to_string(value, decimal=True)),
    0x98: _convert(lambda value, frame: to_string(value)),
    0x99: _convert(_to_integer_explicit),
    0x9C: _to_string_op,
    0x9E: _mid,
    0x5B12: _cond_ref_of,
}
