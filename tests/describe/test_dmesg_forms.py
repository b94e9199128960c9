"""One log in the forms programs keep it in: all of them say the same."""

from __future__ import annotations

import html
import json
from pathlib import Path

import pytest

from minikern.describe.dmesg_forms import cut_at
from minikern.describe.dmesg_text import boots, read_log, read_raw

PLAIN = [
    "Linux version 6.1.0-56-amd64 (a@b) (gcc-12) #1 SMP",
    "Command line: root=/dev/sda1 quiet",
    "BIOS-provided physical RAM map:",
    "BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable",
    "BIOS-e820: [mem 0x0000000000100000-0x000000003ffdffff] usable",
    "Zone ranges:",
    "  DMA      [mem 0x0000000000001000-0x0000000000ffffff]",
    "x" * 100,
]
STAMPED = [f"[{number:12.6f}] {line}" for number, line in enumerate(PLAIN)]


def journal(text: str, number: int, **more: str) -> str:
    return json.dumps({"MESSAGE": text, "_SOURCE_MONOTONIC_TIMESTAMP": str(number * 1_000_000), **more})


FORMS = {
    "dmesg -J": json.dumps({"dmesg": [{"pri": 6, "time": float(n), "msg": line} for n, line in enumerate(PLAIN)]}),
    "journalctl -o json": "\n".join(journal(line, n, _TRANSPORT="kernel") for n, line in enumerate(PLAIN))
    + "\n" + journal("not the kernel's", 9, _TRANSPORT="syslog") + '\n{"MESSAGE": "cut',
    "journalctl -o json-pretty": "\n".join(
        json.dumps({"_TRANSPORT": "kernel", "MESSAGE": list(line.encode())}, indent=1) for line in PLAIN
    ),
    "/dev/kmsg": "\n".join(f"6,{n},{n * 1_000_000},-;{line}\n SUBSYSTEM=cpu" for n, line in enumerate(PLAIN)),
    "RFC 5424": "\n".join(f"<6>1 2026-11-26T10:00:0{n}Z box kernel - - - {line}" for n, line in enumerate(STAMPED)),
    "a CI system": "\n".join(f"2026-11-26T10:00:0{n}.1234567Z {line}" for n, line in enumerate(STAMPED)),
    "a test runner": "\n".join(f"10:00:0{n} DEBUG| vm1 out: {line}" for n, line in enumerate(STAMPED)),
    "journalctl -o export": "\n\n".join(
        f"__CURSOR=s\nMESSAGE={line}\n_TRANSPORT=kernel\n_SOURCE_MONOTONIC_TIMESTAMP={n}000000"
        for n, line in enumerate(PLAIN)
    )
    + "\n\nMESSAGE=not the kernel's\n_TRANSPORT=syslog\n",
    "journalctl -o verbose": "\n".join(
        f"Thu 2026-11-26 10:00:0{n}.000000 UTC [s=a;i=1]\n    _TRANSPORT=kernel\n    MESSAGE={line}\n"
        f"    _SOURCE_MONOTONIC_TIMESTAMP={n}000000"
        for n, line in enumerate(PLAIN)
    ),
    "LAVA": "\n".join(
        f'- {{"dt": "2026-11-26T10:00:0{n}.1", "lvl": "target", "msg": {json.dumps(line)}}}\n'
        '- {"dt": "2026-11-26T10:00:09.1", "lvl": "debug", "msg": "start: 3.1 wait (timeout 00:01)"}'
        for n, line in enumerate(STAMPED)
    ),
    "Docker": "\n".join(
        json.dumps({"log": f"{line}\n", "stream": "stdout", "time": f"2026-11-26T10:00:0{n}Z"})
        for n, line in enumerate(STAMPED)
    ),
    "cat -n": "\n".join(f"{n + 97:6}\t{line}" for n, line in enumerate(STAMPED)),
    "padded with blanks": "\n".join(line.ljust(160) for line in STAMPED),
    "a page of the web": "<html><pre>\n" + "\n".join(f"<b>{html.escape(line)}</b>" for line in STAMPED) + "</pre>",
    "dmesg -d": "\n".join(f"[{n:12.6f} <{1 - n:12.6f}>] {line}" for n, line in enumerate(PLAIN)),
    "dmesg -e": f"[Nov26 10:00] {PLAIN[0]}\n" + "\n".join(f"[  +1.000000] {line}" for line in PLAIN[1:]),
    "two consoles": "\n".join(f"{line}\n{line}" for line in STAMPED),
    "a terminal": "\n".join(f"[10:00:0{n}.123] {line}" for n, line in enumerate(PLAIN)),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_form(tmp_path: Path, form: str) -> None:
    path = tmp_path / "log"
    path.write_text(FORMS[form])
    assert [line for line in read_log(path) if line] == PLAIN


def test_stamps_are_kept(tmp_path: Path) -> None:
    kept = ("dmesg -J", "/dev/kmsg", "a CI system", "journalctl -o export", "journalctl -o verbose", "LAVA", "Docker")
    for form in kept:
        (tmp_path / "log").write_text(FORMS[form])
        assert [line for line in read_raw(tmp_path / "log") if line] == STAMPED


def test_steps_add_up_to_stamps(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(FORMS["dmesg -e"])
    assert read_raw(tmp_path / "log") == [f"[Nov26 10:00] {PLAIN[0]}", *STAMPED[1:]]


def test_what_the_kernel_says_twice_stays(tmp_path: Path) -> None:
    said = [*STAMPED, STAMPED[-1], STAMPED[-1]]
    (tmp_path / "log").write_text("\n".join(said))
    assert read_raw(tmp_path / "log") == said


def wrapped(lines: list[str], width: int) -> list[str]:
    return [line[at : at + width] for line in lines for at in range(0, len(line), width)]


def test_lines_a_terminal_broke_are_joined(tmp_path: Path) -> None:
    long = [*STAMPED, *(f"[    9.00000{n}] " + "word " * (28 + n) for n in range(6))]
    path = tmp_path / "log"
    path.write_text("\n".join(wrapped(long, 80)))
    assert read_raw(path) == long and not cut_at(read_raw(path))
    path.write_text("\n".join(line[:80] for line in long))
    assert read_raw(path) == [line[:80] for line in long]
    assert cut_at(read_raw(path)) == 80


def test_boots_of_a_log_whose_beginning_is_lost(tmp_path: Path) -> None:
    second = ["Linux version 6.1.1 (a@b)", *PLAIN[1:]]
    assert boots([*PLAIN[3:], *PLAIN, *second]) == [PLAIN[3:], PLAIN, second]
    assert boots(["some text", *PLAIN]) == [PLAIN]


def test_a_line_longer_than_a_kernel_prints_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "dmesg.txt"
    path.write_text("\n".join([*STAMPED, "[    9.000000] " + "0 " * 500_000, STAMPED[0]]))
    lines = read_raw(path)
    assert lines[: len(STAMPED)] == STAMPED
    assert [len(line) for line in lines[len(STAMPED) :]] == [8192, len(STAMPED[0])]
