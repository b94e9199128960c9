"""AML values as plain data, for JSON, and as text that people read."""

from __future__ import annotations

from typing import Any

from minikern.acpi.values import NodeRef, RefOf, type_name
from minikern.state.namespace import Node

PER_LINE = 16


def plain_value(value: Any) -> Any:
    """Integers, strings, lists as they are; ``{"buffer": hex digits}``, ``{"reference": path}``; None for nothing."""
    if isinstance(value, list):
        return [plain_value(item) for item in value]
    if isinstance(value, bytearray | bytes):
        return {"buffer": bytes(value).hex()}
    if value is None or isinstance(value, int | str):
        return value
    return {"reference": reference_path(value)}


def reference_path(value: Any) -> str:
    """Path of the object a reference names."""
    if isinstance(value, NodeRef):
        return value.node.path
    return value.target.path if isinstance(value, RefOf) and isinstance(value.target, Node) else ""


def value_type(value: Any) -> str | None:
    """ACPICA's name of the type; None for no value."""
    if value is None:
        return None
    return type_name(value) if isinstance(value, int | str | bytearray | list) else "Reference"


def value_lines(value: Any, indent: int = 0) -> list[str]:
    """The value as lines."""
    pad = "  " * indent
    if isinstance(value, list):
        lines = [f"{pad}Package ({len(value)})"]
        for item in value:
            lines += value_lines(item, indent + 1)
        return lines
    if isinstance(value, bytearray | bytes):
        return [f"{pad}Buffer ({len(value)})", *_rows(bytes(value), pad)]
    if isinstance(value, int):
        return [f"{pad}{value:#x}" + (f" ({value})" if value > 9 else "")]
    if isinstance(value, str):
        return [f'{pad}"{value}"']
    return [f"{pad}-" if value is None else f"{pad}{reference_path(value)}"]


def _rows(data: bytes, pad: str) -> list[str]:
    return [
        f"{pad}  {start:04X}: {data[start : start + PER_LINE].hex(' ')}" for start in range(0, len(data), PER_LINE)
    ]
