"""``minikern learn`` as a learner and as a teacher use it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from minikern.cli import main
from minikern.learn.asking import question_named
from minikern.learn.text import LESSONS


def learn(*words: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(main, ["learn", *words], input=typed)


def right(name: str, seed: int = 1) -> str:
    return question_named(name).with_seed(seed).shown()


def test_right_answers_by_option(tmp_path: Path) -> None:
    score = tmp_path / "score.jsonl"
    words = ("start", "pci", "--seed", "5", "--score", str(score))
    result = learn(*words, "--answer", right("pci-ecam", 5), "--answer", right("pci-bar", 5))
    assert result.exit_code == 0 and "2 of 2 right, seed 5" in result.stderr
    assert learn(*words, "--answer", "12", "--answer", "skip").exit_code == 1
    summed = learn("score", str(score))
    assert summed.stdout == "pci            2 of   3 right, 0 hints\n"
    assert [row["right"] for row in json.loads(learn("score", str(score), "--json").stdout)] == [True, True, False]


def test_answers_hints_and_solutions_as_typed() -> None:
    typed = f"what?\nhint\nhint\nhint\n{right('pci-ecam')}\nsolution\n"
    result = learn("start", "pci", typed=typed)
    assert result.exit_code == 1  # the second was given up
    for text in ("expected a whole number", "*Hint:*", "No more hints", "**Right.**", "**Answer:"):
        assert text in result.stdout, text


def test_a_lesson_is_read_without_answering() -> None:
    result = learn("start", "4", typed="")
    assert result.exit_code == 0 and "struct page" in result.stdout and "Answer" not in result.stdout
    assert f"Answer: {right('pci-bar')}" in learn("start", "pci", "--solution").stdout


def test_another_seed_is_another_question() -> None:
    assert learn("start", "e820", "--seed", "2", typed="").stdout != learn("start", "e820", typed="").stdout


def test_a_teachers_sheets(tmp_path: Path) -> None:
    path = tmp_path / "sheets.md"
    assert learn("export", "pci", "kho", "--seeds", "3-4", "-o", str(path)).exit_code == 0
    text = path.read_text()
    assert text.count("(seed 3)") == 2 and text.index("# Answers, seed 3") > text.index("(seed 4)")
    assert f"{right('kho-key', 4)}." in text
    assert "# Answers" not in learn("export", "pci", "--no-answers").stdout
    assert learn("export", "pci", "--seeds", "").exit_code == 2


def test_the_list_has_all_lessons() -> None:
    assert [row["name"] for row in json.loads(learn("list", "--json").stdout)] == list(LESSONS)
    lines = learn("list").stdout.splitlines()
    assert len(lines) == len(LESSONS) and all(len(line) <= 80 for line in lines)


def test_tasks_from_template_to_verdict(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(learn("task", "node_of").stdout)
    assert learn("judge", "node_of", str(path)).exit_code == 1
    path.write_text("def node_of(ranges, address):\n    return [n for s, e, n in ranges if s <= address < e + 0][0]\n")
    result = learn("judge", "node_of", str(path))
    assert result.exit_code == 1 and "expected  None" in result.stdout and "IndexError" in result.stdout


@pytest.mark.parametrize("words", [("start", "nothing"), ("task", "x"), ("score", "/nowhere/x"), ("export", "x")])
def test_what_is_not_there_is_one_line(words: tuple[str, ...]) -> None:
    result = learn(*words)
    assert result.exit_code == 2 and result.stderr.startswith("minikern: ") and result.stderr.count("\n") == 1
