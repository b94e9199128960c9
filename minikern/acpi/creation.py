"""Making a named object: its place must exist and be free.

Source: drivers/acpi/acpica/dswload2.c:acpi_ds_load2_begin_op(), nsaccess.c:acpi_ns_lookup() @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minikern.acpi.messages import error
from minikern.acpi.stream import Frame
from minikern.acpi.values import AmlError
from minikern.state.namespace import Kind, Node, resolve

if TYPE_CHECKING:
    from minikern.acpi.interpreter import Interpreter


def create(run: Interpreter, frame: Frame, kind: Kind, value: Any = None) -> Node | None:
    """Create the object whose name comes next.

    None, after ACPICA's lines, when its place is taken or missing and a table is loaded; a method ends with AmlError.
    """
    prefix, segments = frame.name_path()
    parent = parent_of(run, frame.scope, prefix, segments)
    if parent is not None and segments and segments[-1] not in parent.children:
        return add_object(run, frame, parent, segments[-1], kind, value)
    status = "AE_NOT_FOUND" if parent is None else "AE_ALREADY_EXISTS"
    name = prefix + ".".join(segments)
    if parent is None:
        run.k.printk(f"ACPI BIOS Error (bug): Object does not exist: {_missing(run, frame.scope, prefix, segments)}")
    run.namespace_error(frame.scope, name, status, {"20190703": "dswload2-323", "": "dswload2-326"})
    error(run.k, f"{status}, During name lookup/catalog", {"": "psobject-220"})
    if not frame.table_level:
        raise AmlError(status, name, offset=frame.pos)
    return None


def add_object(run: Interpreter, frame: Frame, parent: Node, name: str, kind: Kind, value: Any = None) -> Node:
    """Put a new object into the namespace."""
    made = Node(name, parent, kind, value)
    made.owner = run.owner
    parent.children[name] = made
    run.namespace.grows(parent)
    run.objects += 1
    run.changes += 1
    if frame.created is not None:
        frame.created.append(made)
    return made


def parent_of(run: Interpreter, scope: Node, prefix: str, segments: list[str]) -> Node | None:
    """Where an object of that name would be."""
    if len(segments) == 1 and not prefix:
        return scope
    node = run.namespace.root if prefix.startswith("\\") else scope
    if not prefix.startswith("\\"):
        for _ in prefix:
            node = node.parent or node
    return resolve(run.namespace.lookup(node, segments[:-1], search=False))


def _missing(run: Interpreter, scope: Node, prefix: str, segments: list[str]) -> str:
    """The first segment of a path that is not there."""
    for number in range(1, len(segments)):
        if parent_of(run, scope, prefix, [*segments[:number], ""]) is None:
            return segments[number - 1]
    return segments[0] if segments else ""
