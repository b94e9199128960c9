"""What well-known names return, in words: resources, interrupt routing, idle and performance states, ids, status.

Source: ACPI 6.5 clauses 6.1, 6.2 and 8.4
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minikern.acpi.ids import hardware_id
from minikern.acpi.resource_text import read_template, resource_line
from minikern.acpi.value_json import reference_path

_STATUS_BITS = ("present", "enabled", "shown", "functioning", "battery")
PIN = "ABCD"


def decoded(name: str, value: Any) -> list[str]:
    """Lines that say what ``name`` returned; none for what has no such form, or a value that is not as it must be."""
    decoder = _DECODERS.get(name)
    if decoder is None:
        return []
    try:
        return decoder(value)
    except (IndexError, TypeError, ValueError, AttributeError, KeyError):
        return []


def _template(value: Any) -> list[str]:
    return [resource_line(resource) for resource in read_template(bytes(value))] if isinstance(value, bytearray) else []


def _routing(value: Any) -> list[str]:
    lines = []
    for address, pin, source, index in value:
        what = f"GSI {index}" if source == 0 or source == "" else f"{_name(source)} index {index}"
        lines.append(f"device {address >> 16:02x} INT{PIN[pin & 3]} -> {what}")
    return lines


def _name(source: Any) -> str:
    return source if isinstance(source, str) else reference_path(source)


def _idle(value: Any) -> list[str]:
    return [f"C{kind}: {_register(place)}, {latency} us, {power} mW" for place, kind, latency, power in value[1:]]


def _register(value: Any) -> str:
    lines = _template(value)
    return lines[0] if lines else "?"


def _performance(value: Any) -> list[str]:
    return [
        f"P{number}: {state[0]} MHz, {state[1]} mW, latency {state[2]} us, control {state[4]:#x}, status {state[5]:#x}"
        for number, state in enumerate(value)
    ]


def _registers(value: Any) -> list[str]:
    return [_register(item) for item in value]


def _id(value: Any) -> list[str]:
    return [hardware_id(item) for item in (value if isinstance(value, list) else [value])]


def _status(value: Any) -> list[str]:
    words = [word for number, word in enumerate(_STATUS_BITS) if value >> number & 1]
    return [" ".join(words) or "absent"]


def _unicode(value: Any) -> list[str]:
    return [bytes(value).decode("utf-16-le").rstrip("\0")]


def _address(value: Any) -> list[str]:
    return [f"device {value >> 16:02x}, function {value & 0xFFFF:x}"]


_DECODERS: dict[str, Callable[[Any], list[str]]] = {
    "_CRS": _template, "_PRS": _template, "_DMA": _template, "_PRT": _routing, "_CST": _idle, "_PSS": _performance,
    "_PCT": _registers, "_PTC": _registers, "_HID": _id, "_CID": _id, "_STA": _status, "_STR": _unicode,
    "_ADR": _address,
}  # fmt: skip
