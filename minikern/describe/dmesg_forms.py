"""Forms in which programs keep kernel messages, turned into plain lines with the kernel's stamps."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable

import msgspec

from hw.numbers import is_count

MIN_WRAPPED = 4  # lines as long as the longest one, before that is a terminal's width
WIDTHS = (79, 80, 100, 120, 132)  # of terminals
US_PER_S = 1_000_000

_JSON = re.compile(r"[\s\x1e]*(?:\[\s*)?\{")
_KMSG = re.compile(r"^\d{1,6},\d+,(\d{1,18}),[^;,]*(?:,[^;]*)?;(.*)$")
_KMSG_FIELD = re.compile(r"^ [A-Z_]+=")
_KERNEL_STAMP = re.compile(r"^\W{0,4}\[ *\d+\.\d{3,9}\]")
_PHRASE = r"(?:BIOS-e820: \[mem 0x|Linux version \d)"
_STAMPED = re.compile(rf"(?:<\d+>)?(?:\[ *\d+\.\d{{3,9}}\] ?(?:\[ *[TC]\d+\] ?)?)?{_PHRASE}")
_BARE = re.compile(_PHRASE)
_WORDS = re.compile(r"\d+|[A-Za-z]+|[^A-Za-z0-9]+")


class _Record(msgspec.Struct):
    """A message of ``dmesg --json`` (msg, time in seconds) or of the journal (MESSAGE, microseconds as text)."""

    msg: str | None = None
    time: float | None = None
    message: str | list[int] | None = msgspec.field(default=None, name="MESSAGE")
    transport: str | None = msgspec.field(default=None, name="_TRANSPORT")
    identifier: str | None = msgspec.field(default=None, name="SYSLOG_IDENTIFIER")
    stamp_us: str | list[str] | None = msgspec.field(default=None, name="_SOURCE_MONOTONIC_TIMESTAMP")


class _Dmesg(msgspec.Struct):
    dmesg: list[_Record]


def plain_lines(text: str, prefix_length: Callable[[str], int]) -> list[str]:
    """The lines of ``text``, whatever form it has: records become lines with a stamp, foreign prefixes are cut off.

    ``prefix_length`` says what of a line in a known form stands before the kernel's text.
    """
    lines = text.split("\n")
    if _JSON.match(text):
        return _from_json(text) or lines
    kept = [match for line in lines[:200] if (match := _KMSG.match(line))]
    if len(kept) > 20 or (kept and len(kept) == len([line for line in lines if line and line[0] != " "])):
        return _from_kmsg(lines)
    return _joined(_without_prefix(lines, prefix_length))


def _line(seconds: float, text: str) -> Iterable[str]:
    return (f"[{seconds:12.6f}] {part}" for part in text.split("\n"))


def _from_json(text: str) -> list[str]:
    try:
        return [line for record in msgspec.json.decode(text, type=_Dmesg).dmesg for line in _of_record(record)]
    except msgspec.DecodeError:
        pass
    found: list[str] = []
    for row in _objects(text):
        try:
            found += _of_record(msgspec.json.decode(row, type=_Record))
        except msgspec.DecodeError:
            continue  # the last one of a log that was cut
    return found


def _objects(text: str) -> Iterable[str]:
    # One object a line; of the pretty form those between braces in the first column.
    if "\n{\n" not in text and not text.startswith("{\n"):
        return (line.strip("\x1e ,[]") for line in text.split("\n") if "{" in line)
    return (part + "}" for part in re.split(r"^\}", text.replace("\x1e", ""), flags=re.MULTILINE) if "{" in part)


def _of_record(record: _Record) -> list[str]:
    if record.msg is not None:
        return list(_line(record.time or 0.0, record.msg))
    message = bytes(byte & 0xFF for byte in record.message) if isinstance(record.message, list) else record.message
    if message is None or (record.transport or record.identifier or "kernel") != "kernel":
        return []
    text = message.decode("utf-8", "replace") if isinstance(message, bytes) else message
    stamp = record.stamp_us[0] if isinstance(record.stamp_us, list) and record.stamp_us else record.stamp_us
    known = isinstance(stamp, str) and is_count(stamp) and len(stamp) < 18
    return list(_line(int(str(stamp)) / US_PER_S, text)) if known else text.split("\n")


def _from_kmsg(lines: list[str]) -> list[str]:
    """Records of /dev/kmsg: level, number, microseconds, flags; text. Source: Documentation/ABI/testing/dev-kmsg"""
    found: list[str] = []
    for line in lines:
        if match := _KMSG.match(line):
            found += _line(int(match[1]) / US_PER_S, re.sub(r"\\x([0-9a-f]{2})", _character, match[2]))
        elif not _KMSG_FIELD.match(line):
            found.append(line)
    return found


def _character(match: re.Match[str]) -> str:
    return chr(int(match[1], 16))


def _without_prefix(lines: list[str], prefix_length: Callable[[str], int]) -> list[str]:
    """Lines without what a CI system or a terminal program wrote before each; the same shape counts as the same."""
    shapes = Counter(
        _shape(line[: match.start()])
        for line in lines
        if (match := _STAMPED.search(line)) and match.start() and not _BARE.match(line, prefix_length(line))
    )
    if not shapes:
        return lines
    prefix = re.compile(shapes.most_common(1)[0][0])
    return [line[match.end() :] if (match := prefix.match(line)) else line for line in lines]


def _shape(prefix: str) -> str:
    parts = _WORDS.findall(prefix)
    return "".join(r"\d+" if is_count(part) else r"[A-Za-z]+" if part.isalpha() else re.escape(part) for part in parts)


def wrapped_at(lines: list[str]) -> int:
    """The width at which a terminal broke long lines, 0 if none did."""
    stamped = [line for line in lines if _KERNEL_STAMP.match(line)]
    width = max(map(len, lines), default=0)
    full = sum(len(line) == width for line in lines)
    return width if width in WIDTHS and full >= MIN_WRAPPED and len(stamped) > len(lines) // 3 else 0


def _joined(lines: list[str]) -> list[str]:
    width = wrapped_at(lines)
    found: list[str] = []
    for line, before in zip(lines, ["", *lines], strict=False):
        if width and len(before) == width and not _KERNEL_STAMP.match(line):
            found[-1] += line
        else:
            found.append(line)
    return found


def cut_at(lines: list[str]) -> int:
    """The width at which long lines end without going on anywhere, 0 if they do not."""
    width = wrapped_at(lines)
    longest = [line for line in lines if len(line) == width]
    return width if longest and any("BIOS-e820" not in line for line in longest) else 0


