"""The namespace as rows: every object, its type, its table, and for devices their ids, status and driver."""

from __future__ import annotations

from typing import Any

from minikern.acpi.drivers import driver_of
from minikern.acpi.evaluate import evaluate
from minikern.acpi.fields import BufferField, FieldUnit
from minikern.acpi.ids import hardware_ids
from minikern.acpi.interpreter import Interpreter
from minikern.acpi.methods import MethodCode
from minikern.acpi.spaces import Region, space_name
from minikern.acpi.sync import Mutex
from minikern.acpi.values import AmlError
from minikern.lab.acpi_source import Opened
from minikern.state.namespace import Kind, Node, shown

WITH_STATUS = (Kind.DEVICE, Kind.PROCESSOR)


def rows(opened: Opened, kind: str = "", below: str = "", details: bool = True) -> list[dict[str, Any]]:
    """The objects in the namespace's order, of one type and below one path where these are given.

    Each has ``path`` (four characters a segment) and ``type`` (ACPICA's word); ``details`` adds the rest.
    """
    start = find(opened.run, below) if below else None
    nodes = ([start] if start is not None and start.parent is not None else []) + list(
        opened.run.namespace.walk(start)
    )
    return [_row(opened.run, node, details) for node in nodes if not kind or node.kind.value.lower() == kind.lower()]


def find(run: Interpreter, path: str) -> Node:
    """The object at a path, with or without the padding and the leading backslash. InputError if there is none."""
    from hw.errors import InputError

    rooted = path if path.startswith("\\") else "\\" + path
    node = run.namespace.find(rooted) if _well_formed(rooted) else None
    if node is None:
        raise InputError(f"{path}: no such object{_nearest(run, rooted)}")
    return node


def _well_formed(path: str) -> bool:
    return all(0 < len(part) <= 4 for part in path.lstrip("\\").split(".")) or path == "\\"


def _nearest(run: Interpreter, path: str) -> str:
    """How far the path does lead, and what is there."""
    node = run.namespace.root
    for part in path.lstrip("\\").split("."):
        below = node.child(part.ljust(4, "_"))
        if below is None:
            break
        node = below
    names = ", ".join(sorted(name.rstrip("_") or name for name in node.children)[:12])
    return f" ({shown(node.path)} has {names or 'nothing'})"


def _row(run: Interpreter, node: Node, details: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"path": node.path, "type": node.kind.value}
    if details:
        row["owner"] = node.owner
        row |= {key: value for key, value in _details(run, node).items() if value not in ("", [], None)}
    return row


def _details(run: Interpreter, node: Node) -> dict[str, Any]:
    if node.kind in WITH_STATUS:
        ids = hardware_ids(run, node)
        driver = "processor" if node.kind is Kind.PROCESSOR else driver_of(ids)
        return {"ids": ids, "status": _status(run, node), "driver": driver}
    return {"value": summary(node)}


def _status(run: Interpreter, node: Node) -> int | None:
    child = node.child("_STA")
    try:
        value = evaluate(run, child, []) if child is not None else None
    except AmlError:
        return None
    return value if isinstance(value, int) else None


def summary(node: Node) -> str:
    """An object's value or make in a few words."""
    value = node.value
    if isinstance(value, MethodCode):
        kind = ", serialized" if value.serialized else ""
        return f"{value.arguments} arguments, {value.end - value.start} bytes{kind}"
    if isinstance(value, Region):
        return f"{space_name(value.space)} {value.offset:#x}, {value.length:#x} bytes"
    if isinstance(value, FieldUnit | BufferField):
        return f"bit {value.bit_offset}, {value.bits} bits"
    if isinstance(value, Mutex):
        return f"level {value.level}"
    if isinstance(value, Node):
        return f"-> {shown(value.path)}"
    return _data(value)


def _data(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:#x}"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, bytearray):
        return f"{len(value)} bytes: {bytes(value[:8]).hex(' ')}{' ...' if len(value) > 8 else ''}"
    return f"{len(value)} elements" if isinstance(value, list) else ""
