"""Flattened device trees as Kexec HandOver reads and writes them, by libfdt: 64-bit values in the CPU's byte order.

Trees are written in the page they are handed on in, by libfdt's calls in the kernel's order: so the bytes behind a
tree, which growing and packing leave there, are the kernel's too.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from functools import cache
from types import ModuleType
from typing import NamedTuple

from hw.errors import InputError

U64 = struct.Struct("<Q")


class FdtError(Exception):
    """libfdt's refusal; ``code`` is its error number, below 0."""

    def __init__(self, code: int) -> None:
        super().__init__(f"libfdt error {code}")
        self.code = code


class Property(NamedTuple):
    """A property to be written."""

    name: str
    value: bytes


class Node(NamedTuple):
    """A node to be written, with its children in order."""

    name: str
    properties: Sequence[Property]
    children: Sequence[Node] = ()


def string(name: str, text: str) -> Property:
    """A property of text."""
    return Property(name, text.encode() + b"\0")


def u64(name: str, value: int) -> Property:
    """A property of a 64-bit number."""
    return Property(name, U64.pack(value))


@cache
def _libfdt() -> ModuleType:
    # It comes as source alone: a boot without Kexec HandOver does without it where nobody could compile it.
    try:
        import libfdt
    except ImportError as error:
        raise InputError(f"Kexec HandOver's trees need libfdt: pip install pylibfdt ({error})") from error
    found: ModuleType = libfdt
    return found


def _done(code: int) -> int:
    if code < 0:
        raise FdtError(code)
    return code


def write(root: Node, room: int) -> bytearray:
    """The tree in a page of ``room`` bytes. FdtError if it does not fit."""
    page = bytearray(room)
    _done(_libfdt().fdt_create(page, room))
    _done(_libfdt().fdt_finish_reservemap(page))
    _write_node(page, root)
    _done(_libfdt().fdt_finish(page))
    return page


def _write_node(page: bytearray, node: Node) -> None:
    _done(_libfdt().fdt_begin_node(page, node.name))
    for prop in node.properties:
        _done(_libfdt().fdt_property_stub(page, prop.name, prop.value, len(prop.value)))
    for child in node.children:
        _write_node(page, child)
    _done(_libfdt().fdt_end_node(page))


def add_subnode(page: bytearray, name: str, properties: Iterable[Property]) -> None:
    """Add a node in front of the root's others. FdtError if it is there already or does not fit.

    Source: kernel/liveupdate/kexec_handover.c:kho_add_subtree() @ v7.2
    """
    _done(_libfdt().fdt_open_into(page, page, len(page)))
    try:
        offset = _done(_libfdt().fdt_add_subnode(page, 0, name))
        for prop in properties:
            _done(_libfdt().fdt_setprop(page, offset, prop.name, prop.value, len(prop.value)))
    finally:
        _libfdt().fdt_pack(page)


class Tree:
    """A tree somebody else wrote. FdtError if its header is wrong."""

    def __init__(self, data: bytes) -> None:
        self._data = bytearray(data)
        _done(_libfdt().fdt_check_header(self._data) if len(data) >= MIN_HEADER else -_libfdt().FDT_ERR_TRUNCATED)

    @property
    def size(self) -> int:
        """Bytes of the tree, by its header."""
        return int(_libfdt().fdt_totalsize(self._data))

    @property
    def end(self) -> int:
        """First byte behind the parts that are read, by its header."""
        strings = _libfdt().fdt_off_dt_strings(self._data) + _libfdt().fdt_size_dt_strings(self._data)
        return int(max(strings, _libfdt().fdt_off_dt_struct(self._data) + _libfdt().fdt_size_dt_struct(self._data)))

    def node_check_compatible(self, offset: int, wanted: str) -> int:
        """0 if the node is compatible, 1 if not, an error number below 0 without such a property."""
        return int(_libfdt().fdt_node_check_compatible(self._data, offset, wanted))

    def getprop(self, offset: int, name: str) -> bytes | None:
        """A property's bytes, None if there is none."""
        found = _libfdt().fdt_getprop(self._data, offset, name)
        return None if isinstance(found[0], int) or found[0] is None else bytes(found[0])

    def getprop_u64(self, offset: int, name: str) -> int | None:
        """A property of 8 bytes as a number, None if there is none of that size."""
        found = self.getprop(offset, name)
        return int(U64.unpack(found)[0]) if found is not None and len(found) == U64.size else None

    def subnode_offset(self, name: str) -> int:
        """Where the root's child ``name`` is, an error number below 0 if there is none."""
        return int(_libfdt().fdt_subnode_offset(self._data, 0, name))


MIN_HEADER = 40  # of version 17; Source: Devicetree Specification 0.4, 5.2
