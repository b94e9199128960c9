"""Two firmware versions side by side: what appeared, vanished, moved or changed, and what got dearer."""

from __future__ import annotations

from typing import Any

from minikern.acpi.ids import hardware_ids
from minikern.acpi.interpreter import Interpreter
from minikern.acpi.methods import MethodCode
from minikern.lab.acpi_cost import by_device, measure
from minikern.lab.acpi_source import Opened
from minikern.lab.acpi_tree import summary
from minikern.state.namespace import Kind, Node

MARGIN_NS = 1000  # a device that costs less than this more or less is no news


def difference(a: Opened, b: Opened) -> dict[str, list[dict[str, Any]]]:
    """Rows of what differs, by kind."""
    old, new = _objects(a.run), _objects(b.run)
    gone, came = [path for path in old if path not in new], [path for path in new if path not in old]
    moved = _moved(a.run, b.run, [old[path] for path in gone], [new[path] for path in came])
    places = {row["from"] for row in moved} | {row["to"] for row in moved}
    return {
        "appeared": [_named(new[path]) for path in came if not _below(path, places)],
        "vanished": [_named(old[path]) for path in gone if not _below(path, places)],
        "moved": moved,
        "changed": [row for path in old if path in new for row in _changed(old[path], new[path])],
        "cost": _costs(a, b),
    }


def _objects(run: Interpreter) -> dict[str, Node]:
    return {node.path: node for node in run.namespace.walk()}


def _below(path: str, places: set[str]) -> bool:
    return any(path == place or path.startswith(place + ".") for place in places)


def _named(node: Node) -> dict[str, Any]:
    return {"path": node.path, "type": node.kind.value}


def _moved(a: Interpreter, b: Interpreter, gone: list[Node], came: list[Node]) -> list[dict[str, Any]]:
    """Devices with the same ids and address at another place; those of which there are several are left alone."""
    left, right = _by_identity(a, gone), _by_identity(b, came)
    return [
        {"id": key[0], "from": left[key][0].path, "to": right[key][0].path}
        for key in left
        if key in right and len(left[key]) == len(right[key]) == 1
    ]


def _by_identity(run: Interpreter, nodes: list[Node]) -> dict[tuple[str, str], list[Node]]:
    found: dict[tuple[str, str], list[Node]] = {}
    for node in nodes:
        ids = hardware_ids(run, node) if node.kind is Kind.DEVICE else []
        if ids:
            found.setdefault((ids[0], str(run.evaluate(node, "_UID"))), []).append(node)
    return found


def _changed(old: Node, new: Node) -> list[dict[str, Any]]:
    if old.kind is not new.kind:
        return [{"path": old.path, "from": old.kind.value, "to": new.kind.value}]
    if isinstance(old.value, MethodCode) and isinstance(new.value, MethodCode):
        same = old.value.data[old.value.start : old.value.end] == new.value.data[new.value.start : new.value.end]
        return [] if same else [{"path": old.path, "from": summary(old), "to": summary(new)}]
    before, after = summary(old), summary(new)
    return [{"path": old.path, "from": before, "to": after}] if before != after else []


def _costs(a: Opened, b: Opened) -> list[dict[str, Any]]:
    old = {row["device"]: row["ns"] for row in by_device(measure(a))}
    new = {row["device"]: row["ns"] for row in by_device(measure(b))}
    rows = [
        {"device": device, "from_ns": old.get(device, 0), "to_ns": new.get(device, 0)}
        for device in sorted(old.keys() | new.keys())
        if abs(new.get(device, 0) - old.get(device, 0)) >= MARGIN_NS
    ]
    return sorted(rows, key=lambda row: row["from_ns"] - row["to_ns"])
