"""Records in which programs keep kernel messages (JSON, /dev/kmsg), turned into plain lines with stamps."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from hw.numbers import is_count

US_PER_S = 1_000_000

_JSON = re.compile(r"[\s\x1e]*(?:\[\s*)?\{")
_KMSG = re.compile(r"^\d{1,6},\d+,(\d{1,18}),[^;,]*(?:,[^;]*)?;(.*)$")
_KMSG_FIELD = re.compile(r"^ [A-Z_]+=")


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


def from_records(text: str) -> list[str] | None:
    """Plain lines of a log kept as records, None if it is not."""
    if _JSON.match(text):
        return _from_json(text) or None
    lines = text.split("\n")
    kept = [match for line in lines[:200] if (match := _KMSG.match(line))]
    if len(kept) > 20 or (kept and len(kept) == len([line for line in lines if line and line[0] != " "])):
        return _from_kmsg(lines)
    return None


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
