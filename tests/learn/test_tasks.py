"""Tasks: what is right passes, one mistake is found and shown, a crash or a loop without end is contained."""

from __future__ import annotations

from pathlib import Path

import pytest

import minikern
from minikern.lab.algorithms import HOOKS, load_algorithms
from minikern.learn.judge import judge, same
from minikern.learn.tasks import TASKS, task_named
from tests.learn.solutions import MISTAKES, SOLUTIONS

JUDGED = [task.name for task in TASKS.values() if not task.hook]


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.py"
    path.write_text(text)
    return path


def test_there_is_a_solution_and_a_mistake_for_each() -> None:
    assert set(SOLUTIONS) == set(MISTAKES) == set(JUDGED)


@pytest.mark.parametrize("name", JUDGED)
def test_a_right_one_passes(name: str, tmp_path: Path) -> None:
    verdict = judge(task_named(name), written(tmp_path, SOLUTIONS[name]))
    assert verdict.right and verdict.tried >= 16, verdict


@pytest.mark.parametrize("name", JUDGED)
def test_a_mistake_is_found_and_shown(name: str, tmp_path: Path) -> None:
    old, new = MISTAKES[name]
    assert old in SOLUTIONS[name]
    verdict = judge(task_named(name), written(tmp_path, SOLUTIONS[name].replace(old, new)))
    assert not verdict.right and verdict.shown.startswith(f"{name}(") and verdict.expected != verdict.found


@pytest.mark.parametrize("name", TASKS)
def test_the_template_is_judged_as_not_done(name: str, tmp_path: Path) -> None:
    task = task_named(name)
    path = written(tmp_path, task.template())
    if task.hook:
        assert load_algorithms(str(path))[0].hook is HOOKS[task.hook]
        with pytest.raises(minikern.InputError, match="minikern check"):
            judge(task, path)
    else:
        assert "NotImplementedError" in judge(task, path).found


def test_what_never_ends_or_kills_its_process_is_contained(tmp_path: Path) -> None:
    endless = written(tmp_path, "def bar_size(read_back):\n    while True:\n        pass\n")
    assert "still running" in judge(task_named("bar_size"), endless, 0.3).found
    loading = written(tmp_path, "while True:\n    pass\n")
    verdict = judge(task_named("bar_size"), loading, 0.3)
    assert (verdict.shown, verdict.found) == (f"loading {loading}", "still running after 0.3 s")
    crash = written(tmp_path, "import os, signal\ndef bar_size(x):\n    os.kill(os.getpid(), signal.SIGSEGV)\n")
    assert "signal" in judge(task_named("bar_size"), crash).found


def test_files_that_cannot_be_judged_are_refused(tmp_path: Path) -> None:
    for text, message in (("def other(): ...", "no function bar_size"), ("1 +", "SyntaxError"), ("1 / 0", "division")):
        with pytest.raises(minikern.InputError, match=message):
            judge(task_named("bar_size"), written(tmp_path, text))
    with pytest.raises(minikern.InputError, match="no such file"):
        judge(task_named("bar_size"), tmp_path / "none.py")


def test_what_counts_as_the_same() -> None:
    assert same([(1, 2)], [[1, 2]]) and same(1.0000001, 1.0) and same(3, 3)
    assert not same(True, 1) and not same([1], [1, 2]) and not same("1", 1) and not same(None, 1.0)
