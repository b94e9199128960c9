"""Slow, obviously right twins for the ACPI room, written from the specification."""

from __future__ import annotations


def checksum_ok(data: bytes) -> bool:
    """True when the bytes add up to a multiple of 256."""
    total = 0
    for byte in data:
        total = (total + byte) % 256
    return total == 0


def pkg_length(data: bytes) -> tuple[int, int]:
    """(length, bytes used) of a PkgLength: two top bits count further bytes, then low nibble first."""
    further = data[0] // 64
    if further == 0:
        return data[0] % 64, 1
    length = data[0] % 16
    scale = 16
    for byte in data[1 : 1 + further]:
        length += byte * scale
        scale *= 256
    return length, 1 + further


def find_rsdp(memory: bytes, start: int) -> int | None:
    """First 16-byte aligned place with the signature and a right checksum over 20 bytes."""
    for offset in range(0, len(memory) - 19, 16):
        if memory[offset : offset + 8] == b"RSD PTR " and checksum_ok(memory[offset : offset + 20]):
            return start + offset
    return None


def bits_of(data: bytes, offset: int, count: int) -> int:
    """A bit field, one bit at a time."""
    value = 0
    for number in range(count):
        byte, bit = divmod(offset + number, 8)
        if byte < len(data) and data[byte] >> bit & 1:
            value |= 1 << number
    return value


def eisa_text(number: int) -> str:
    """The seven characters of a compressed EISA id."""
    swapped = int.from_bytes(number.to_bytes(4, "little"), "big")
    text = ""
    for shift in (26, 21, 16):
        text += "@ABCDEFGHIJKLMNOPQRSTUVWXYZ"[swapped >> shift & 31]
    return text + f"{swapped & 0xFFFF:04X}"
