"""A boot log as text: unpacked, split into its boots, freed of time stamps and prefixes."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

from hw.errors import InputError

MAX_LOG_BYTES = 64 << 20
GZIP_MAGIC = b"\x1f\x8b"
MAX_BOOTS = 64

# Kernel time stamp with or without level, and what journalctl or syslog put before it.
_PREFIX = re.compile(
    r"^(?:\S+ +\d+ [\d:]+ \S+ kernel: |kern  :\w+ *: )?(?:<\d+>)?(?:\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?)?"
)
_VERSION = re.compile(r"^Linux version \d+\.\S+")
_MAP_LINE = re.compile(r"^\s?BIOS-e820: ")


def read_log(path: Path) -> list[str]:
    """Lines of a plain or gzip-compressed log, prefixes removed. InputError: unreadable, too large, damaged."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if data[:2] == GZIP_MAGIC:
        data = _unpack(path, data)
    if len(data) > MAX_LOG_BYTES:
        raise InputError(f"{path}: {len(data)} bytes: expected a boot log of at most {MAX_LOG_BYTES}")
    text = data.decode("utf-8", "replace")
    return [_PREFIX.sub("", line, count=1).rstrip("\r") for line in text.split("\n")]


def _unpack(path: Path, data: bytes) -> bytes:
    stream = zlib.decompressobj(wbits=31)
    try:
        plain = stream.decompress(data, MAX_LOG_BYTES + 1)
    except zlib.error as error:
        raise InputError(f"{path}: damaged gzip file: {error}") from None
    if len(plain) <= MAX_LOG_BYTES and not stream.eof:
        raise InputError(f"{path}: gzip file ends early, after {len(plain)} bytes of text")
    return plain


def looks_like_log(path: Path) -> bool:
    """True for a compressed file, or one with the lines every boot log has."""
    try:
        with path.open("rb") as file:
            head = file.read(4 << 20)
    except OSError:
        return False
    return head[:2] == GZIP_MAGIC or b"BIOS-e820: " in head or b"Linux version " in head


def boots(lines: list[str]) -> list[list[str]]:
    """The boots in a log that have a memory map, each from its version line to the next one."""
    starts = [index for index, line in enumerate(lines) if _VERSION.match(line)][:MAX_BOOTS]
    ends = [*starts[1:], len(lines)]
    parts = [lines[start:end] for start, end in zip(starts, ends, strict=False)]
    return [part for part in parts if any(_MAP_LINE.match(line) for line in part)]
