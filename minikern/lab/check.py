"""Is a user's algorithm right, and how fast is it? Held against the judge of its kind, then against the clock."""

from __future__ import annotations

import copy
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hw.errors import InputError
from minikern.lab.algorithms import Found
from minikern.lab.check_time import Clocked, time_algorithm
from minikern.lab.kinds.kind import CallError, Input, Wrong
from minikern.lab.kinds.registry import BY_HOOK
from minikern.lab.supervise import Steps

MADE_UP = 150  # inputs made up by hypothesis


@dataclass
class Verdict:
    """What came out for one function."""

    found: Found
    wrong: Wrong | None = None
    hand_picked: int = 0
    made_up: int = 0
    left_out: int = 0
    compared: int = 0
    note: str = ""
    first_call_s: float = 0.0  # of the first call there was: with compilation, where it is compiled
    clocked: Clocked | None = None
    merits: dict[str, int] = field(default_factory=dict)  # of this function and the built-in ones, where they have any


class Trial:
    """Runs one algorithm on inputs of its kind; counts what was compared."""

    def __init__(self, found: Found, steps: Steps | None = None) -> None:
        self.found = found
        self.kind = BY_HOOK[found.hook.name]
        self.steps = steps or Steps()
        self.compared = 0
        self.first_call_s: float | None = None

    def fits(self, case: Input) -> bool:
        """False for inputs that would take a plain Python function too long."""
        return self.found.compiled or not self.kind.plain_size or case.size <= self.kind.plain_size

    def first_wrong(self, case: Input) -> Wrong | None:
        """The first thing that is wrong on this input, None if all is right."""
        try:
            return self.kind.first_wrong(case, self)
        except CallError as failed:
            return Wrong(case, "", 0, "(call)", "no exception", str(failed), failed.picture)

    def call(self, where: str, arguments: Sequence[Any], read: Callable[[Any], Any] | None = None) -> Any:
        """As ``Attempt`` says."""
        self.steps.begin(f"{self.found.name} ({self.found.hook.name}), {where}")
        try:
            begin = time.perf_counter()
            value = self.found.function(*arguments)
            if self.first_call_s is None:
                self.first_call_s = time.perf_counter() - begin
            return read(value) if read else value
        except InputError as error:
            raise InputError(f"{self.found.name}: {error}") from error
        except (Exception, SystemExit) as error:
            raise CallError(f"{type(error).__name__}: {_told(error)}", _place(error, self.found)) from error
        finally:
            self.steps.end()

    def tally(self, compared: int) -> None:
        """As ``Attempt`` says."""
        self.compared += compared


def _told(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return str(error) or "it asks for more memory than it may have"
    # A compiler's message has a heading that says nothing; what it is about comes after it.
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["no message"]
    if lines[0].startswith("Failed in nopython mode pipeline"):
        where = next((line for line in lines if line.startswith('File "')), "")
        lines = [line.lstrip(" >") for line in lines[1:] if line[0] not in "-^"] or lines
        told = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
        return f"{told} {where}".strip()[:240]
    return lines[0][:160]


def _place(error: BaseException, found: Found) -> tuple[str, ...]:
    """Which line of the user's file raised it."""
    code = getattr(getattr(found.function, "py_func", found.function), "__code__", None)
    if code is None or isinstance(error, RecursionError):
        return ()
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == code.co_filename]
    return (f"raised in line {frames[-1].lineno} of {Path(code.co_filename).name}: {frames[-1].line}",) \
        if frames else ()  # fmt: skip


def check_algorithm(
    found: Found, machines: Sequence[Input] = (), made_up: int = MADE_UP, steps: Steps | None = None
) -> Verdict:
    """Try a function on hand-picked inputs, on ``machines`` and on made-up ones; time it if it is right."""
    trial, verdict = Trial(found, steps), Verdict(found)
    for case in [*trial.kind.corners(), *machines]:
        if not trial.fits(case):
            verdict.left_out += 1
            continue
        verdict.hand_picked += 1
        verdict.wrong = trial.first_wrong(case)
        if verdict.wrong is not None:
            break
    smaller = verdict.wrong.case.size if verdict.wrong else None
    invented = _invent(trial, verdict, made_up) if smaller is None or smaller > 1 else None
    if invented is not None and (smaller is None or invented.case.size < smaller):
        verdict.wrong = invented
    verdict.compared, verdict.first_call_s = trial.compared, trial.first_call_s or 0.0
    if verdict.wrong is None:
        trial.steps.begin(f"{found.name} ({found.hook.name}), the clock")
        verdict.merits = _merits(trial)
        verdict.clocked = time_algorithm(found)
        trial.steps.end()
    return verdict


def _merits(trial: Trial) -> dict[str, int]:
    merit = trial.kind.merit
    runs = {trial.found.name: trial.found.function, **trial.kind.builtins()} if merit else {}
    return {name: merit.of(run) for name, run in runs.items()} if merit else {}


def _invent(trial: Trial, verdict: Verdict, count: int) -> Wrong | None:
    # The smallest made-up input on which the function is wrong.
    try:
        from hypothesis import HealthCheck, Phase, find, settings
        from hypothesis.errors import NoSuchExample
    except ImportError:
        verdict.note = f"hypothesis is not installed: no made-up {trial.kind.noun}s were tried"
        return None

    def is_wrong(case: Input) -> bool:
        verdict.made_up += 1
        return trial.first_wrong(case) is not None

    phases = (Phase.generate, Phase.shrink)
    how = settings(max_examples=max(count, 1), database=None, deadline=None, derandomize=True, phases=phases,
                   suppress_health_check=list(HealthCheck))  # fmt: skip
    try:
        case = find(trial.kind.made_up(), is_wrong, settings=how)
    except NoSuchExample:
        return None
    return trial.first_wrong(copy.copy(case))
