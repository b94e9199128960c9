"""Blocks of plain declarations, read once: device after device of a server's tables has the same bytes.

A block is plain where each of its terms gives a value that stands in its bytes, a method, a region or a field to one
name in the block's own scope. What it makes then follows from these bytes alone, wherever they come again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from minikern.acpi.fields import MAX_FIELD_BITS, FieldUnit
from minikern.acpi.methods import MethodCode
from minikern.acpi.opcodes_create import SERIALIZED, creates_objects
from minikern.acpi.opcodes_field import field_units
from minikern.acpi.spaces import Region, valid_space
from minikern.acpi.stream import INTEGER_BYTES, Frame, PlainPackage, sized
from minikern.acpi.values import KINDS, AmlError
from minikern.state.namespace import Kind, Node

if TYPE_CHECKING:
    from minikern.acpi.interpreter import Interpreter

LARGEST_BYTES, KEPT_BLOCKS = 4096, 1024
Make = Callable[[Any, Node, Frame, int], Any]


class Declaration(NamedTuple):
    """One object: ``facts`` is its value, or what ``make`` makes it of."""

    name: str
    kind: Kind
    facts: Any
    make: Make | None = None


class Block(NamedTuple):
    """A plain block: its objects, in order; how many terms it has, and how many bytes of methods are looked through."""

    names: frozenset[str]
    objects: tuple[Declaration, ...]
    terms: int
    method_bytes: int


class _Body(NamedTuple):
    """Where a method lies from its block's beginning on, and what is declared of it."""

    start: int
    end: int
    arguments: int
    serialized: bool
    level: int
    ignore_level: bool


def declare(run: Interpreter, frame: Frame, end: int, scope: Node) -> bool:
    """Make what the block up to ``end`` declares below ``scope``; False, and nothing done, where it is not plain."""
    start = frame.pos
    if end - start > LARGEST_BYTES or run.trace is not None:
        return False
    block = read_block(frame.data[start:end], frame.width, run.auto_serialize)
    if block is None or not block.names.isdisjoint(scope.children):
        return False
    plain = not scope.children or scope in run.namespace.plain
    run.namespace.grows(scope)
    _make_objects(block, run.owner, frame, start, scope)
    if plain:
        run.namespace.plain.add(scope)
    run.opcodes += block.terms
    run.objects += len(block.objects)
    run.changes += len(block.objects)
    run.account.method_bytes += block.method_bytes
    frame.pos = end
    return True


def _make_objects(block: Block, owner: int, frame: Frame, start: int, scope: Node) -> None:
    children = scope.children
    for name, kind, facts, make in block.objects:
        children[name] = node = Node(name, scope, kind, facts)
        node.owner = owner
        if make is not None:
            node.value = make(facts, node, frame, start)


def _method_code(body: _Body, node: Node, frame: Frame, start: int) -> MethodCode:
    return MethodCode(
        frame.data,
        start + body.start,
        start + body.end,
        body.arguments,
        frame.width,
        body.serialized,
        body.level,
        body.ignore_level,
        owner=node.owner,
    )


def _region(facts: tuple[int, int, int], node: Node, frame: Frame, start: int) -> Region:
    return Region(*facts, node)


def _field_unit(facts: tuple[str, int, int, int], node: Node, frame: Frame, start: int) -> FieldUnit:
    assert node.parent is not None
    return FieldUnit(node.name, node.parent.children[facts[0]], *facts[1:])


def _buffer(facts: bytearray, node: Node, frame: Frame, start: int) -> bytearray:
    return bytearray(facts)


def _package(facts: PlainPackage, node: Node, frame: Frame, start: int) -> list[Any]:
    return facts.fresh()


class _NotPlain(Exception):  # noqa: N818 - an answer, not an error
    """Something beside the block's bytes decides what it makes."""


@lru_cache(maxsize=KEPT_BLOCKS)
def read_block(body: bytes, width: int, auto_serialize: bool) -> Block | None:
    """What the bytes of a block declare where an integer has ``width`` bytes, None if they are not plain.

    ``auto_serialize``: methods that create objects are looked for.
    """
    reader = _Reader(body, width, auto_serialize)
    try:
        objects = tuple(reader.objects())
    except (_NotPlain, AmlError):
        return None
    names = frozenset(item.name for item in objects)
    return Block(names, objects, reader.terms, reader.method_bytes) if len(names) == len(objects) else None


class _Reader:
    """One way through a block: counts ``terms`` and ``method_bytes`` as the interpreter does."""

    def __init__(self, body: bytes, width: int, auto_serialize: bool) -> None:
        self.frame = Frame(body, 0, len(body), Node("", None, Kind.SCOPE), width)
        self.terms = self.method_bytes = 0
        self._auto_serialize = auto_serialize
        self._regions: set[str] = set()

    def objects(self) -> Iterator[Declaration]:
        """AmlError or _NotPlain where the block is none of the plain ones."""
        readers = {0x08: self._name, 0x14: self._method, 0x5B80: self._region, 0x5B81: self._field}
        while self.frame.pos < self.frame.end:
            reader = readers.get(self._opcode())
            if reader is None:
                raise _NotPlain
            yield from reader()

    def _opcode(self) -> int:
        self.terms += 1
        op = self.frame.byte()
        return 0x5B00 | self.frame.byte() if op == 0x5B else op

    def _own_name(self) -> str:
        prefix, segments = self.frame.name_path()
        if prefix or len(segments) != 1:
            raise _NotPlain
        return segments[0]

    def _constant(self) -> int | str:
        frame, op = self.frame, self._opcode()
        if op <= 0x01:
            return op
        if op == 0xFF:
            return frame.mask
        if op == 0x0D:
            return frame.text()
        if op not in INTEGER_BYTES:
            raise _NotPlain
        return frame.number(INTEGER_BYTES[op]) & frame.mask

    def _integer(self) -> int:
        value = self._constant()
        if not isinstance(value, int):
            raise _NotPlain
        return value

    def _name(self) -> Iterator[Declaration]:
        name, lead = self._own_name(), self.frame.data[self.frame.pos : self.frame.pos + 1]
        if lead == b"\x11":
            yield Declaration(name, Kind.BUFFER, self._buffer(), _buffer)
        elif lead == b"\x12":
            yield Declaration(name, Kind.PACKAGE, self._package(), _package)
        else:
            value = self._constant()
            yield Declaration(name, KINDS[type(value)], value)

    def _buffer(self) -> bytearray:
        self._opcode()
        end = self.frame.package_end()
        return self.frame.buffer_tail(self._integer() & 0xFFFF_FFFF, end)

    def _package(self) -> PlainPackage:
        self._opcode()
        end = self.frame.package_end()
        count, found = self.frame.byte(), self.frame.package(end, _refuse)
        if len(found) > count or self.frame.pos != end:
            raise _NotPlain
        return PlainPackage.of(sized(count, found))

    def _method(self) -> Iterator[Declaration]:
        frame = self.frame
        end = frame.package_end()
        name, flags, start = self._own_name(), frame.byte(), frame.pos
        serialized, creates = bool(flags & SERIALIZED), False
        if self._auto_serialize and not serialized:
            self.method_bytes += max(0, end - start)
            creates = creates_objects(frame.data, start, end)
        frame.pos = end
        body = _Body(start, end, flags & 7, serialized or creates, flags >> 4 if serialized else 0, creates)
        yield Declaration(name, Kind.METHOD, body, _method_code)

    def _region(self) -> Iterator[Declaration]:
        name, space = self._own_name(), self.frame.byte()
        offset, length = self._integer(), self._integer() & 0xFFFF_FFFF
        if not length or not valid_space(space):
            raise _NotPlain  # lines tell of these
        self._regions.add(name)
        yield Declaration(name, Kind.REGION, (space, offset, length), _region)

    def _field(self) -> Iterator[Declaration]:
        end, region = self.frame.package_end(), self._own_name()
        if region not in self._regions:
            raise _NotPlain
        for unit in field_units(self.frame, self.frame.byte(), end, _refuse):
            if not 0 < unit.bits <= MAX_FIELD_BITS:
                raise _NotPlain
            facts = region, unit.offset, unit.bits, unit.flags
            yield Declaration(unit.name, Kind.REGION_FIELD, facts, _field_unit)


def _refuse(frame: Frame) -> Any:
    raise _NotPlain
