"""What is left to do for objects once all tables are loaded: names in packages are resolved.

A package that a method makes is resolved at once.
Source: drivers/acpi/acpica/nsinit.c:acpi_ns_initialize_objects(), dspkginit.c @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minikern.acpi.messages import error
from minikern.acpi.operands import load_node
from minikern.acpi.values import DATA, FIELDS, AmlError, NamePath, NodeRef
from minikern.state.namespace import Kind

if TYPE_CHECKING:
    from minikern.acpi.interpreter import Interpreter


_LATE = frozenset({Kind.PACKAGE, Kind.REGION, Kind.BUFFER_FIELD, Kind.BUFFER})


def init_packages(run: Interpreter) -> None:
    """Resolve the names in every named package, and complain of objects whose operands could not be computed.

    Nothing is looked for where no table has brought either since the last time.
    """
    if not run.unsettled:
        return
    run.unsettled = False
    for node in list(run.namespace.walk(kinds=_LATE)):
        if isinstance(node.value, list):
            init_elements(run, node.value)
        elif node.value is None:
            run.unsettled = True
            what = f"[{node.name}] ({node.kind.value})"
            error(run.k, f"AE_TYPE, Opcode is not deferred {what}", {"": "nsinit-426"})
            error(run.k, f"AE_TYPE, Could not execute arguments for {what}", {"": "nsinit-434"})


def init_elements(run: Interpreter, elements: list[Any]) -> None:
    """Resolve the names among the elements, also of packages within."""
    for position, item in enumerate(elements):
        kind = type(item)
        if kind is list:
            init_elements(run, item)
        elif kind is NamePath and item.node is None and item.value is None:
            elements[position] = _resolved(run, item)


def _resolved(run: Interpreter, item: NamePath) -> Any:
    """What a name stands for: data itself (a later store shows), a field's value now, a reference for the rest."""
    node = run.namespace.find(item.path, item.scope)
    if node is None:
        text = f"AE_NOT_FOUND, While resolving a named reference package element - {item.path}"
        error(run.k, text, {"": "dspkginit-438"})
        return None
    if node.kind is Kind.UNTYPED:
        text = f"Could not resolve named package element [{node.name}] in [{item.scope.name}]"
        error(run.k, text, {"": "dspkginit-456"})
        return None
    if node.kind in FIELDS:
        try:
            return load_node(run, node)
        except AmlError:
            return NodeRef(node)
    if node.kind in DATA or node.kind is Kind.REFERENCE:
        item.share(node)
        return item
    return NodeRef(node)
