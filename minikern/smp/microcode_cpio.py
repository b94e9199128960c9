"""Files at the head of the initial RAM disk, in the uncompressed archive that comes before the compressed one.

Source: lib/earlycpio.c:find_cpio_data() @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

MAGIC_CHARS, FIELD_CHARS = 6, 8
FIELDS = ("magic", "ino", "mode", "uid", "gid", "nlink", "mtime", "filesize", "maj", "min", "rmaj", "rmin", "namesize",
          "chksum")  # fmt: skip
HEADER_CHARS = MAGIC_CHARS + FIELD_CHARS * (len(FIELDS) - 1)
MAGICS = (0x070701, 0x070702)
S_IFMT, S_IFREG = 0o170000, 0o100000
CHUNK = 1 << 16


class CpioFile(NamedTuple):
    """Where a file's bytes lie, physically."""

    address: int
    size: int


def find_cpio_data(k: Kernel, path: str, start: int, size: int) -> CpioFile | None:
    """The regular file ``path`` of the archive in ``size`` bytes at ``start``.

    None if there is none up to the first bytes that are no header, as those of a compressed archive are not.
    """
    bus = k.machine.bus
    at, end = start, start + size
    while end - at > HEADER_CHARS:
        at = _skip_zeros(k, at, end)
        if end - at <= HEADER_CHARS:
            return None
        fields = _header(bus.read_bytes(at, HEADER_CHARS))
        if fields is None:
            return None
        name = at + HEADER_CHARS
        data = _align(name + fields["namesize"])
        following = _align(data + fields["filesize"])
        if following > end:
            return None
        regular = fields["mode"] & S_IFMT == S_IFREG and fields["namesize"] >= len(path)
        if regular and bus.read_bytes(name, len(path)) == path.encode():
            return CpioFile(data, fields["filesize"])
        at = following
    return None


def _align(address: int) -> int:
    return (address + 3) & ~3


def _skip_zeros(k: Kernel, at: int, end: int) -> int:
    # Padding between archives: whole words, judged by their first byte. What was never written is not walked.
    after = at
    for length, view in k.machine.bus.memory.runs(at, end - at):
        while view is not None and at < after + length:
            firsts = bytes(view[at - after : at - after + CHUNK : 4])
            zeros = len(firsts) - len(firsts.lstrip(b"\0"))
            at += 4 * zeros
            if zeros < len(firsts):
                return at
        after += length
        at += max(0, -(-(after - at) // 4) * 4)  # to the first word behind it
    return at


def _header(text: bytes) -> dict[str, int] | None:
    numbers: dict[str, int] = {}
    at = 0
    for name in FIELDS:
        part = text[at : at + (FIELD_CHARS if at else MAGIC_CHARS)]
        at += len(part)
        if not all(char in b"0123456789abcdefABCDEF" for char in part):
            return None
        numbers[name] = int(part, 16)
    return numbers if numbers["magic"] in MAGICS else None
