"""Every question has one right answer, found by the emulator and by schoolbook arithmetic alike."""

from __future__ import annotations

import os

import pytest

from minikern.learn.asking import QUESTIONS, question_named
from minikern.learn.question import Asked, parse_answer
from tests.learn.naive_learn import SECOND_WAYS

SEEDS = int(os.environ.get("MINIKERN_SEEDS", "12"))


def another(asked: Asked) -> list[str]:
    """Answers near the right one that are wrong."""
    if isinstance(asked.answer, list):
        return [",".join(map(str, reversed(asked.answer))), ",".join(map(str, asked.answer[:-1])) or "7"]
    if isinstance(asked.answer, str):
        return [choice for choice in asked.choices if choice != asked.answer]
    off = 1 + int(asked.answer * asked.tolerance * 1.1)
    return [str(asked.answer + off), str(asked.answer - off)]


@pytest.mark.parametrize("name", QUESTIONS)
def test_two_ways_to_one_answer(name: str) -> None:
    question = question_named(name)
    for seed in range(1, SEEDS + 1):
        asked = question.with_seed(seed)
        second = SECOND_WAYS[name](asked.given)
        where = f"{name}, seed {seed}: {asked.text}"
        assert asked.right(parse_text(second, asked)), f"{where}: {asked.answer} and {second}"
        if not asked.tolerance:
            assert second == asked.answer, where
        assert asked.right(asked.shown()), where
        assert not any(asked.right(wrong) for wrong in another(asked)), where


def parse_text(value: object, asked: Asked) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else f"{value:.6f}" if asked.tolerance and isinstance(
        asked.answer, float
    ) else str(value)  # fmt: skip


def test_every_question_has_its_second_way() -> None:
    assert set(SECOND_WAYS) == set(QUESTIONS)


@pytest.mark.parametrize("name", QUESTIONS)
def test_questions_are_told_in_full(name: str) -> None:
    asked = question_named(name).with_seed(1)
    assert asked == question_named(name).with_seed(1)
    assert asked.text.endswith(("?", ".", ")")) and len(asked.hints) >= 2 and len(asked.solution) > 40
    assert asked.right("nonsense") is None
    assert {question_named(name).with_seed(seed).text for seed in range(1, 9)} != {asked.text}


def test_answers_as_people_type_them() -> None:
    assert parse_answer(" 1,024 ", 0) == parse_answer("0x400", 0) == parse_answer("1_024", 0) == 1024
    assert parse_answer("12.5", 0.0) == 12.5 and parse_answer("12 ms", 0.0) is None
    assert parse_answer("2, 1 3-5", [0]) == [2, 1, 3, 4, 5] and parse_answer("[0 2]", [0]) == [0, 2]
    assert parse_answer("two", [0]) is None and parse_answer("", "") is None
