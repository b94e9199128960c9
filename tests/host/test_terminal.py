"""Nothing of others commands a terminal; files and pipes keep every byte."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from minikern.host.terminal import one_line, shown

EVIL = "\x1b]0;owned\x07\x1b[31mred\x9b2J\r\b\u202e"
MACHINE = f'name = {json.dumps("evil" + EVIL)}\nmemory = "256M"\nappend = {json.dumps("quiet " + EVIL)}\n'
MACHINE += f'dmi = [{json.dumps("DMI: " + EVIL)}]\n[cpus]\ncount = 1\nmodel_name = {json.dumps("CPU" + EVIL[:15])}\n'


def test_shown() -> None:
    assert shown("a\tb\nc") == "a\tb\nc"
    assert shown(EVIL) == "\\x1b]0;owned\\x07\\x1b[31mred\\x9b2J\\x0d\\x08\\u202e"
    assert shown("für 日本") == "für 日本"


def test_one_line() -> None:
    assert one_line("a\nb") == "a b"
    assert len(one_line("x: '" + "9" * 5000 + "' is not")) < 110
    assert len(one_line("9" * 5000)) < 90
    assert one_line("/" + "d/" * 60 + "x.toml: no") == "/" + "d/" * 60 + "x.toml: no"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("evil") / "evil.toml"
    path.write_text(MACHINE)
    return path


def on_a_terminal(*words: str, status: int = 0) -> bytes:
    pty = pytest.importorskip("pty")
    parent, child = pty.openpty()
    with subprocess.Popen([sys.executable, "-m", "minikern", *words], stdout=child, stderr=child, stdin=child) as done:
        os.close(child)
        said = bytearray()
        while True:
            try:
                data = os.read(parent, 1 << 16)
            except OSError:  # the terminal's other side is closed
                break
            if not data:
                break
            said += data
    os.close(parent)
    assert done.returncode == status, bytes(said)
    return bytes(said)


@pytest.mark.parametrize(
    "words",
    [("boot",), ("compare", "--variants", "baseline"), ("blame",), ("machine", "show"), ("critical-chain",)],
    ids=" ".join,
)
def test_a_strangers_machine_on_a_terminal(words: tuple[str, ...], machine: Path) -> None:
    said = on_a_terminal(*words, str(machine))
    assert b"owned" in said
    for raw in (b"\x1b]", b"\x07", b"\x1b[31m", b"\xc2\x9b", b"\x08", "\u202e".encode()):
        assert raw not in said, said[said.index(raw) - 60 :][:200]


def test_a_strangers_word_in_a_message() -> None:
    said = on_a_terminal("boot", f"no{EVIL}such", status=2)
    assert b"\x1b" not in said and b"\\x1b]0;owned" in said


def test_a_pipe_keeps_the_bytes_and_json_escapes(machine: Path) -> None:
    def piped(*words: str) -> bytes:
        return subprocess.run([sys.executable, "-m", "minikern", *words], capture_output=True, check=True).stdout

    assert EVIL.replace("\r", "").encode()[:20] in piped("boot", str(machine))
    said = piped("boot", str(machine), "--json")
    assert not set(said) & (set(range(32)) - {10}) and json.loads(said)
