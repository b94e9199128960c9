"""Whole commands with words, files and options that are nearly right, run in this process or in one of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import NamedTuple

from click.testing import CliRunner

from hw.errors import InputError
from minikern.cli import main
from minikern.core.variant import load_variants
from minikern.report.json_text import json_text
from tests.fuzz import handed_on, images, logs, machines, tables, written
from tests.fuzz.mutations import SIZES, WORDS, one_in

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 60
FILES = {
    "fuzz.toml": machines.description, "dmesg.txt": logs.boot_log, "kept.log": logs.kept_log,
    "costs.toml": written.costs, "variant.toml": written.variant, "kernel.toml": written.release,
    "plan.toml": written.plan, "fleet.csv": written.results, "mine.py": written.algorithm_file,
    "lspci.txt": tables.words, "dump.txt": tables.dump, "linux.efi": images.signed_file,
    "vmlinuz": lambda chance: images.kernel_files(chance)[0], "initrd": handed_on.archive,
    "config": lambda chance: logs.side_text(chance)[1],
}  # fmt: skip
SMALL = ("tiny", "tiny", "fuzz.toml", "dmesg.txt", "kept.log", "lspci.txt")
COMMANDS = (
    "boot MACHINE", "boot MACHINE --json", "boot MACHINE --explain", "boot MACHINE --trace trace.json",
    "boot tiny --costs costs.toml", "boot tiny --variant variant.toml", "boot tiny --kernel kernel.toml",
    "boot tiny --pci lspci.txt", "boot tiny --pci dump.txt", "boot tiny --config config", "boot tiny --systemd config",
    "boot tiny --append APPEND", "boot tiny --memory SIZE", "boot tiny --variant NAME", "boot tiny --check",
    "blame MACHINE", "critical-chain MACHINE", "compare tiny --variants NAME,NAME", "compare tiny --variants WORD",
    "compare dmesg.txt kept.log", "compare tiny --measured MEASURED --variants baseline",
    "compare dmesg.txt --variants NAME",
    "downtime tiny --vm VM", "explain LINE", "explain WORD", "fit dmesg.txt -o fitted.toml", "fit kept.log",
    "proc zoneinfo MACHINE", "proc buddyinfo tiny --memory SIZE", "pci MACHINE", "acpi tree MACHINE",
    "acpi eval MACHINE WORD", "machine show MACHINE", "machine dump MACHINE out", "kernel show WORD",
    "variant show NAME", "sweep show fleet.csv", "sweep plan.toml --row 0", "kexec tiny --kernel vmlinuz",
    "kexec tiny --kernel vmlinuz --initrd initrd", "kexec tiny --kernel linux.efi", "picture memory MACHINE -o m.svg",
    "report MACHINE -o boot.html", "check mine.py --examples 1 --timeout 5", "explore smp --cpus 4 --seeds 3",
    "learn start WORD", "WORD", "boot WORD", "boot tiny --WORD", "boot tiny --cpus CPUS", "boot tiny --numa NUMA",
    "boot tiny --fault FAULT",
)  # fmt: skip


class Command(NamedTuple):
    """The words, and the files they find in their folder."""

    words: tuple[str, ...]
    files: dict[str, bytes]


def words(chance: Random) -> Command:
    """A command of the manual page with what its words stand for filled in."""
    filled = tuple(_filled(chance, word) for word in chance.choice(COMMANDS).split())
    if one_in(chance, 10):
        filled += (chance.choice((*WORDS[:8], "--json", "--markdown", "-o", "--help", "--no-fit", "-")),)
    return Command(filled, {name: make(chance) for name, make in FILES.items() if name in filled})


def _filled(chance: Random, word: str) -> str:
    for sign, made in (
        ("MACHINE", lambda: chance.choice(SMALL)), ("APPEND", lambda: machines.command_line(chance)),
        ("SIZE", lambda: chance.choice(SIZES)), ("NAME", lambda: chance.choice(tuple(load_variants()))),
        ("WORD", lambda: chance.choice((*WORDS, "kho=on", "mem=", "tiny", "debian-6.12", "smp"))),
        ("LINE", lambda: chance.choice(chance.choice(logs.logs()))), ("VM", lambda: _shaped(chance, "vm")),
        ("MEASURED", lambda: _shaped(chance, "measured")), ("CPUS", lambda: _shaped(chance, "cpus")),
        ("NUMA", lambda: _shaped(chance, "numa")), ("FAULT", lambda: _shaped(chance, "fault")),
    ):  # fmt: skip
        if sign in word:
            word = word.replace(sign, made())
    return word


def _shaped(chance: Random, name: str) -> str:
    while True:
        found, text = machines.option_word(chance)
        if found == name:
            return text


def _laid(place: Path, files: dict[str, bytes]) -> set[str]:
    for path in sorted(place.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    for name, data in files.items():
        (place / name).write_bytes(data)
    return set(files)


def run(place: Path, given: Command) -> None:
    """In this process. InputError: it was refused; AssertionError: it ended in another way than there are."""
    _laid(place, given.files)
    before = Path.cwd()
    os.chdir(place)
    try:
        done = CliRunner().invoke(main, [word.replace("\0", "") for word in given.words])
    finally:
        os.chdir(before)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    _judge(given, done.exit_code, done.stderr)


def run_apart(place: Path, given: Command) -> None:
    """In a process of its own, as a user does; nothing may be left behind but the files that were asked for."""
    there = _laid(place, given.files)
    line = [sys.executable, "-m", "minikern", *(word.replace("\0", "") for word in given.words)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(line, cwd=place, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, start_new_session=True) as child:  # fmt: skip
        _, told = child.communicate(timeout=PATIENCE_SECONDS)
    left = [path.name for path in place.iterdir() if path.name not in {*there, *given.words, "__pycache__"}]
    assert not left, f"left behind: {left}"
    assert not _session(child.pid), f"processes left behind: {_session(child.pid)}"
    _judge(given, child.returncode, told.decode("utf-8", "replace"))


def _session(number: int) -> list[str]:
    """Processes of a session, by their status line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text()
        except OSError:
            continue
        if text.rpartition(")")[2].split()[3] == str(number):
            found.append(text[:80])
    return found


def _judge(given: Command, status: int, told: str) -> None:
    what = json_text({"words": given.words, "status": status, "told": told[-600:]})
    assert status in (0, 1, 2, 3), what
    assert "Traceback" not in told and "internal error" not in told, what
    if status >= 2:
        raise InputError(told.strip().splitlines()[-1] if told.strip() else what)
