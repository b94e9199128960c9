"""Evaluations that run in turns, term by term, on one namespace: what parallel firmware code would do to each other.

Each evaluation has a thread of the host's, of which one at a time runs; who goes on is drawn. With the interpreter lock
an evaluation gives way only where ACPICA lets the lock go: asleep, or waiting for a mutex.
Source: drivers/acpi/acpica/exutils.c:acpi_ex_exit_interpreter(), exsystem.c @ v6.12
"""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from minikern.acpi.evaluate import RECURSION
from minikern.acpi.opcode_names import opcode_name
from minikern.state.namespace import Node, shown

if TYPE_CHECKING:
    from minikern.acpi.interpreter import Interpreter
    from minikern.acpi.stream import Frame

STACK_BYTES = 256 << 20
SWITCH_ONE_IN = 6  # terms, on average, between two turns without the lock


class Step(NamedTuple):
    """A term that evaluation ``who`` ran."""

    who: int
    method: str
    term: str


class _GivenUp(BaseException):
    """The others wait for each other: the evaluation ends where it is."""


@dataclass(eq=False)
class _Evaluation:
    who: int
    work: Callable[[], Any]
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    gave_way: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    ready: Callable[[], bool] = lambda: True
    done: bool = False
    stopped: bool = False
    answer: Any = None
    error: Exception | None = None
    context: tuple[int, Any, int] = (0, None, 0)


class Turns:
    """Runs evaluations on one interpreter; ``steps`` is what they did, in order. ``locked``: the lock is respected."""

    def __init__(self, run: Interpreter, draw: random.Random, locked: bool) -> None:
        self.run, self.draw, self.locked = run, draw, locked
        self.steps: list[Step] = []
        self.stuck: list[int] = []  # evaluations that wait for each other for ever
        self._current: _Evaluation | None = None

    def together(self, work: Sequence[Callable[[], Any]]) -> list[Any]:
        """Run all to their ends, in drawn turns; their answers. What one raises is raised."""
        run, all_of = self.run, [_Evaluation(who, one) for who, one in enumerate(work)]
        before = run.trace, run.wait_until, threading.stack_size(STACK_BYTES), sys.getrecursionlimit()
        sys.setrecursionlimit(RECURSION)
        run.trace, run.wait_until = self._term, self._wait_until
        try:
            threads = [threading.Thread(target=self._body, args=(one,), daemon=True) for one in all_of]
            for thread in threads:
                thread.start()
            self._take_turns(all_of)
        finally:
            run.trace, run.wait_until = before[:2]
            threading.stack_size(before[2])
            sys.setrecursionlimit(before[3])
        for one in all_of:
            if one.error is not None:
                raise one.error
        return [one.answer for one in all_of]

    def _take_turns(self, all_of: list[_Evaluation]) -> None:
        for one in all_of:
            one.context = self.run.depth, self.run.thread, self.run.owner
        while waiting := [one for one in all_of if not one.done]:
            ready = [one for one in waiting if one.ready()]
            if not ready:
                self.stuck = [one.who for one in waiting]
                for one in waiting:
                    one.stopped = True
                ready = waiting
            self._resume(self.draw.choice(ready))

    def _resume(self, one: _Evaluation) -> None:
        run, own = self.run, (self.run.depth, self.run.thread, self.run.owner)
        self._current = one
        run.depth, run.thread, run.owner = one.context
        one.go.release()
        one.gave_way.acquire()
        one.context = run.depth, run.thread, run.owner
        run.depth, run.thread, run.owner = own
        self._current = None

    def _body(self, one: _Evaluation) -> None:
        one.go.acquire()
        try:
            if not one.stopped:
                one.answer = one.work()
        except _GivenUp:
            pass
        except Exception as problem:
            one.error = problem
        one.done = True
        one.gave_way.release()

    def _give_way(self, ready: Callable[[], bool]) -> None:
        one = self._current
        if one is None:
            return
        one.ready = ready
        one.gave_way.release()
        one.go.acquire()
        if one.stopped:
            raise _GivenUp

    def _term(self, node: Node, frame: Frame, op: int) -> None:
        if self._current is not None and frame.method is not None:
            self.steps.append(Step(self._current.who, shown(node.path), opcode_name(op)))
        if not self.locked and self.draw.randrange(SWITCH_ONE_IN) == 0:
            self._give_way(lambda: True)

    def _wait_until(self, ready: Callable[[], bool]) -> None:
        self._give_way(ready)
