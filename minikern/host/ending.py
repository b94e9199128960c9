"""How the program ends before its time: one line, a fitting status, nothing half done left behind.

Whoever makes something that must not outlive the program (a draft of a file, a scratch folder, a child) says how it is
undone with ``undone_at_end``. The handlers undo, say one line and leave at once: no exception passes through code that
might swallow it or print it, whatever is being imported or computed when the signal comes.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

_SAID = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "the terminal went away"}
_BY_SIGNAL = 128  # a shell's status of a command that a signal ended is this and the signal's number

_undo: dict[int, Callable[[], object]] = {}
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_undo.clear)  # what the parent made is the parent's to undo


def install() -> None:
    """Take over the signals that end a program; one that is ignored (nohup, a shell's &) stays ignored."""
    for name in _SAID:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end_now)


@contextlib.contextmanager
def undone_at_end(undo: Callable[[], object]) -> Iterator[None]:
    """``undo`` is called when the block ends, however it ends: also by a signal. It is called once."""
    key = id(undo)
    _undo[key] = undo
    try:
        yield
    finally:
        if _undo.pop(key, None) is not None:
            undo()


def forget_signals() -> None:
    """For a child: signals do what they do to any process, and Ctrl-C is the parent's to act upon."""
    for name in _SAID:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def leave(status: int) -> NoReturn:
    """End the program with ``status`` once all is written; from here on no signal can change what it says."""
    for name in _SAID:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(status)


def _end_now(number: int, frame: FrameType | None) -> None:
    for name in _SAID:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    for undo in reversed(list(_undo.values())):
        with contextlib.suppress(Exception):
            undo()
    with contextlib.suppress(OSError):
        os.write(2, f"minikern: {_SAID[signal.Signals(number).name]}\n".encode())
    os._exit(_BY_SIGNAL + number)
