"""Reading AML bytes: one frame is one run through a stretch of a table.

Source: ACPI 6.5 clause 20.2
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from minikern.acpi.values import AmlError, ParseError, Slot
from minikern.state.namespace import Node

MAX_BUFFER_BYTES = 1 << 20
_LEAD = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_TAIL = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789")
NAME_START = _LEAD | frozenset(b"\\^\x2e\x2f")


class Frame:
    """Position in ``data``, the scope names are looked up from, and a method's locals and arguments.

    ``end`` is where the code ends, ``mask`` all ones in the width of an integer; ``created`` collects what a method
    created, None at table level; ``implicit`` is the last value nobody took; ``conditions`` holds the ends of the If
    and While blocks that are open, ``loops`` counts the latter; ``computed`` says that a package had an element that is
    not in its bytes.
    """

    __slots__ = (
        "_slots", "args", "computed", "conditions", "created", "data", "end", "implicit", "last_predicate", "locals",
        "loops", "mask", "method", "name_start", "pos", "scope", "table_level", "width",
    )  # fmt: skip

    def __init__(
        self,
        data: bytes,
        pos: int,
        end: int,
        scope: Node,
        width: int,
        args: list[Any] | None = None,
        method: Node | None = None,
    ) -> None:
        self.data, self.pos, self.end, self.scope, self.width = data, pos, end, scope, width
        self.mask = (1 << 8 * width) - 1
        self.args: list[Any] = (args or []) + [None] * (7 - len(args or []))
        self.locals: list[Any] = [None] * 8
        self._slots: dict[int, Slot] = {}
        self.created: list[Node] | None = None if args is None else []
        self.table_level = args is None
        self.method = method
        self.implicit: Any = None
        self.conditions: list[int] = []
        self.loops = 0
        self.last_predicate = False
        self.name_start = NAME_START
        self.computed = False

    def slot(self, op: int) -> Slot:
        """The local or argument an opcode stands for."""
        slot = self._slots.get(op)
        if slot is None:
            slot = Slot(self.locals, op - 0x60) if op < 0x68 else Slot(self.args, op - 0x68, argument=True)
            self._slots[op] = slot
        return slot

    def forget(self) -> None:
        """The method is over: references to its locals and arguments lead to nothing."""
        self.locals[:] = [None] * 8
        self.args[:] = [None] * 7

    def byte(self) -> int:
        """The next byte."""
        pos = self.pos
        if pos >= self.end:
            raise ParseError("AE_AML_NO_OPERAND", "the code ends inside a term", offset=pos)
        self.pos = pos + 1
        return self.data[pos]

    def number(self, size: int) -> int:
        """The next ``size`` bytes, little endian."""
        start = self.pos
        self.pos = start + size
        if self.pos > self.end:
            raise ParseError("AE_AML_NO_OPERAND", "the code ends inside a number", offset=start)
        return int.from_bytes(self.data[start : self.pos], "little")

    def package_end(self) -> int:
        """Read a package length; return where the package ends, which is never beyond the code.

        Source: ACPI 6.5 clause 20.2.4
        """
        start = self.pos
        length = self.field_bits()
        end = start + length
        if end > self.end or end < self.pos:
            text = f"package of {length} bytes, {self.end - start} left"
            raise ParseError("AE_AML_PACKAGE_LIMIT", text, offset=start)
        return end

    def field_bits(self) -> int:
        """A number in package-length coding."""
        lead = self.byte()
        extra = lead >> 6
        if not extra:
            return lead & 0x3F
        return lead & 0x0F | self.number(extra) << 4

    def segment(self) -> str:
        """Four characters of a name."""
        start, self.pos = self.pos, self.pos + 4
        if self.pos > self.end:
            self.pos = self.end
            raise ParseError("AE_AML_BAD_NAME", "the code ends inside a name", offset=start)
        return _segment(self.data[start : self.pos])

    def text(self) -> str:
        """A NUL-terminated string."""
        end = self.data.find(0, self.pos, self.end)
        if end < 0:
            raise ParseError("AE_AML_STRING_LIMIT", "string without an end", offset=self.pos)
        text = self.data[self.pos : end].decode("latin-1")
        self.pos = end + 1
        return text

    def name_path(self) -> tuple[str, list[str]]:
        r"""A name string as (prefix, segments): prefix is empty, a backslash, or one ``^`` for each parent."""
        data, pos = self.data, self.pos
        start = pos
        if pos + 4 <= self.end and data[pos] in _LEAD:
            self.pos = pos + 4
            return "", [_segment(data[pos : pos + 4])]
        while pos < self.end and data[pos] in b"\\^":
            pos += 1
        prefix = data[start:pos].decode("ascii")
        lead = data[pos] if pos < self.end else 0
        count = 1
        if lead == 0:
            self.pos = pos + 1
            return prefix, []
        if lead == 0x2E:
            count, pos = 2, pos + 1
        elif lead == 0x2F:
            count, pos = (data[pos + 1] if pos + 1 < self.end else 0), pos + 2
        end = pos + 4 * count
        if end > self.end:
            self.pos = self.end
            raise ParseError("AE_AML_BAD_NAME", "the code ends inside a name", offset=start)
        segments = [_segment(data[at : at + 4]) for at in range(pos, end, 4)]
        self.pos = end
        return prefix, segments

    def buffer_tail(self, size: int, end: int) -> bytearray:
        """A buffer of ``size`` bytes whose initial bytes run to ``end``."""
        initial = self.data[self.pos : end]
        self.pos = end
        if size > MAX_BUFFER_BYTES:
            raise AmlError("AE_AML_BUFFER_LIMIT", f"buffer of {size} bytes", offset=end)
        return bytearray(initial.ljust(size, b"\0"))

    def package(self, end: int, evaluate: Callable[[Frame], Any]) -> list[Any]:
        """Elements of a package up to ``end``; ``evaluate`` reads those that are no data.

        Every processor has the same packages as all others, so what is plain data is read once.
        """
        raw = self.data[self.pos : end] if end - self.pos <= _KEPT_BYTES else b""
        known = _known_packages.get((self.width, raw)) if raw else None
        if known is not None:
            self.pos = end
            return known.fresh()
        computed, self.computed = self.computed, False
        found = self._package(end, evaluate)
        if raw and not self.computed and self.pos == end:
            if len(_known_packages) >= _KEPT_PACKAGES:
                _known_packages.clear()
            _known_packages[(self.width, raw)] = PlainPackage.of(found)
        self.computed |= computed
        return found

    def _package(self, end: int, evaluate: Callable[[Frame], Any]) -> list[Any]:
        data, pos = self.data, self.pos
        out: list[Any] = []
        append = out.append
        limit = self.mask
        while pos < end:
            op = data[pos]
            size = INTEGER_BYTES.get(op)
            if size is not None:
                pos += 1 + size
                append(int.from_bytes(data[pos - size : pos], "little") & limit)
            elif op <= 1:
                pos += 1
                append(op)
            else:
                self.pos = pos
                append(self._element(op, evaluate))
                pos = self.pos
        self.pos = pos
        return out

    def _element(self, op: int, evaluate: Callable[[Frame], Any]) -> Any:
        at = self.pos
        self.pos += 1
        if op == 0x0D:
            return self.text()
        if op == 0xFF:
            return self.mask
        if op == 0x12:
            inner = self.package_end()
            return sized(self.byte(), self.package(inner, evaluate))
        if op == 0x11:
            inner = self.package_end()
            size = self._constant()
            if size is not None:
                return self.buffer_tail(size, inner)
        self.pos = at
        self.computed = True
        return evaluate(self)

    def _constant(self) -> int | None:
        op = self.byte()
        size = INTEGER_BYTES.get(op)
        if size is not None:
            return self.number(size)
        return op if op <= 1 else None


def sized(count: int, elements: list[Any]) -> list[Any]:
    """A package of ``count`` elements: what is missing is empty, what is too much is cut."""
    return elements if len(elements) == count else (elements + [None] * (count - len(elements)))[:count]


class PlainPackage(NamedTuple):
    """A package that is nothing but data; ``flat`` if all of it may be shared."""

    elements: tuple[Any, ...]
    flat: bool

    @classmethod
    def of(cls, package: list[Any]) -> PlainPackage:
        made = [cls.of(item) if isinstance(item, list) else _copied(item) for item in package]
        return cls(tuple(made), not any(isinstance(item, PlainPackage | bytearray) for item in made))

    def fresh(self) -> list[Any]:
        if self.flat:
            return list(self.elements)
        return [item.fresh() if type(item) is PlainPackage else _copied(item) for item in self.elements]


def _copied(item: Any) -> Any:
    """A buffer of its own; numbers and strings do not change."""
    return bytearray(item) if type(item) is bytearray else item


_KEPT_BYTES, _KEPT_PACKAGES = 4096, 4096
_known_packages: dict[tuple[int, bytes], PlainPackage] = {}  # by all that decides: the width of integers and the bytes

INTEGER_BYTES = {0x0A: 1, 0x0B: 2, 0x0C: 4, 0x0E: 8}


@lru_cache(maxsize=1 << 14)
def _segment(raw: bytes) -> str:
    """Four characters of a name; what no name may have is shown as an asterisk.

    Source: drivers/acpi/acpica/utstring.c:acpi_ut_repair_name() @ v6.12
    """
    if raw[0] in _LEAD and raw[1] in _TAIL and raw[2] in _TAIL and raw[3] in _TAIL:
        return raw.decode("ascii")
    return "".join(chr(byte) if byte in (_TAIL if number else _LEAD) else "*" for number, byte in enumerate(raw))
