"""AML values and their conversions.

An integer is int, a string str, a buffer bytearray, a package a list. Source: ACPI 6.5 clause 19.3.5
"""

from __future__ import annotations

from collections.abc import MutableSequence
from dataclasses import dataclass
from typing import Any

from minikern.acpi.namespace import Node


class AmlError(Exception):
    """AML that cannot be executed; ``status`` is ACPICA's word for it, ``offset`` the place in the table."""

    def __init__(self, status: str, text: str, opcode: int = -1, offset: int = -1) -> None:
        super().__init__(text)
        self.status, self.opcode, self.offset = status, opcode, offset


@dataclass(frozen=True, slots=True)
class NamePath:
    """A name in a package: a reference, resolved from ``scope`` when it is used."""

    path: str
    scope: Node


@dataclass(slots=True)
class SlotRef:
    """A reference to one place of a list or buffer: an Index result, a local or an argument."""

    container: MutableSequence[Any] | bytearray
    index: int

    def load(self) -> Any:
        return self.container[self.index]

    def store(self, value: Any) -> None:
        if isinstance(self.container, bytearray):
            self.container[self.index] = to_integer(value) & 0xFF
        else:
            self.container[self.index] = value


@dataclass(slots=True)
class NodeRef:
    """A reference to a named object."""

    node: Node


def to_integer(value: Any) -> int:
    """Implicit conversion to an integer; AmlError for a package or nothing."""
    if isinstance(value, int):
        return value
    if isinstance(value, bytearray | bytes):
        return int.from_bytes(value[:8], "little")
    if isinstance(value, str):
        return _hex_prefix(value)
    raise AmlError("AE_AML_OPERAND_TYPE", f"needed an integer, found {_word(value)}")


def _hex_prefix(text: str) -> int:
    digits = ""
    for char in text.strip().removeprefix("0x")[:16]:
        if char not in "0123456789abcdefABCDEF":
            break
        digits += char
    return int(digits, 16) if digits else 0


def to_buffer(value: Any, width: int = 8) -> bytearray:
    """Implicit conversion to a buffer; an integer gives ``width`` bytes."""
    if isinstance(value, int):
        return bytearray((value & ((1 << 8 * width) - 1)).to_bytes(width, "little"))
    if isinstance(value, str):
        return bytearray(value.encode("latin-1", "replace") + b"\0")
    if isinstance(value, bytearray | bytes):
        return bytearray(value)
    raise AmlError("AE_AML_OPERAND_TYPE", f"needed a buffer, found {_word(value)}")


def to_string(value: Any, decimal: bool = False) -> str:
    """Conversion to a string, of numbers in hexadecimal or decimal."""
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return str(value) if decimal else f"0x{value:X}"
    if isinstance(value, bytearray | bytes):
        return ",".join(str(byte) if decimal else f"0x{byte:02X}" for byte in value)
    raise AmlError("AE_AML_OPERAND_TYPE", f"needed a string, found {_word(value)}")


def compare(left: Any, right: Any) -> int:
    """Negative, zero or positive; the right operand takes the left one's type."""
    a: Any
    b: Any
    if isinstance(left, str):
        a, b = left, right if isinstance(right, str) else to_string(right)
    elif isinstance(left, bytearray | bytes):
        a, b = bytes(left), bytes(to_buffer(right))
    else:
        a, b = to_integer(left), to_integer(right)
    return -1 if a < b else int(a > b)


def copy(value: Any) -> Any:
    """What a store keeps: buffers and packages are copied, the rest is immutable."""
    if isinstance(value, bytearray):
        return bytearray(value)
    if isinstance(value, list):
        return [copy(item) for item in value]
    return value


def get_bits(data: bytes | bytearray, offset: int, bits: int) -> int:
    """``bits`` bits from bit ``offset``; bits past the end read as zero."""
    start, end = offset >> 3, (offset + bits + 7) >> 3
    return int.from_bytes(data[start:end], "little") >> (offset & 7) & ((1 << bits) - 1)


def set_bits(data: bytearray, offset: int, bits: int, value: int) -> None:
    """Store the low ``bits`` bits of ``value`` at bit ``offset``; what falls past the end is dropped."""
    start, end = offset >> 3, min((offset + bits + 7) >> 3, len(data))
    if start >= end:
        return
    shift, mask = offset & 7, (1 << bits) - 1
    old = int.from_bytes(data[start:end], "little")
    new = (old & ~(mask << shift)) | (value & mask) << shift
    data[start:end] = (new & ((1 << 8 * (end - start)) - 1)).to_bytes(end - start, "little")


def _word(value: Any) -> str:
    return {list: "a package", Node: "a named object"}.get(type(value), type(value).__name__)
