"""AML encoder: terms in, bytes out. Every function returns the encoding of one term.

Source: ACPI 6.5 chapter 20 (ACPI Machine Language)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_NAME = re.compile(r"[A-Z_][A-Z0-9_]{0,3}")
ZERO, ONE, ONES = b"\x00", b"\x01", b"\xff"


def name_seg(text: str) -> bytes:
    """One name, padded with underscores to four characters; ValueError when it is no name."""
    if not _NAME.fullmatch(text):
        raise ValueError(f"{text!r} is no AML name: expected one to four of A-Z, 0-9, _ and no leading digit")
    return text.ljust(4, "_").encode("ascii")


def name_path(text: str) -> bytes:
    r"""A path such as ``\_SB.PCI0`` or ``^FOO``."""
    head = 0
    while head < len(text) and text[head] in "\\^":
        head += 1
    segments = [name_seg(part) for part in text[head:].split(".")] if text[head:] else []
    prefix = text[:head].encode("ascii")
    if not segments:
        return prefix + b"\x00"
    if len(segments) == 1:
        return prefix + segments[0]
    if len(segments) == 2:
        return prefix + b"\x2e" + b"".join(segments)
    return prefix + b"\x2f" + bytes([len(segments)]) + b"".join(segments)


def pkg_length(content: int) -> bytes:
    """PkgLength of a package with ``content`` bytes after the length itself. Source: ACPI 6.5 clause 20.2.4"""
    if content + 1 < 0x40:
        return bytes([content + 1])
    for extra in (1, 2, 3):
        total = content + 1 + extra
        if total < 1 << (4 + 8 * extra):
            return bytes([extra << 6 | total & 0xF]) + (total >> 4).to_bytes(extra, "little")
    raise ValueError(f"package of {content} bytes: AML packages end at 2^28")


def package_of(op: bytes, content: bytes) -> bytes:
    """``op`` followed by a package length and its content."""
    return op + pkg_length(len(content)) + content


def integer(value: int) -> bytes:
    """The shortest encoding of an integer of up to 64 bits."""
    if value in (0, 1):
        return bytes([value])
    if value == 0xFFFF_FFFF_FFFF_FFFF:
        return ONES
    for prefix, size in ((0x0A, 1), (0x0B, 2), (0x0C, 4), (0x0E, 8)):
        if 0 <= value < 1 << 8 * size:
            return bytes([prefix]) + value.to_bytes(size, "little")
    raise ValueError(f"{value} is no 64-bit unsigned integer")


def string(text: str) -> bytes:
    """A string constant."""
    return b"\x0d" + text.encode("ascii") + b"\0"


def buffer(data: bytes) -> bytes:
    """A buffer with these bytes."""
    return package_of(b"\x11", integer(len(data)) + data)


def package(elements: Sequence[bytes]) -> bytes:
    """A package of up to 255 encoded elements."""
    if len(elements) > 255:
        raise ValueError(f"package of {len(elements)} elements: expected at most 255")
    return package_of(b"\x12", bytes([len(elements)]) + b"".join(elements))


def eisa_id(text: str) -> bytes:
    """A seven-character EISA id such as PNP0A08 as an integer. Source: ACPI 6.5 clause 19.3.4 (EisaId)"""
    letters = [ord(c) - 0x40 & 0x1F for c in text[:3]]
    number = letters[0] << 26 | letters[1] << 21 | letters[2] << 16 | int(text[3:], 16)
    return integer(int.from_bytes(number.to_bytes(4, "big"), "little"))


def hardware_id(text: str) -> bytes:
    """A _HID or _CID value: EISA form where the id has one, otherwise a string."""
    is_eisa = len(text) == 7 and text[:3].isupper() and text[:3].isalpha() and text.startswith("PNP")
    return eisa_id(text) if is_eisa else string(text)


def name(path: str, value: bytes) -> bytes:
    """Name (path, value)."""
    return b"\x08" + name_path(path) + value


def alias(source: str, target: str) -> bytes:
    """Alias (source, target)."""
    return b"\x06" + name_path(source) + name_path(target)


def scope(path: str, terms: Iterable[bytes]) -> bytes:
    """Scope (path) { terms }."""
    return package_of(b"\x10", name_path(path) + b"".join(terms))


def device(path: str, terms: Iterable[bytes]) -> bytes:
    """Device (path) { terms }."""
    return package_of(b"\x5b\x82", name_path(path) + b"".join(terms))


def processor(path: str, id: int, terms: Iterable[bytes]) -> bytes:
    """Processor (path, id, 0, 0) { terms }, the form before ACPI 6.0."""
    return package_of(b"\x5b\x83", name_path(path) + bytes([id]) + bytes(5) + b"".join(terms))


def thermal_zone(path: str, terms: Iterable[bytes]) -> bytes:
    """ThermalZone (path) { terms }."""
    return package_of(b"\x5b\x85", name_path(path) + b"".join(terms))


def method(path: str, arguments: int, terms: Iterable[bytes], serialized: bool = False) -> bytes:
    """Method (path, arguments) { terms }."""
    flags = arguments | (8 if serialized else 0)
    return package_of(b"\x14", name_path(path) + bytes([flags]) + b"".join(terms))


def external(path: str, kind: int, arguments: int = 0) -> bytes:
    """External (path, kind): the object is defined in another table."""
    return b"\x15" + name_path(path) + bytes([kind, arguments])


def mutex(path: str) -> bytes:
    """Mutex (path, 0)."""
    return b"\x5b\x01" + name_path(path) + b"\0"


def operation_region(path: str, space: int, offset: bytes, length: bytes) -> bytes:
    """OperationRegion (path, space, offset, length); offset and length are encoded terms."""
    return b"\x5b\x80" + name_path(path) + bytes([space]) + offset + length


def field(region: str, access: int, units: Iterable[tuple[str, int]]) -> bytes:
    """Field (region, access) { units }: (name, bits) pairs, a blank name skips bits."""
    body = b"".join((name_seg(unit) if unit else b"\0") + pkg_bits(bits) for unit, bits in units)
    return package_of(b"\x5b\x81", name_path(region) + bytes([access]) + body)


def pkg_bits(bits: int) -> bytes:
    """A field's length in bits, coded as a PkgLength that does not count itself."""
    if bits < 0x40:
        return bytes([bits])
    for extra in (1, 2, 3):
        if bits < 1 << (4 + 8 * extra):
            return bytes([extra << 6 | bits & 0xF]) + (bits >> 4).to_bytes(extra, "little")
    raise ValueError(f"field of {bits} bits: AML ends at 2^28")


def if_(predicate: bytes, terms: Iterable[bytes]) -> bytes:
    """If (predicate) { terms }."""
    return package_of(b"\xa0", predicate + b"".join(terms))


def else_(terms: Iterable[bytes]) -> bytes:
    """Else { terms }, right after an If."""
    return package_of(b"\xa1", b"".join(terms))


def while_(predicate: bytes, terms: Iterable[bytes]) -> bytes:
    """While (predicate) { terms }."""
    return package_of(b"\xa2", predicate + b"".join(terms))


def return_(value: bytes) -> bytes:
    """Return (value)."""
    return b"\xa4" + value


def store(value: bytes, target: bytes) -> bytes:
    """Store (value, target)."""
    return b"\x70" + value + target


def local(index: int) -> bytes:
    """Local0..Local7."""
    return bytes([0x60 + index])


def arg(index: int) -> bytes:
    """Arg0..Arg6."""
    return bytes([0x68 + index])


def _binary(op: int, left: bytes, right: bytes, target: bytes) -> bytes:
    return bytes([op]) + left + right + target


def add(left: bytes, right: bytes, target: bytes = b"\0") -> bytes:
    """Add (left, right, target)."""
    return _binary(0x72, left, right, target)


def and_(left: bytes, right: bytes, target: bytes = b"\0") -> bytes:
    """And (left, right, target)."""
    return _binary(0x7B, left, right, target)


def or_(left: bytes, right: bytes, target: bytes = b"\0") -> bytes:
    """Or (left, right, target)."""
    return _binary(0x7D, left, right, target)


def shift_left(left: bytes, right: bytes, target: bytes = b"\0") -> bytes:
    """ShiftLeft (left, right, target)."""
    return _binary(0x79, left, right, target)


def equal(left: bytes, right: bytes) -> bytes:
    """LEqual (left, right)."""
    return b"\x93" + left + right


def less(left: bytes, right: bytes) -> bytes:
    """LLess (left, right)."""
    return b"\x95" + left + right


def not_(value: bytes) -> bytes:
    """LNot (value)."""
    return b"\x92" + value


def increment(target: bytes) -> bytes:
    """Increment (target)."""
    return b"\x75" + target


def index(source: bytes, position: bytes) -> bytes:
    """Index (source, position)."""
    return b"\x88" + source + position + b"\0"


def deref_of(source: bytes) -> bytes:
    """DerefOf (source)."""
    return b"\x83" + source


def create_dword_field(source: bytes, offset: bytes, unit: str) -> bytes:
    """CreateDWordField (source, offset, unit)."""
    return b"\x8a" + source + offset + name_seg(unit)


def notify(target: str, value: int) -> bytes:
    """Notify (target, value)."""
    return b"\x86" + name_path(target) + integer(value)


def load(region: str, handle: bytes) -> bytes:
    """Load (region, handle)."""
    return b"\x5b\x20" + name_path(region) + handle


def call(path: str, *arguments: bytes) -> bytes:
    """Invocation of a method with encoded arguments."""
    return name_path(path) + b"".join(arguments)


# resource descriptors; Source: ACPI 6.5 clause 6.4

_FIXED = 0x0C  # minimum and maximum fixed, positive decode, producer
_KIND = {"mem": 0, "io": 1, "bus": 2}


def address_space(
    bits: int, kind: str, start: int, end: int, prefetch: bool = False, read_only: bool = False
) -> bytes:
    """A word, dword or qword address-space descriptor for [start, end], both ends inclusive, of a producer."""
    size = bits // 8
    code = {16: 0x88, 32: 0x87, 64: 0x8A}[bits]
    type_flags = {"mem": (0x06 if prefetch else 0) | (not read_only), "io": 0x03, "bus": 0x00}[kind]
    numbers = (0, start, end, 0, end - start + 1)
    body = bytes([_KIND[kind], _FIXED, type_flags]) + b"".join(value.to_bytes(size, "little") for value in numbers)
    return bytes([code]) + len(body).to_bytes(2, "little") + body


def io_port(start: int, length: int) -> bytes:
    """An I/O port descriptor with 16-bit decode at a fixed place."""
    place = start.to_bytes(2, "little")
    return b"\x47\x01" + place + place + b"\x01" + bytes([length])


def irq(number: int) -> bytes:
    """An ISA interrupt without flags."""
    return b"\x22" + (1 << number).to_bytes(2, "little")


def irqs(numbers: Sequence[int]) -> bytes:
    """A choice of interrupts: ISA ones without flags; with higher ones among them, level, active high, shared."""
    if all(number < 16 for number in numbers):
        return b"\x22" + sum(1 << number for number in set(numbers)).to_bytes(2, "little")
    body = b"\x09" + bytes([len(numbers)]) + b"".join(number.to_bytes(4, "little") for number in numbers)
    return b"\x89" + len(body).to_bytes(2, "little") + body


def memory32_fixed(start: int, length: int) -> bytes:
    """A fixed memory range below 4 GiB, read and write."""
    return b"\x86\x09\x00\x01" + start.to_bytes(4, "little") + length.to_bytes(4, "little")


def fixed_hardware(bits: int, offset: int, access: int, address: int) -> bytes:
    """A generic register descriptor in functional fixed hardware, as _CST and _PCT hold it."""
    body = bytes([0x7F, bits, offset, access]) + address.to_bytes(8, "little")
    return b"\x82" + len(body).to_bytes(2, "little") + body


def resource_template(*descriptors: bytes) -> bytes:
    """A buffer with these descriptors and an end tag."""
    return buffer(b"".join(descriptors) + b"\x79\x00")
