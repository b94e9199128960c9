"""Resource templates in words. Source: ACPI 6.5 clause 6.4"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minikern.acpi.resources import descriptors

_SPACES = {0: "memory", 1: "I/O", 2: "bus"}
_WIDTHS = {0x88: 2, 0x87: 4, 0x8A: 8}
Resource = dict[str, Any]


def _u(body: bytes, at: int, size: int) -> int:
    return int.from_bytes(body[at : at + size], "little")


def _irq(body: bytes) -> Resource:
    mask, flags = _u(body, 0, 2), body[2] if len(body) > 2 else 1
    numbers = [number for number in range(16) if mask >> number & 1]
    return {"kind": "irq", "interrupts": numbers, "edge": bool(flags & 1), "low": bool(flags & 8)}


def _dma(body: bytes) -> Resource:
    return {"kind": "dma", "channels": [number for number in range(8) if _u(body, 0, 1) >> number & 1]}


def _io(body: bytes) -> Resource:
    return {"kind": "I/O", "min": _u(body, 1, 2), "max": _u(body, 3, 2), "align": body[5], "length": body[6]}


def _fixed_io(body: bytes) -> Resource:
    return {"kind": "I/O", "min": _u(body, 0, 2), "max": _u(body, 0, 2), "length": body[2]}


def _memory24(body: bytes) -> Resource:
    low, high, _, length = (_u(body, at, 2) << 8 for at in (1, 3, 5, 7))
    return {"kind": "memory", "min": low, "max": high, "length": length}


def _memory32(body: bytes) -> Resource:
    low, high, align, length = (_u(body, at, 4) for at in (1, 5, 9, 13))
    return {"kind": "memory", "min": low, "max": high, "align": align, "length": length}


def _fixed_memory(body: bytes) -> Resource:
    return {"kind": "memory", "min": _u(body, 1, 4), "length": _u(body, 5, 4), "writable": bool(body[0] & 1)}


def _interrupt(body: bytes) -> Resource:
    numbers = [_u(body, 2 + 4 * number, 4) for number in range(body[1])]
    return {"kind": "irq", "interrupts": numbers, "edge": bool(body[0] & 2), "low": bool(body[0] & 4)}


def _register(body: bytes) -> Resource:
    space, bits, offset, size, address = body[0], body[1], body[2], body[3], _u(body, 4, 8)
    return {"kind": "register", "space": space, "bits": bits, "offset": offset, "size": size, "address": address}


def _address(width: int) -> Callable[[bytes], Resource]:
    def reader(body: bytes) -> Resource:
        _, low, high, offset, length = (_u(body, 3 + width * number, width) for number in range(5))
        made: Resource = {"kind": _SPACES.get(body[0], "vendor"), "min": low, "max": high, "length": length}
        return made | ({"offset": offset} if offset else {}) | {"window": not body[1] & 1}

    return reader


_READERS: dict[int, tuple[int, Callable[[bytes], Resource]]] = {
    0x20: (2, _irq), 0x28: (2, _dma), 0x40: (7, _io), 0x48: (3, _fixed_io), 0x81: (9, _memory24),
    0x82: (12, _register), 0x85: (17, _memory32), 0x86: (9, _fixed_memory), 0x89: (6, _interrupt),
    **{tag: (3 + 5 * width, _address(width)) for tag, width in _WIDTHS.items()},
}  # fmt: skip
_MARKS = {0x30: "start of a choice", 0x38: "end of choices"}


def read_template(data: bytes) -> list[Resource]:
    """Every descriptor of a template; ones that are not known by their tag and bytes."""
    return [_resource(tag, body) for tag, body in descriptors(data)]


def _resource(tag: int, body: bytes) -> Resource:
    if tag in _MARKS:
        return {"kind": _MARKS[tag]}
    size, reader = _READERS.get(tag, (0, None))
    if reader is not None and len(body) >= size and (tag != 0x89 or len(body) >= 2 + 4 * body[1]):
        return reader(body)
    return {"kind": f"descriptor 0x{tag:02X}", "bytes": body.hex()}


def resource_line(resource: Resource) -> str:
    """One descriptor as a line."""
    kind, rest = resource["kind"], resource
    if "interrupts" in rest or "channels" in rest:
        found: list[int] = rest["interrupts" if "interrupts" in rest else "channels"]
        numbers = ",".join(map(str, found))
        how = f" {'edge' if rest['edge'] else 'level'} {'low' if rest['low'] else 'high'}" if "edge" in rest else ""
        return f"{kind} {numbers}{how}"
    if "min" in rest:
        end = rest["min"] + max(rest["length"], 1) - 1
        movable = f" (up to {rest['max']:#x})" if rest.get("max", rest["min"]) > end else ""
        return f"{kind} {rest['min']:#x}-{end:#x}{' window' if rest.get('window') else ''}{movable}"
    if kind == "register":
        return f"register space {rest['space']} address {rest['address']:#x}, {rest['bits']} bits"
    return str(kind) + (f" {rest['bytes']}" if "bytes" in rest else "")
