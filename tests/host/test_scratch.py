"""As root, in a namespace with files of all kinds: whatever name a command is given, it writes nothing but that file.

The device files are made for it, of numbers that no driver has; no real one is ever named.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.host.namespaces import run_apart

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.getuid() != 0, reason="only root makes device files, and could replace them"
)
NO_DRIVER = "240 77"  # of the numbers for local use; Source: Documentation/admin-guide/devices.txt
MAKE = f"""
mkdir "$1"; mount -t tmpfs none "$1"; cd "$1"
mknod block b {NO_DRIVER}; mknod char c {NO_DRIVER}; mkfifo pipe; mkdir -p folder/full; echo kept > folder/full/file
ln -s block to_block; ln -s char to_char; ln -s pipe to_pipe; ln -s folder to_folder; ln -s nothing to_nothing
ln -s to_block to_to_block; ln -s "$1" to_here; echo kept > file
exec "$2" -m tests.host.test_scratch
"""
NAMES = (
    ".", "/", "", "block", "char", "folder", "to_block", "to_char", "to_pipe", "to_folder", "to_nothing", "to_to_block",
    "to_here", "folder/full", "block/x", "to_block/x", "folder/",
)  # fmt: skip
COMMANDS = [
    ("boot", "tiny", "--trace"), ("machine", "dump", "tiny"), ("compare", "tiny", "--variants", "baseline", "--plot"),
    ("proc", "kpageflags", "tiny", "-o"), ("acpi", "cost", "tiny", "--flame"), ("learn", "export", "e820", "-o"),
    ("picture", "memory", "tiny", "-o"), ("sweep", "--machines", "tiny", "-o"), ("report", "tiny", "-o"),
]  # fmt: skip
THOROUGH = 2  # the first ones get every name, the others every fourth, another one each


def listed() -> str:
    command = ["find", ".", "-printf", "%p %y %l %i %s\n"]
    return "".join(sorted(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines(True)))


def attempts() -> list[tuple[tuple[str, ...], str]]:
    return [
        (words, name)
        for at, words in enumerate(COMMANDS)
        for number, name in enumerate(NAMES)
        if at < THOROUGH or number % 4 == at % 4
    ]


def attack() -> None:
    """Give the names to the commands; prints what became of each as JSON."""
    from minikern.cli import main

    before, found = listed(), []
    for words, name in attempts():
        done = CliRunner().invoke(main, [*words, name])
        found.append((words[0], name, done.exit_code, done.stderr.count("\n"), listed() == before))
    done = CliRunner().invoke(main, ["boot", "tiny", "--trace", "file"])
    print(json.dumps({"refused": found, "written": done.exit_code, "changed": [
        line.split()[0] for line in listed().splitlines() if line not in before]}))  # fmt: skip


def test_no_name_makes_a_command_write_elsewhere(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    done = run_apart(MAKE, {**os.environ, "PYTHONPATH": root}, str(tmp_path / "scratch"), sys.executable)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert len(told["refused"]) == len(attempts())
    assert [one for one in told["refused"] if one[2] != 2 or not one[4]] == []
    assert (told["written"], set(told["changed"]) - {"."}) == (0, {"./file"})


if __name__ == "__main__":
    attack()
