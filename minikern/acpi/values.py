"""AML values and references to them.

An integer is int, a string str, a buffer bytearray, a package a list. Source: ACPI 6.5 clause 19.3.5
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from minikern.state.namespace import Kind, Node

KINDS: dict[type, Kind] = {
    int: Kind.INTEGER,
    str: Kind.STRING,
    bytearray: Kind.BUFFER,
    list: Kind.PACKAGE,
}
SCALARS = (int, str, bytearray)
DATA = frozenset({
    Kind.INTEGER, Kind.STRING, Kind.BUFFER, Kind.PACKAGE,
    Kind.BUFFER_FIELD, Kind.REGION_FIELD, Kind.BANK_FIELD, Kind.INDEX_FIELD,
})  # fmt: skip
FIELDS = frozenset({Kind.BUFFER_FIELD, Kind.REGION_FIELD, Kind.BANK_FIELD, Kind.INDEX_FIELD})


class AmlError(Exception):
    """AML that cannot be executed; ``status`` is ACPICA's word for it, ``offset`` the place in the table.

    ``reported`` is set once a line told of it.
    """

    def __init__(self, status: str, text: str = "", opcode: int = -1, offset: int = -1) -> None:
        super().__init__(text)
        self.status, self.opcode, self.offset = status, opcode, offset
        self.reported = False


class OperandError(AmlError):
    """An operand that cannot be resolved: the operator that needs it says so in a line of its own."""


class ParseError(AmlError):
    """Code that cannot be read on, a name that is not there among it; ``resume`` is where reading may go on."""

    def __init__(self, status: str, text: str = "", opcode: int = -1, offset: int = -1, resume: int = 0) -> None:
        super().__init__(status, text, opcode, offset)
        self.resume = resume


class MethodAborted(AmlError):  # noqa: N818 - a state of the run as much as an error
    """A method ended with an error: so do its callers, and a table that called it is not loaded.

    ``method`` is the path of the innermost one, ``offset`` where in its table reading had got to.
    """

    method = ""


@dataclass(eq=False, slots=True)
class NamePath:
    """A name in a package, looked up from ``scope`` once the tables are loaded.

    From then on ``node`` is the object it shares, or, when that object was given to another value, ``value`` the one
    it keeps.
    """

    path: str
    scope: Node
    node: Node | None = None
    value: Any = None

    def share(self, node: Node) -> None:
        """Stand for the value ``node`` has, also after a store into it."""
        self.node = node
        node.shared = [*(node.shared or ()), self]

    def keep(self, value: Any) -> None:
        """The object goes to another value: keep this one."""
        self.node, self.value = None, value


@dataclass(eq=False, slots=True)
class Slot:
    """The place of a local variable or an argument of a running method."""

    values: list[Any]
    index: int
    argument: bool = False

    @property
    def value(self) -> Any:
        """What the place holds, None before the first store."""
        return self.values[self.index]

    @value.setter
    def value(self, value: Any) -> None:
        self.values[self.index] = value


@dataclass(eq=False, slots=True)
class Text:
    """A string that is written byte by byte, at the place that holds it (None: nobody does)."""

    text: str
    holder: Node | Slot | None

    def put(self, index: int, byte: int) -> None:
        """Replace one character."""
        current = self.holder.value if self.holder is not None else self.text
        if isinstance(current, str) and index < len(current):
            self.text = current[:index] + chr(byte) + current[index + 1 :]
            if self.holder is not None:
                self.holder.value = self.text


@dataclass(eq=False, slots=True)
class IndexRef:
    """What Index gives: one element of a package, one byte of a buffer or string."""

    container: list[Any] | bytearray | Text
    index: int

    @property
    def in_package(self) -> bool:
        """True for an element of a package."""
        return isinstance(self.container, list)

    def load(self) -> Any:
        """The element or byte."""
        if isinstance(self.container, Text):
            holder = self.container.holder
            text = holder.value if holder is not None else self.container.text
            return ord(text[self.index]) if isinstance(text, str) and self.index < len(text) else 0
        return self.container[self.index]


@dataclass(eq=False, slots=True)
class RefOf:
    """What RefOf gives: a named object, or a local or argument."""

    target: Node | Slot


@dataclass(eq=False, slots=True)
class NodeRef:
    """A named object that has no value of its own: a device, a method, a mutex, a region."""

    node: Node


@dataclass(eq=False, slots=True)
class TableHandle:
    """A loaded definition block."""

    owner: int


class DebugObject:
    """The Debug object: what is stored there is shown nowhere."""


Reference = IndexRef | RefOf | NodeRef | TableHandle | DebugObject
REFERENCES = (IndexRef, RefOf, NodeRef, TableHandle, DebugObject)


def copy(value: Any) -> Any:
    """What a store keeps: buffers and packages are copied, the rest is immutable or a reference."""
    if isinstance(value, bytearray):
        return bytearray(value)
    if isinstance(value, list):
        return [copy(item) for item in value]
    return value


def type_name(value: Any) -> str:
    """ACPICA's word for the type of a value. Source: drivers/acpi/acpica/utdecode.c:acpi_ut_get_type_name() @ v6.12"""
    if isinstance(value, NodeRef):
        return value.node.kind.value
    kind = KINDS.get(type(value))
    if kind is not None:
        return kind.value
    return "Reference" if isinstance(value, REFERENCES) else "Untyped"


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
