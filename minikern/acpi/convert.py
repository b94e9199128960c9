"""Conversions between integers, strings and buffers.

Implicit ones serve operands and stores, explicit ones are operators of their own; they differ in form.
Source: ACPI 6.5 clause 19.3.5.7; drivers/acpi/acpica/exconvrt.c, utstrtoul64.c @ v6.12
"""

from __future__ import annotations

import string
from typing import Any

from minikern.acpi.values import AmlError

_HEX, _DECIMAL = frozenset(string.hexdigits), frozenset(string.digits)
_BLANK = " \t\n\v\f\r"
_MAX_LEADING = 4096


class ConversionError(AmlError):
    """The value has no form of the wanted type."""

    def __init__(self) -> None:
        super().__init__("AE_TYPE", "no such conversion")


def digits_value(text: str, base: int, width: int) -> int:
    """Value of the leading digits; the digit that would overflow ``width`` bytes ends it, as any other character."""
    allowed, limit = (_HEX if base == 16 else _DECIMAL), 1 << 8 * width
    value = 0
    for char in text:
        if char not in allowed:
            break
        larger = value * base + int(char, base)
        if larger >= limit:
            break
        value = larger
    return value


def implicit_number(text: str, width: int) -> int:
    """A string used as a number: hexadecimal, with or without 0x."""
    digits = text.lstrip(_BLANK)
    if digits[:2] in ("0x", "0X"):
        digits = digits[2:]
    return digits_value(digits.lstrip("0"), 16, width)


def explicit_number(text: str, width: int) -> int:
    """ToInteger of a string: decimal, or hexadecimal with 0x."""
    digits = text.lstrip(_BLANK)
    if digits[:2] in ("0x", "0X"):
        return digits_value(digits[2:].lstrip("0"), 16, width)
    return digits_value(digits.lstrip("0"), 10, width)


def constant_number(text: str) -> int:
    """A string a driver needs as a number: octal, decimal or hexadecimal as in C.

    Source: drivers/acpi/acpica/utstrtoul64.c:acpi_ut_strtoul64() @ v6.12
    """
    digits = text.lstrip(_BLANK)
    if digits[:2] in ("0x", "0X"):
        return digits_value(digits[2:], 16, 8)
    if digits.startswith("0"):
        octal = digits[: len(digits) - len(digits.lstrip("01234567"))]
        return int(octal, 8) & ((1 << 64) - 1)
    return digits_value(digits, 10, 8)


def to_integer(value: Any, width: int = 8, explicit: bool = False) -> int:
    """``value`` as an integer of ``width`` bytes. ConversionError for a package or reference."""
    if isinstance(value, int):
        return value
    if isinstance(value, bytearray | bytes):
        if not value:
            raise AmlError("AE_AML_BUFFER_LIMIT", "an empty buffer is no number")
        return int.from_bytes(value[:width], "little")
    if isinstance(value, str):
        return explicit_number(value, width) if explicit else implicit_number(value, width)
    raise ConversionError


def to_buffer(value: Any, width: int = 8) -> bytearray:
    """``value`` as a buffer; an integer gives ``width`` bytes, a string its terminator too."""
    if isinstance(value, int):
        return bytearray((value & ((1 << 8 * width) - 1)).to_bytes(width, "little"))
    if isinstance(value, str):
        return bytearray(value.encode("latin-1", "replace") + b"\0")
    if isinstance(value, bytearray):
        return value
    raise ConversionError


def to_string(value: Any, width: int = 8) -> str:
    """Implicit form: all digits of an integer, the bytes of a buffer with blanks between."""
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:0{2 * width}X}"
    if isinstance(value, bytearray | bytes):
        return " ".join(f"0x{byte:02X}" for byte in value)
    raise ConversionError


def to_hex_string(value: Any) -> str:
    """ToHexString."""
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"0x{value:X}"
    if isinstance(value, bytearray | bytes):
        return ",".join(f"0x{byte:02X}" for byte in value)
    raise ConversionError


def to_decimal_string(value: Any) -> str:
    """ToDecimalString."""
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return str(value)
    if isinstance(value, bytearray | bytes):
        return ",".join(str(byte) for byte in value)
    raise ConversionError


def compare(left: Any, right: Any, width: int = 8) -> int:
    """Negative, zero or positive; the right operand takes the left one's type.

    Source: drivers/acpi/acpica/exmisc.c:acpi_ex_do_logical_op() @ v6.12
    """
    a: Any
    b: Any
    if isinstance(left, str):
        a, b = left, to_string(right, width)
    elif isinstance(left, bytearray | bytes):
        a, b = bytes(left), bytes(to_buffer(right, width))
    else:
        a, b = to_integer(left, width), to_integer(right, width)
    return -1 if a < b else int(a > b)
