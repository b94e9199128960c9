"""Running code of others in a child process: it may crash or never return, and the user still gets one clear line."""

from __future__ import annotations

import mmap
import os
import pickle
import select
import signal
import struct
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from hw.errors import InputError
from minikern.host.children import can_fork, end_warded, fork_warded, keep_awake, limit_memory, split_status
from minikern.host.ending import undone_at_end

_NOTE_BYTES = 4096
_HEAD = struct.Struct("<dI")  # begin of the step that is under way (0: none), length of its text
_POLL_SECONDS = 0.05
MEMORY_BYTES = 4 << 30  # that code of others may take where nobody says otherwise


class Outcome(NamedTuple):
    """What the child returned; or ``failure``, how it ended instead, while doing ``step``."""

    value: Any = None
    failure: str = ""
    step: str = ""


class Steps:
    """Says to the supervisor what is under way: shared memory, since a child that hangs cannot be asked."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, _NOTE_BYTES)

    def begin(self, text: str) -> None:
        """The step ``text`` begins."""
        data = text.encode()[: _NOTE_BYTES - _HEAD.size]
        self._shared[_HEAD.size : _HEAD.size + len(data)] = data
        self._shared[: _HEAD.size] = _HEAD.pack(time.monotonic(), len(data))

    def end(self) -> None:
        """No step is under way."""
        self._shared[:8] = bytes(8)

    def read(self) -> tuple[float, str]:
        """When the step under way began (0: there is none), and the text of the last one."""
        since, length = _HEAD.unpack(self._shared[: _HEAD.size])
        return since, self._shared[_HEAD.size : _HEAD.size + length].decode(errors="replace")


def supervise(work: Callable[[Steps], Any], limit: float, memory: int = MEMORY_BYTES) -> Outcome:
    """Do ``work`` in a child process; a step of it may take ``limit`` seconds. What it started ends with it.

    It may take ``memory`` bytes more than this process has; what asks for more gets a MemoryError.
    InputError of the work is raised here. Where processes cannot be forked, the work is done in this one, unguarded.
    """
    steps = Steps()
    if not can_fork():
        return Outcome(work(steps))
    warden, receiving = fork_warded(lambda pipe: _answer(work, steps, pipe, memory))
    try:
        with undone_at_end(lambda: end_warded(warden)):
            return _watch(warden, receiving, steps, limit)
    finally:
        os.close(receiving)


def _answer(work: Callable[[Steps], Any], steps: Steps, pipe: int, memory: int) -> None:
    limit_memory(memory)
    try:
        answer: tuple[str, Any] = ("value", work(steps))
    except InputError as error:
        answer = ("input", str(error))
    except MemoryError:
        answer = ("failure", "took more memory than it may have")
    with os.fdopen(pipe, "wb", closefd=False) as out:
        pickle.dump(answer, out)
    sys.stdout.flush()


def _watch(warden: int, pipe: int, steps: Steps, limit: float) -> Outcome:
    received = bytearray()
    while True:
        ready, _, _ = select.select([pipe], [], [], _POLL_SECONDS)
        if ready:
            data = os.read(pipe, 1 << 16)
            if not data:
                break
            received += data
        keep_awake(warden)
        since, step = steps.read()
        if since and time.monotonic() - since > limit:
            return Outcome(failure=f"still running after {limit:g} s", step=step)
    answer, status = split_status(bytes(received))
    if status or not answer:
        return Outcome(failure=_how_it_ended(status), step=steps.read()[1])
    kind, value = pickle.loads(answer)
    if kind == "input":
        raise InputError(value)
    if kind == "failure":
        return Outcome(failure=value, step=steps.read()[1])
    return Outcome(value)


def _how_it_ended(status: int) -> str:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return f"crashed: signal {number} ({signal.strsignal(number)})"
    return f"the process ended (status {os.WEXITSTATUS(status)})"
