"""A boot log as text: unpacked, freed of time stamps and what else stands before the lines, split into its boots."""

from __future__ import annotations

import bz2
import html
import lzma
import quopri
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import zstandard

from hw.errors import InputError
from hw.files import read_head, read_input
from hw.numbers import without_endless
from minikern.describe.dmesg_forms import plain_lines

MAX_LOG_BYTES = 64 << 20
MAX_LINES = 1 << 17  # records of a log buffer of 4 MiB, 32 bytes each; Source: kernel/printk/printk.c:PRB_AVGBITS
MAX_BOOTS = 64
MAX_WINDOW_BYTES, ZSTD_STEP_BYTES = 128 << 20, 1 << 10
GZIP_MAGIC, BZIP2_MAGIC, XZ_MAGIC, ZSTD_MAGIC = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"
BYTE_ORDER_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}

# What programs put before the kernel's text: quotation marks of a mail; date, host and "kernel:" of journalctl, syslog
# or dmesg -x; level; the kernel's stamp in dmesg's forms (seconds, delta, +delta, date, ISO) and its caller field.
_ZONE = r"(?:Z|[+-]\d\d:?\d\d)?(?: [A-Z]{3,4})?"
_DATE = rf"(?:\w{{3}},? )?(?:[A-Z][a-z]{{2}} *\d{{1,2}}|\d{{4}}-\d\d-\d\d)[ T][\d:.,]+(?: ?\d{{4}})?{_ZONE}"
_STAMP = (
    r"\[[ <+]*\d+\.\d+(?: <[ +-]*\d+\.\d+>)?>?\](?: ?\[ *[TC]\d+\])*"
    rf"|\[{_DATE}\]|\d{{4}}-\d\d-\d\dT[\d:.,]+(?:Z|[+-]\d\d:?\d\d)?(?= )"
)
_SYSLOG = (
    rf"(?:<\d+>)?(?:{_DATE}|\d\d:\d\d:\d\d[,.]\d+|\[ *\d+\.\d+\]|\d{{9,10}}\.\d{{6}})"
    r"(?: \S+)?(?: \S+)? kern(?:el|\.\w+)?(?: kernel)?(?:\[\d+\])?: ?|kern *:\w+ *: "
    r"|<\d+>1 \S+ \S+ kernel \S+ \S+ (?:-|\[[^\]]*\]) (?:\ufeff)?"
)
_PREFIX = re.compile(rf"^(?:[\s>|]+(?=[<\[]))?(?:{_SYSLOG})?(?:<\d+>)?(?:(?:{_STAMP}) ?)?")
_ESCAPE = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|[()][0-9A-Z]|[=>78M])|\x00")
_MARKUP = re.compile(r"<(?:!doctype html|html|body|pre)\b", re.IGNORECASE)
_TAG = re.compile(r"</?[a-z][^<>\n]{0,200}>", re.IGNORECASE)
_QUOTED = re.compile(r"^(?:> ?)+", re.MULTILINE)
_VERSION = re.compile(r"^Linux version \d+\.\S+")
_MAP_LINE = re.compile(r"^\s?(?:e820: )?(?:BIOS-(?:e820|e801|88)|Xen): \[?(?:mem )?(?:0x)?[0-9a-f]{8}")
_NODE_LINE = re.compile(r"^\s*node\s+\d+: \[mem 0x")


def read_log(path: Path) -> list[str]:
    """Lines of a plain or compressed log, prefixes removed. InputError: unreadable, too large, damaged."""
    return [line[prefix_length(line) :] for line in read_raw(path)]


def prefix_length(line: str) -> int:
    """How many characters stand before the kernel's own text."""
    found = _PREFIX.match(line)
    return found.end() if found else 0


def read_raw(path: Path) -> list[str]:
    """Lines of a plain or compressed log as they stand there. InputError: unreadable, too large, damaged."""
    data = _unpacked(path, read_input(path, MAX_LOG_BYTES))
    if len(data) > MAX_LOG_BYTES:
        raise InputError(f"{path}: expected a boot log of at most {MAX_LOG_BYTES} bytes")
    text = without_endless(_ESCAPE.sub("", _decoded(data)).replace("\r", "\n"))
    if _MARKUP.search(text, 0, 4096):
        text = html.unescape(_TAG.sub("", text))
    if (count := text.count("\n")) > MAX_LINES:
        raise InputError(f"{path}: {count} lines: expected at most {MAX_LINES}, as a boot's log has: cut the rest off")
    if "\n> " in text and _MAP_LINE.search(text) is None:
        text = _QUOTED.sub("", text)
    return plain_lines(text, prefix_length)


def _decoded(data: bytes) -> str:
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if data.startswith(mark):
            return data.decode(encoding, "replace")
    if b"=3D" in data and b"=\n" in data.replace(b"\r", b""):  # as mails are archived
        data = quopri.decodestring(data)
    return data.decode("utf-8", "replace")


def _unpacked(path: Path, data: bytes) -> bytes:
    if data.startswith(GZIP_MAGIC):
        stream = zlib.decompressobj(wbits=31)
        return _unpack(path, data, "gzip", stream.decompress, lambda: stream.eof)
    if data.startswith(BZIP2_MAGIC):
        bzip2 = bz2.BZ2Decompressor()
        return _unpack(path, data, "bzip2", bzip2.decompress, lambda: bzip2.eof)
    if data.startswith(XZ_MAGIC):
        xz = lzma.LZMADecompressor(memlimit=256 << 20)
        return _unpack(path, data, "xz", xz.decompress, lambda: xz.eof)
    if data.startswith(ZSTD_MAGIC):
        zstd = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES).decompressobj()
        return _unpack(path, data, "zstd", lambda packed, limit: _zstd(zstd, packed, limit), lambda: zstd.eof)
    return data


def _unpack(
    path: Path, data: bytes, kind: str, decompress: Callable[[bytes, int], bytes], at_end: Callable[[], bool]
) -> bytes:
    try:
        plain = decompress(data, MAX_LOG_BYTES + 1)
    except (zlib.error, OSError, lzma.LZMAError, EOFError, zstandard.ZstdError) as error:
        raise InputError(f"{path}: damaged {kind} file: {error}") from None
    if len(plain) <= MAX_LOG_BYTES and not at_end():
        raise InputError(f"{path}: {kind} file ends early, after {len(plain)} bytes of text")
    return plain


def _zstd(stream: zstandard.ZstdDecompressionObj, packed: bytes, limit: int) -> bytes:
    # Small pieces at a time, as there is no limit for what one call unpacks.
    parts: list[bytes] = []
    size = 0
    for at in range(0, len(packed), ZSTD_STEP_BYTES):
        parts.append(stream.decompress(packed[at : at + ZSTD_STEP_BYTES]))
        size += len(parts[-1])
        if size > limit or stream.eof:
            break
    return b"".join(parts)


def looks_like_log(path: Path) -> bool:
    """True for a compressed file, or one with the lines every boot log has."""
    head = read_head(path, 4 << 20)
    if head.startswith((GZIP_MAGIC, BZIP2_MAGIC, XZ_MAGIC, ZSTD_MAGIC, b"\xff\xfe", b"\xfe\xff")):
        return True
    return b"BIOS-e820: " in head or b"Linux version " in head


def boots(lines: list[str]) -> list[list[str]]:
    """The lines of each boot, see :func:`boot_ranges`."""
    return [lines[start:end] for start, end in boot_ranges(lines)]


def boot_ranges(lines: list[str]) -> list[tuple[int, int]]:
    """Where the boots in a log are that have a memory map, as lines [start, end): from a version line to the next one.

    A log without a version line, as a ring buffer leaves it that ran over, is one boot if it still has a map, or at
    least the memory ranges of its nodes.
    """
    starts = [index for index, line in enumerate(lines) if _VERSION.match(line)][:MAX_BOOTS]
    ends = [*starts[1:], len(lines)]
    parts = list(zip(starts, ends, strict=False))
    if starts and starts[0]:
        parts.insert(0, (0, starts[0]))  # the rest of a boot whose beginning is lost
    found = [(start, end) for start, end in parts if any(_MAP_LINE.match(line) for line in lines[start:end])]
    if found:
        return found
    whole = any(_MAP_LINE.match(line) or _NODE_LINE.match(line) for line in lines)
    return [(0, len(lines))] if whole else []
