"""The score file: a line of JSON for every question that was answered, for the learner's teacher."""

from __future__ import annotations

from pathlib import Path

import msgspec

from hw.errors import InputError
from hw.files import read_input
from minikern.host.output import write_file


class Scored(msgspec.Struct, frozen=True):
    """One answer. The seed makes the question again; no time of day is kept, so that a score can be compared."""

    lesson: str
    question: str
    seed: int
    answer: str
    right: bool
    hints: int
    solution_shown: bool


def add_score(path: Path, rows: list[Scored]) -> None:
    """Add lines to a score file, which must be one if it is there. InputError: it is none, or cannot be written."""
    before = read_scores(path) if path.exists() else []
    write_file(path, msgspec.json.Encoder().encode_lines([*before, *rows]))


def read_scores(path: Path) -> list[Scored]:
    """The lines of a score file. InputError: it cannot be read, or a line is none of ours."""
    try:
        return msgspec.json.Decoder(Scored).decode_lines(read_input(path))
    except msgspec.DecodeError as error:
        raise InputError(f"{path}: no score file: {error}") from error
