"""Reading AML bytes: one frame is one run through a stretch of a table.

Source: ACPI 6.5 clause 20.2
"""

from __future__ import annotations

from typing import Any

from minikern.acpi.namespace import Node
from minikern.acpi.values import AmlError, NamePath

MAX_BUFFER_BYTES = 1 << 20
_LEAD = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_TAIL = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789")
NAME_START = _LEAD | frozenset(b"\\^\x2e\x2f")


class Frame:
    """Position in ``data``, the scope names are looked up from, and a method's locals and arguments.

    ``end`` bounds the current block; ``created`` collects what a method created, None at table level.
    """

    __slots__ = ("args", "created", "data", "end", "locals", "pos", "scope", "width")

    def __init__(self, data: bytes, pos: int, end: int, scope: Node, width: int, args: list[Any] | None = None) -> None:
        self.data, self.pos, self.end, self.scope, self.width = data, pos, end, scope, width
        self.args: list[Any] = (args or []) + [None] * (7 - len(args or []))
        self.locals: list[Any] = [None] * 8
        self.created: list[Node] | None = None if args is None else []

    def byte(self) -> int:
        """The next byte."""
        pos = self.pos
        if pos >= self.end:
            raise AmlError("AE_AML_NO_OPERAND", "the block ends inside a term", offset=pos)
        self.pos = pos + 1
        return self.data[pos]

    def number(self, size: int) -> int:
        """The next ``size`` bytes, little endian."""
        start = self.pos
        self.pos = start + size
        if self.pos > self.end:
            raise AmlError("AE_AML_NO_OPERAND", "the block ends inside a number", offset=start)
        return int.from_bytes(self.data[start : self.pos], "little")

    def package_end(self) -> int:
        """Read a package length; return where the package ends, which is never beyond the block.

        Source: ACPI 6.5 clause 20.2.4
        """
        start = self.pos
        length = self.field_bits()
        end = start + length
        if end > self.end or end < self.pos:
            raise AmlError("AE_AML_PACKAGE_LIMIT", f"package of {length} bytes, {self.end - start} left", offset=start)
        return end

    def field_bits(self) -> int:
        """A number in package-length coding."""
        lead = self.byte()
        extra = lead >> 6
        if not extra:
            return lead & 0x3F
        return lead & 0x0F | self.number(extra) << 4

    def text(self) -> str:
        """A NUL-terminated string."""
        end = self.data.find(0, self.pos, self.end)
        if end < 0:
            raise AmlError("AE_AML_STRING_LIMIT", "string without an end", offset=self.pos)
        text = self.data[self.pos : end].decode("latin-1")
        self.pos = end + 1
        return text

    def name_path(self) -> tuple[str, list[str]]:
        r"""A name string as (prefix, segments): prefix is empty, a backslash, or one ``^`` for each parent."""
        data, pos = self.data, self.pos
        start = pos
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
            raise AmlError("AE_AML_BAD_NAME", "the block ends inside a name", offset=start)
        segments = [_segment(data, at) for at in range(pos, end, 4)]
        self.pos = end
        return prefix, segments

    def buffer_tail(self, size: int, end: int) -> bytearray:
        """A buffer of ``size`` bytes whose initial bytes run to ``end``."""
        initial = self.data[self.pos : end]
        self.pos = end
        if size > MAX_BUFFER_BYTES:
            raise AmlError("AE_AML_BUFFER_LIMIT", f"buffer of {size} bytes", offset=end)
        return bytearray(initial.ljust(size, b"\0"))

    def package(self, count: int, end: int) -> list[Any]:
        """Elements of a package up to ``end``: constants, buffers, packages and names; missing ones are None."""
        data, pos = self.data, self.pos
        out: list[Any] = []
        append = out.append
        while pos < end:
            op = data[pos]
            size = _INTEGER_BYTES.get(op)
            if size is not None:
                pos += 1 + size
                append(int.from_bytes(data[pos - size : pos], "little"))
            elif op <= 1:
                pos += 1
                append(op)
            else:
                self.pos = pos
                append(self._element(op, end))
                pos = self.pos
        if pos > end:
            raise AmlError("AE_AML_PACKAGE_LIMIT", "the package ends inside an element", offset=end)
        self.pos = end
        return (out + [None] * (count - len(out)))[:count] if len(out) != count else out

    def _element(self, op: int, end: int) -> Any:
        outer, self.end = self.end, end
        try:
            if op in NAME_START:
                prefix, segments = self.name_path()
                return NamePath(prefix + ".".join(segments), self.scope)
            at = self.pos
            self.pos += 1
            if op == 0x0D:
                return self.text()
            if op == 0xFF:
                return (1 << 8 * self.width) - 1
            if op in (0x11, 0x12, 0x13):
                inner = self.package_end()
                if op == 0x12:
                    return self.package(self.byte(), inner)
                size = self._constant()
                return self.buffer_tail(size, inner) if op == 0x11 else self.package(min(size, 0xFFFF), inner)
            if op == 0x5B and self.pos < end and data_is_revision(self.data, self.pos):
                self.pos += 1
                return 2
            raise AmlError("AE_AML_BAD_OPCODE", "no package element starts with it", op, at)
        finally:
            self.end = outer

    def _constant(self) -> int:
        op = self.byte()
        size = _INTEGER_BYTES.get(op)
        if size is not None:
            return self.number(size)
        if op <= 1:
            return op
        raise AmlError("AE_AML_BAD_OPCODE", "a constant was expected", op, self.pos - 1)


_INTEGER_BYTES = {0x0A: 1, 0x0B: 2, 0x0C: 4, 0x0E: 8}


def data_is_revision(data: bytes, pos: int) -> bool:
    """True at the second byte of RevisionOp."""
    return data[pos] == 0x30


def _segment(data: bytes, at: int) -> str:
    raw = data[at : at + 4]
    if raw[0] not in _LEAD or raw[1] not in _TAIL or raw[2] not in _TAIL or raw[3] not in _TAIL:
        raise AmlError("AE_AML_BAD_NAME", f"{raw!r} is no name", offset=at)
    return raw.decode("ascii")
