"""Running code of others in a child process: it may crash or never return, and the user still gets one clear line."""

from __future__ import annotations

import contextlib
import faulthandler
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

_NOTE_BYTES = 4096
_HEAD = struct.Struct("<dI")  # begin of the step that is under way (0: none), length of its text
_POLL_SECONDS = 0.05


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


def supervise(work: Callable[[Steps], Any], limit: float) -> Outcome:
    """Do ``work`` in a child process; a step of it may take ``limit`` seconds.

    InputError of the work is raised here. Where processes cannot be forked, the work is done in this one, unguarded.
    """
    steps = Steps()
    if not hasattr(os, "fork"):
        return Outcome(work(steps))
    sys.stdout.flush()
    sys.stderr.flush()
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receiving)
        _child(work, steps, sending)
    os.close(sending)
    try:
        return _watch(child, receiving, steps, limit)
    finally:
        os.close(receiving)


def _child(work: Callable[[Steps], Any], steps: Steps, pipe: int) -> None:
    status = 1
    faulthandler.disable()  # how it ended is told by the supervisor
    try:
        try:
            answer: tuple[str, Any] = ("value", work(steps))
        except InputError as error:
            answer = ("input", str(error))
        with os.fdopen(pipe, "wb") as out:
            pickle.dump(answer, out)
        sys.stdout.flush()
        status = 0
    except KeyboardInterrupt:
        status = 130
    finally:
        os._exit(status)


def _watch(child: int, pipe: int, steps: Steps, limit: float) -> Outcome:
    received = bytearray()
    overdue = False
    try:
        while True:
            ready, _, _ = select.select([pipe], [], [], _POLL_SECONDS)
            if ready:
                data = os.read(pipe, 1 << 16)
                if not data:
                    break
                received += data
            since, _ = steps.read()
            if since and time.monotonic() - since > limit:
                overdue = True
                break
    except BaseException:
        _end(child)
        raise
    status = _end(child) if overdue else os.waitpid(child, 0)[1]
    step = steps.read()[1]
    if overdue:
        return Outcome(failure=f"still running after {limit:g} s", step=step)
    if not received:
        return Outcome(failure=_how_it_ended(status), step=step)
    kind, value = pickle.loads(received)
    if kind == "input":
        raise InputError(value)
    return Outcome(value)


def _end(child: int) -> int:
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def _how_it_ended(status: int) -> str:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return f"crashed: signal {number} ({signal.strsignal(number)})"
    return f"the process ended (status {os.WEXITSTATUS(status)})"
