"""Judging a learner's function: made-up cases, the smallest failing one shown, a crash or a hang contained."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from hw.errors import InputError
from minikern.lab.supervise import Steps, supervise
from minikern.learn.tasks import Task

CASES = 120
CLOSE = 1e-4  # of floating-point results: the emulator rounds to thousandths


class Verdict(NamedTuple):
    """``right``, after how many cases; else the arguments that fail, what the emulator says and what came."""

    right: bool
    tried: int
    shown: str = ""
    expected: str = ""
    found: str = ""


def judge(task: Task, path: Path, limit_s: float = 10.0) -> Verdict:
    """Judge the function ``task.name`` of a Python file; one call of it may take ``limit_s``.

    InputError: the file has no such function, or does not load.
    """
    if task.case is None:
        raise InputError(f"{task.name} is judged by: minikern check {path}")
    done = supervise(lambda steps: _judge(steps, task, path), limit_s)
    if done.failure:
        return Verdict(False, 0, done.step, "an answer", done.failure)
    verdict = done.value
    assert isinstance(verdict, Verdict)
    return verdict


def _judge(steps: Steps, task: Task, path: Path) -> Verdict:
    steps.begin(f"loading {path}")
    function = load_function(task, path)
    steps.end()
    assert task.case is not None
    worst: tuple[int, Verdict] | None = None
    for seed in range(CASES):
        arguments, expected = task.case(Random(f"{task.name}:{seed}"), seed)
        shown = f"{task.name}({', '.join(map(repr, arguments))})"
        steps.begin(shown)
        try:
            found = function(*arguments)
        except Exception as error:
            found = error
        steps.end()
        if not same(found, expected):
            wrong = Verdict(False, seed + 1, shown, repr(_plain(expected)), _told(found))
            if worst is None or len(shown) < worst[0]:
                worst = (len(shown), wrong)
    return worst[1] if worst else Verdict(True, CASES)


def _told(found: Any) -> str:
    return f"{type(found).__name__}: {found}" if isinstance(found, Exception) else repr(_plain(found))


def load_function(task: Task, path: Path) -> Callable[..., Any]:
    """The learner's function. InputError says what is wrong with the file."""
    if not path.is_file():
        raise InputError(f"{path}: no such file: minikern learn task {task.name} > {path} makes one to begin with")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path}: expected a Python file (.py)")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise InputError(f"{path}: {type(error).__name__}: {error}") from error
    function = getattr(module, task.name, None)
    if not callable(function):
        raise InputError(f"{path}: no function {task.name}({task.arguments}) in it")
    return function  # type: ignore[no-any-return]


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def same(found: Any, expected: Any) -> bool:
    """True if two results say the same; tuples and lists are not told apart, floats may differ by rounding."""
    found, expected = _plain(found), _plain(expected)
    if isinstance(expected, list):
        long_enough = isinstance(found, list) and len(found) == len(expected)
        return long_enough and all(same(a, b) for a, b in zip(found, expected, strict=True))
    if isinstance(expected, float):
        number = isinstance(found, (int, float)) and not isinstance(found, bool)
        return number and abs(found - expected) <= CLOSE * max(abs(expected), 1.0)
    return type(found) is type(expected) and bool(found == expected)
