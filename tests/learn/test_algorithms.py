"""The book's page on algorithms of one's own: every kind, with a mistake that is found while the page is made."""

from __future__ import annotations

import pytest

from minikern.lab.kinds.registry import KINDS
from minikern.learn.algorithms import algorithms_page, shown_wrong
from minikern.learn.tasks import TASKS
from minikern.learn.text import LESSONS, TASK, load_lesson


@pytest.fixture(scope="module")
def page() -> str:
    return algorithms_page()


def test_every_kind_has_its_contract_and_a_counterexample(page: str) -> None:
    assert page.count("## ") == page.count("\n## ") == len(KINDS)
    assert page.count(": wrong\n  ") == len(KINDS) and ": right" not in page
    for kind in KINDS.values():
        assert f"## {kind.name}\n" in page and kind.hook.task in page and kind.example in page


@pytest.mark.parametrize("name", ["hvo", "free-merge", "bring-up"])
def test_what_is_shown_has_a_picture(name: str) -> None:
    kind = KINDS[name]
    assert kind.mistake[0] in kind.example
    wrong = shown_wrong(kind).wrong
    assert wrong is not None and len(wrong.picture) >= 3


def test_lessons_give_every_kind_of_hook_to_somebody_to_write() -> None:
    hooks = {TASKS[name].hook for lesson in LESSONS for name in load_lesson(lesson).named(TASK)}
    assert {kind.hook.name for kind in KINDS.values() if kind.row_bytes != 64} <= hooks
