"""Records in which programs keep kernel messages (JSON, /dev/kmsg), turned into plain lines with stamps."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from hw.numbers import is_count

US_PER_S = 1_000_000

_JSON = re.compile(r"[\s\x1e]*(?:\[\s*|- )?\{")
_OWN_STAMP = re.compile(r"(?:<\d+>)?\[ *\d+\.\d{3,9}\]")
_FIELD = re.compile(r"^ *([A-Z_][A-Z0-9_]*)=(.*)$")
_KMSG = re.compile(r"^\d{1,6},\d+,(\d{1,18}),[^;,]*(?:,[^;]*)?;(.*)$")
_KMSG_FIELD = re.compile(r"^ [A-Z_]+=")


class _Record(msgspec.Struct):
    """A message of ``dmesg --json`` (msg, time in seconds), of the journal (MESSAGE, microseconds as text), or of a
    program that keeps a console's lines: LAVA (msg; lvl names whose line it is), Docker (log), Logstash (message),
    Loki (line).
    """

    msg: str | None = None
    log: str | None = None
    text: str | None = msgspec.field(default=None, name="message")
    line: str | None = None
    time: float | str | None = None
    lvl: str = "target"
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
    if len([line for line in lines[:400] if line.strip().startswith(("_TRANSPORT=kernel", "MESSAGE="))]) > 1:
        return _from_journal(lines)
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
        return (line.strip("\x1e ,[]").removeprefix("- ") for line in text.split("\n") if "{" in line)
    return (part + "}" for part in re.split(r"^\}", text.replace("\x1e", ""), flags=re.MULTILINE) if "{" in part)


def _of_record(record: _Record) -> list[str]:
    told = next((text for text in (record.msg, record.log, record.text, record.line) if text is not None), None)
    if told is not None:
        return _of_console(record, told.rstrip("\r\n"))
    message = bytes(byte & 0xFF for byte in record.message) if isinstance(record.message, list) else record.message
    if message is None or (record.transport or record.identifier or "kernel") != "kernel":
        return []
    text = message.decode("utf-8", "replace") if isinstance(message, bytes) else message
    stamp = record.stamp_us[0] if isinstance(record.stamp_us, list) and record.stamp_us else record.stamp_us
    known = isinstance(stamp, str) and is_count(stamp) and len(stamp) < 18
    return list(_line(int(str(stamp)) / US_PER_S, text)) if known else text.split("\n")


def _of_console(record: _Record, told: str) -> list[str]:
    if record.lvl != "target":
        return []
    if isinstance(record.time, float) and not _OWN_STAMP.match(told):
        return list(_line(record.time, told))
    return told.split("\n")


def _from_journal(lines: list[str]) -> list[str]:
    """Entries of ``journalctl -o export`` or ``-o verbose``: a field a line, MESSAGE among them."""
    found: list[str] = []
    entry: dict[str, str] = {}
    for line in [*lines, ""]:
        if field := _FIELD.match(line):
            entry[field[1]] = field[2]
        elif entry:
            found += _of_record(msgspec.convert(entry, _Record))
            entry = {}
    return found


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
