"""Resource descriptors: the buffers of _CRS and _PRS.

Source: ACPI 6.5 clause 6.4
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from minikern.state.acpi import Window

_ADDRESS_BYTES = {0x88: 2, 0x87: 4, 0x8A: 8}  # word, dword, qword address space
_MEMORY, _IO, _BUS = 0, 1, 2
_CONSUMER = 1 << 0
_WRITEABLE = 1 << 0
_PREFETCHABLE = 3  # memory attribute


class Descriptor(NamedTuple):
    """One descriptor: its tag (large item tags have bit 7 set) and its bytes after tag and length."""

    tag: int
    body: bytes


def descriptors(data: bytes) -> Iterator[Descriptor]:
    """The descriptors of a template up to its end tag; one that is cut off ends the walk."""
    offset = 0
    while offset < len(data):
        tag = data[offset]
        if tag & 0x80:
            start, length = offset + 3, int.from_bytes(data[offset + 1 : offset + 3], "little")
        else:
            tag, start, length = tag & 0x78, offset + 1, tag & 7
        if tag == 0x78 or start + length > len(data):
            return
        yield Descriptor(tag, data[start : start + length])
        offset = start + length


_SMALL_ITEMS = frozenset({0x20, 0x28, 0x30, 0x38, 0x40, 0x48, 0x50, 0x70, 0x78})
_LARGE_ITEMS = frozenset({*range(0x81, 0x83), *range(0x84, 0x94)})


def template_length(data: bytes) -> int:
    """Bytes before the end tag; ValueError, with ACPICA's status, for an unknown item or no end tag.

    Source: drivers/acpi/acpica/utresrc.c:acpi_ut_walk_aml_resources() @ v6.12
    """
    offset = 0
    while offset < len(data):
        tag = data[offset]
        if (tag if tag & 0x80 else tag & 0x78) not in _LARGE_ITEMS | _SMALL_ITEMS:
            raise ValueError("AE_AML_INVALID_RESOURCE_TYPE")
        if tag & 0x80:
            offset += 3 + int.from_bytes(data[offset + 1 : offset + 3], "little")
        elif tag & 0x78 == 0x78:
            return offset
        else:
            offset += 1 + (tag & 7)
    raise ValueError("AE_AML_NO_RESOURCE_END_TAG")


def bus_range(data: bytes) -> tuple[int, int] | None:
    """The first bus-number range, both ends inclusive.

    Source: drivers/acpi/pci_root.c:get_root_bridge_busnr_callback() @ v6.12
    """
    for tag, body in descriptors(data):
        size = _ADDRESS_BYTES.get(tag)
        if size is not None and len(body) >= 3 + 5 * size and body[0] == _BUS:
            low, _, length = _numbers(body, size)
            return low & 0xFF, min(0xFF, low + length - 1)
    return None


def windows(data: bytes) -> list[Window]:
    """I/O and memory ranges of a PCI root, what it takes itself among them; an empty range is none.

    Source: drivers/acpi/resource.c:acpi_dev_get_resources() @ v6.12
    """
    found = (_window(tag, body) for tag, body in descriptors(data))
    return [window for window in found if window is not None]


def _window(tag: int, body: bytes) -> Window | None:
    size = _ADDRESS_BYTES.get(tag)
    if size is not None and len(body) >= 3 + 5 * size and body[0] in (_MEMORY, _IO):
        low, high, length = _numbers(body, size)
        if not length or high < low:
            return None
        words = set() if body[1] & _CONSUMER else {"window"}
        if body[0] == _MEMORY and body[2] >> 1 & 3 == _PREFETCHABLE:
            words.add("pref")
        if body[0] == _MEMORY and not body[2] & _WRITEABLE:
            words.add("readonly")
        return Window("io" if body[0] == _IO else "mem", low, high, frozenset(words))
    if tag == 0x40 and len(body) == 7 and body[6]:  # I/O port
        start = int.from_bytes(body[1:3], "little")
        return Window("io", start, start + body[6] - 1, frozenset())
    if tag == 0x86 and len(body) >= 9:  # 32-bit fixed memory
        start, length = int.from_bytes(body[1:5], "little"), int.from_bytes(body[5:9], "little")
        return Window("mem", start, start + length - 1, frozenset()) if length else None
    return None


def _numbers(body: bytes, size: int) -> tuple[int, int, int]:
    """Minimum, maximum (with the translation added) and length of an address-space descriptor."""
    values = [int.from_bytes(body[at : at + size], "little") for at in range(3, 3 + 5 * size, size)]
    _, low, high, translation, length = values
    return low + translation, high + translation, length


def first_interrupt(data: bytes) -> int:
    """The first interrupt a template names, 0 when it names none. Source: drivers/acpi/pci_link.c @ v6.12"""
    return next(iter(interrupts(data)), 0)


def interrupts(data: bytes) -> list[int]:
    """The interrupts of a template's first descriptor that is about interrupts."""
    for tag, body in descriptors(data):
        if tag == 0x20 and len(body) >= 2:
            mask = int.from_bytes(body[:2], "little")
            return [number for number in range(16) if mask >> number & 1]
        if tag == 0x89 and len(body) >= 2:
            places = range(2, min(2 + 4 * body[1], len(body) - 3), 4)
            return [int.from_bytes(body[at : at + 4], "little") for at in places]
    return []
