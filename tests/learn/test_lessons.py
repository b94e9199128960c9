"""The lessons: every command, output and example is as it stands, everything they name is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import minikern
from minikern.learn.asking import QUESTIONS
from minikern.learn.tasks import TASKS
from minikern.learn.text import CONSOLE, LESSONS, PICTURE, PYTHON, QUESTION, TASK, load_lesson, parse_lesson
from tests.learn.running import agree, console, run_command, run_examples

ROOT = Path(minikern.__file__).parents[1]
KINDS = {"", CONSOLE, PYTHON, QUESTION, TASK, PICTURE}
WIDEST = 140  # of a line of prose in the file; a terminal lays it out anew


@pytest.mark.parametrize("name", LESSONS)
def test_what_a_lesson_shows_is_true(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in load_lesson(name).blocks:
        where = f"{name}.md, line {block.line}"
        if block.kind == CONSOLE:
            for command, shown in console(block.text):
                assert agree(shown, run_command(command)), f"{where}: {command}: python -m tests.learn.renew {name}"
        elif block.kind == PYTHON:
            assert not (report := run_examples(block.text, names, where)), report


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_has_all_its_parts(name: str) -> None:
    lesson = load_lesson(name)
    assert {block.kind for block in lesson.blocks} <= KINDS
    assert len(lesson.named(QUESTION)) >= 2 and 1 <= len(lesson.named(TASK)) <= 2 and 10 <= lesson.minutes <= 20
    prose = "".join(block.text for block in lesson.blocks if not block.kind)
    assert "## Break it" in prose and "## Write it" in prose and "*Here:*" in prose
    assert all(len(line) <= WIDEST for line in prose.splitlines())


@pytest.mark.parametrize("name", LESSONS)
def test_the_places_a_lesson_names_are_there(name: str) -> None:
    prose = "".join(block.text for block in load_lesson(name).blocks if not block.kind)
    places = re.findall(r"`((?:minikern|hw)/[\w./-]+)`", prose)
    assert places and all((ROOT / place).exists() for place in places), places


def test_questions_and_tasks_each_stand_in_one_lesson() -> None:
    asked = [name for lesson in LESSONS for name in load_lesson(lesson).named(QUESTION)]
    assert sorted(asked) == sorted(QUESTIONS)
    assert [QUESTIONS[name].lesson for name in asked] == [n for n in LESSONS for _ in load_lesson(n).named(QUESTION)]
    assert [(name, TASKS[name].lesson) for lesson in LESSONS for name in load_lesson(lesson).named(TASK)] == [
        (task.name, task.lesson) for task in TASKS.values()
    ]


def test_a_lesson_without_a_head_is_refused() -> None:
    with pytest.raises(minikern.InputError, match="expected a head"):
        parse_lesson("mine", "# Mine\n")
    with pytest.raises(minikern.InputError, match="lesson"):
        load_lesson("nothing")


def test_what_agrees() -> None:
    assert agree("[    0.036819] Run /init", "[    0.036978] Run /init")
    assert agree("4425 ms, 12 CPUs", "4426 ms, 12 CPUs") and agree("88.2 ms", "88.3 ms")
    assert not agree("4425 ms", "4625 ms") and not agree("12 CPUs", "13 CPUs") and not agree("0.4 ms", "0.9 ms")
    assert not agree("0x0fe00000", "0x0fe00001") and not agree("[    0.036819] a", "[    0.056819] a")
