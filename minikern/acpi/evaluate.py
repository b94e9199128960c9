"""Evaluating an object from outside AML, as the kernel does: arguments checked, the result checked and repaired.

Source: drivers/acpi/acpica/nseval.c, nsxfeval.c @ v6.12
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from minikern.acpi.arguments import check_arguments
from minikern.acpi.messages import error
from minikern.acpi.methods import ReturnSignal
from minikern.acpi.operands import behind, element, load_node, resolve
from minikern.acpi.repair import check_return_value
from minikern.acpi.sync import Thread
from minikern.acpi.values import SCALARS, AmlError, IndexRef, NamePath, RefOf, Slot, TableHandle
from minikern.state.namespace import Kind, Node, shown

if TYPE_CHECKING:
    from minikern.acpi.interpreter import Interpreter

RECURSION = 60_000
"""Python frames for the deepest code ACPICA runs: 255 calls of each method, terms within terms."""
_NO_DATA = frozenset({
    Kind.UNTYPED, Kind.DEVICE, Kind.EVENT, Kind.MUTEX, Kind.REGION, Kind.THERMAL, Kind.SCOPE, Kind.ALIAS,
})  # fmt: skip
_METHOD = Kind.METHOD


def evaluate(run: Interpreter, node: Node, args: list[Any]) -> Any:
    """Value of an object, a method called with ``args`` (what is missing has no value); None when it gives none.

    AmlError when it fails.
    """
    check_arguments(run, node, args)
    if node.kind in _NO_DATA:
        text = f"{shown(node.path)}: This object type [{node.kind.value}] never contains data and cannot be evaluated"
        error(run.k, text, {"": "nseval-183"})
        raise AmlError("AE_TYPE", text)
    value = _execute(run, node, args) if node.kind is _METHOD else load_node(run, node)
    value = check_return_value(run, node, value)
    return value if type(value) in SCALARS else external(run, resolved_references(run, value))


def _execute(run: Interpreter, node: Node, args: list[Any]) -> Any:
    count = node.value.arguments
    given = (args + [None] * count)[:count]
    if run.depth:
        return _called(run, node, given)
    with FreshThread(run):
        return _called(run, node, given)


class FreshThread:
    """AML that begins: nothing is held, and terms may nest deeply; what it holds at its end is released."""

    def __init__(self, run: Interpreter) -> None:
        self._run, self._outer, self._limit = run, run.thread, sys.getrecursionlimit()

    def __enter__(self) -> None:
        self._run.thread = Thread()
        if self._limit < RECURSION:
            sys.setrecursionlimit(RECURSION)

    def __exit__(self, *problem: object) -> None:
        if self._limit < RECURSION:
            sys.setrecursionlimit(self._limit)
        self._run.thread.release_all()
        self._run.thread = self._outer


def _called(run: Interpreter, node: Node, args: list[Any]) -> Any:
    try:
        value = run.call(node, args)
    except RecursionError:
        raise AmlError("AE_STACK_OVERFLOW", "terms nest too deeply") from None
    except ReturnSignal as signal:
        value = signal.value
    if value is None or isinstance(value, IndexRef):
        return value
    return resolve(run, value) if isinstance(value, Slot) else value


def resolved_references(run: Interpreter, value: Any) -> Any:
    """What the caller gets for a reference. Source: nsxfeval.c:acpi_ns_resolve_references() @ v6.12"""
    if isinstance(value, IndexRef):
        found = element(run, value.load())
        if found is not None:
            return found
    elif isinstance(value, RefOf):
        return behind(run, value)
    elif isinstance(value, NamePath):
        return element(run, value)
    return value


def external(run: Interpreter, value: Any) -> Any:
    """The value, which must be one that can leave the interpreter, elements of packages included."""
    for item in value if isinstance(value, list) else (value,):
        if isinstance(item, list):
            external(run, item)
        elif type(item) in _CLASSES:
            raise _no_external(run, item)
    return value


_CLASSES: dict[type, str] = {RefOf: "[RefOf] 0x2", IndexRef: "[Index] 0x3", TableHandle: "[DdbHandle] 0x4"}


def _no_external(run: Interpreter, value: IndexRef | RefOf | TableHandle) -> AmlError:
    """Source: drivers/acpi/acpica/utobject.c:acpi_ut_get_simple_object_size() @ v6.12"""
    word = _CLASSES[type(value)]
    text = f"Cannot convert to external object - unsupported Reference Class {word} in object {0:016x}"
    error(run.k, text, {"": "utobject-536"})
    return AmlError("AE_TYPE", text)
