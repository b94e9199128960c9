"""A night's run counts every input once, whatever an input does to the process that reads it, and goes on."""

from __future__ import annotations

import os
import pickle
import signal
from pathlib import Path
from random import Random

import pytest

from hw.errors import InputError
from tests.fuzz import night
from tests.fuzz.readers import Reader


def _drawn(chance: Random) -> int:
    return chance.randrange(1000)


def _read(place: Path, number: int) -> None:
    if number % 10 == 0:
        raise InputError("a refusal")
    if number % 97 == 0:
        raise KeyError("nobody foresaw it")


def _dies(place: Path, number: int) -> None:
    if number % 100 == 7:
        os.kill(os.getpid(), signal.SIGKILL)


def _run(path: Path, reader: Reader, until: int) -> dict[str, int]:
    found = night.Night(path, 1)
    found.run(reader, until)
    counts = found.of(reader)["counts"]
    return {name: counts.get(name, 0) for name in ("inputs", "executed", "refused", "unforeseen")}


def test_in_parts_as_in_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(night, "STEP", 50)
    reader = Reader("drawn", _drawn, _read, 1000)
    numbers = [night.made(reader, 1, number) for number in range(400)]
    refused = sum(number % 10 == 0 for number in numbers)
    bad = [number for number in numbers if number % 10 and number % 97 == 0]
    whole = {"inputs": 400, "executed": 400 - refused - len(bad), "refused": refused, "unforeseen": len(bad)}
    assert bad and _run(tmp_path / "whole.json", reader, 400) == whole
    _run(tmp_path / "parts.json", reader, 130)
    assert _run(tmp_path / "parts.json", reader, 400) == whole
    name, what, given = pickle.loads((tmp_path / "whole.inputs/drawn-1.pickle").read_bytes())
    assert (name, given) == ("drawn", bad[0]) and what.startswith("KeyError")


def test_a_process_that_dies_is_one_end_that_nobody_foresaw(tmp_path: Path) -> None:
    reader = Reader("dies", _drawn, _dies, 1000)
    deadly = sum(night.made(reader, 1, number) % 100 == 7 for number in range(200))
    found = _run(tmp_path / "night.json", reader, 200)
    assert deadly and (found["inputs"], found["unforeseen"]) == (200, deadly)
