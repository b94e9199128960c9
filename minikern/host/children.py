"""The one place that starts processes; none of them outlives the program, however the program ends.

Every child dies with its parent (the kernel sees to that where it can: ``prctl``) and is killed when the parent leaves
a block early or a signal ends it. Code of strangers runs under a warden, a process between it and the program that
takes in whatever the code starts, in other groups and sessions too, and ends it all.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import pickle
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hw.numbers import is_count
from minikern.host.backing import mapped_bytes
from minikern.host.collector import rare_looks
from minikern.host.ending import forget_signals, undone_at_end

T = TypeVar("T")
R = TypeVar("R")

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # Source: include/uapi/linux/prctl.h
_HEAD = struct.Struct("<IQ")  # which item, how many bytes of its result follow
_TICKET = struct.Struct("<I")
_MAX_ITEMS = (64 << 10) // _TICKET.size  # tickets that fit a pipe; Source: pipe(7), "Pipe capacity"
_STATUS = struct.Struct("<8si")
_ENDED = b"\x00ended\x00\xff"  # before the status: the end of what the work itself wrote is none
_WARDEN_SECONDS, _WARDEN_POLL = 2.0, 0.01
_PIPE_READ_BYTES = 1 << 16
_TRACKER_WORD = "ignore:resource_tracker:UserWarning"


def can_fork() -> bool:
    """True where a child starts as a copy of this process, with everything imported, and can be tied to its life."""
    return sys.platform == "linux" and hasattr(os, "fork")


def fork_child(work: Callable[[int], None], dies_by: int = signal.SIGKILL) -> tuple[int, int]:
    """Run ``work(fd)`` in a child process: (its pid, the reading end of the pipe ``fd``).

    The child ends with its parent; it has a process group of its own.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    receiving, sending = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        _in_child(work, receiving, sending, parent, dies_by)
    os.close(sending)
    return child, receiving


def _in_child(work: Callable[[int], None], receiving: int, sending: int, parent: int, dies_by: int) -> None:
    status = 1
    try:
        forget_signals()
        os.close(receiving)
        os.setpgid(0, 0)
        _die_with(parent, dies_by)
        faulthandler.disable()  # how it ended is told by the parent
        work(sending)
        status = 0
    finally:
        os._exit(status)


def _die_with(parent: int, by: int) -> None:
    _prctl(_PR_SET_PDEATHSIG, by)
    if os.getppid() != parent:  # it was gone before the kernel was told
        os._exit(1)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def limit_memory(more: int) -> None:
    """This process may map so many bytes more than it has mapped now, no longer all that the computer has."""
    if sys.platform != "linux":
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = mapped_bytes() + more
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def end_child(child: int) -> int:
    """Kill a child and all of its group; its wait status."""
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def fork_warded(work: Callable[[int], None]) -> tuple[int, int]:
    """As ``fork_child``, with a warden between: (the warden's pid, the pipe).

    When the work ends, or the warden is told to with SIGTERM, or this process dies, everything the work started is
    killed. The pipe then ends with the wait status of the work, see ``split_status``.
    """
    return fork_child(lambda pipe: _ward(work, pipe), dies_by=signal.SIGTERM)


def keep_awake(warden: int) -> None:
    """Let a warden go on that was stopped: what it wards may have done so, and nobody would hear of its end."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(warden, signal.SIGCONT)


def end_warded(warden: int) -> None:
    """Have a warden end what it wards, and itself. One that was stopped or cannot is ended with all below it."""
    until = time.monotonic() + _WARDEN_SECONDS
    while time.monotonic() < until:
        with contextlib.suppress(ProcessLookupError):
            os.kill(warden, signal.SIGTERM)
        keep_awake(warden)
        if os.waitpid(warden, os.WNOHANG)[0]:
            return
        time.sleep(_WARDEN_POLL)
    for child in [warden, *_all_below(warden)]:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(child, signal.SIGKILL)
    os.waitpid(warden, 0)


def _all_below(parent: int) -> Iterator[int]:
    for child in _children_of(parent):
        yield child
        yield from _all_below(child)


def split_status(received: bytes) -> tuple[bytes, int]:
    """What came through the pipe of ``fork_warded`` until its end: (the work's own bytes, its wait status)."""
    cut = len(received) - _STATUS.size
    mark, status = _STATUS.unpack(received[cut:]) if cut >= 0 else (b"", 0)
    return (received[:cut], status) if mark == _ENDED else (received, signal.SIGKILL)


def _ward(work: Callable[[int], None], pipe: int) -> None:
    watched = {signal.SIGTERM, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    warden = os.getpid()
    if os.getppid() == 1:
        return
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, watched)
        status = 1
        try:
            os.setpgid(0, 0)
            _die_with(warden, signal.SIGKILL)
            work(pipe)
            status = 0
        finally:
            os._exit(status)
    ended = signal.SIGKILL.value
    while signal.sigwait(watched) != signal.SIGTERM:
        pid, status = os.waitpid(-1, os.WNOHANG)
        while pid not in (0, child):
            pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == child:
            ended = status
            break
    _kill_all_below()
    os.write(pipe, _STATUS.pack(_ENDED, ended))


def _kill_all_below() -> None:
    # Children of a child that is killed become the warden's own, so that the next round finds them.
    with contextlib.suppress(ChildProcessError):
        while True:
            for child in _children_of(os.getpid()):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(child, signal.SIGKILL)
            os.waitpid(-1, 0)


def _children_of(parent: int) -> Iterator[int]:
    for folder in Path("/proc").iterdir():
        if is_count(folder.name):
            with contextlib.suppress(OSError, ValueError, IndexError):
                # pid (name) state ppid: the name may hold anything, so what counts starts after the last bracket
                if int((folder / "stat").read_bytes().rpartition(b")")[2].split()[1]) == parent:
                    yield int(folder.name)


def forked_map(
    work: Callable[[T], R], items: Sequence[T], workers: int, long: Callable[[T], bool] = lambda item: False
) -> Iterator[R]:
    """``work(item)`` for each of ``items``, in order, in up to ``workers`` processes that stay for several items.

    What is ``long`` is begun first, so that no worker is left alone with it at the end. What the work raises is raised
    here. MemoryError: the system killed a worker. The workers are gone when the iterator is closed. Where processes
    cannot be forked, the work is done in this one.
    """
    workers = min(workers, len(items))
    if workers < 2 or not can_fork() or len(items) > _MAX_ITEMS:
        yield from map(work, items)
        return
    tickets, writing = os.pipe()
    begun = sorted(range(len(items)), key=lambda index: not long(items[index]))
    os.write(writing, b"".join(map(_TICKET.pack, begun)))
    os.close(writing)
    children: dict[int, int] = {}  # pipe → pid
    with undone_at_end(lambda: _end_all(children)):
        for _ in range(workers):
            child, pipe = fork_child(lambda sending: _serve(work, items, tickets, sending))
            children[pipe] = child
        os.close(tickets)
        yield from _in_order(children, len(items))


def _serve(work: Callable[[T], R], items: Sequence[T], tickets: int, sending: int) -> None:
    with os.fdopen(sending, "wb") as out, rare_looks():
        while ticket := os.read(tickets, _TICKET.size):
            (index,) = _TICKET.unpack(ticket)
            data = _packed(work, items[index])
            out.write(_HEAD.pack(index, len(data)))
            out.write(data)
            out.flush()


def _packed(work: Callable[[T], R], item: T) -> bytes:
    try:
        return pickle.dumps((True, work(item)))
    except Exception as error:
        try:
            data = pickle.dumps((False, error))
            pickle.loads(data)
        except Exception:
            data = pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")))
        return data


def _in_order(children: dict[int, int], count: int) -> Iterator[Any]:
    received: dict[int, bytearray] = {pipe: bytearray() for pipe in children}
    results: dict[int, tuple[bool, Any]] = {}
    for index in range(count):
        while index not in results:
            ready, _, _ = select.select(list(children), [], [])
            for pipe in ready:
                data = os.read(pipe, _PIPE_READ_BYTES)
                received[pipe] += data
                results.update(_finished(received[pipe]))
                if not data:
                    _ended(children, pipe)
            if not children and index not in results:
                raise RuntimeError(f"no process took item {index}")
        well, value = results.pop(index)
        if not well:
            raise value
        yield value


def _finished(data: bytearray) -> Iterator[tuple[int, tuple[bool, Any]]]:
    while len(data) >= _HEAD.size:
        index, size = _HEAD.unpack_from(data)
        if len(data) < _HEAD.size + size:
            return
        yield index, pickle.loads(bytes(data[_HEAD.size : _HEAD.size + size]))
        del data[: _HEAD.size + size]


def _ended(children: dict[int, int], pipe: int) -> None:
    os.close(pipe)
    status = os.waitpid(children.pop(pipe), 0)[1]
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        raise MemoryError("a process was killed")
    if status:
        raise RuntimeError(f"a process ended early: wait status {status:#x}")


def _end_all(children: dict[int, int]) -> None:
    for pipe, child in children.items():
        end_child(child)
        os.close(pipe)
    children.clear()


@contextlib.contextmanager
def quiet_tracker() -> Iterator[None]:
    """Around multiprocessing's own processes: its tracker, which takes away what they left, says nothing about it."""
    sys.warnoptions.append(_TRACKER_WORD)  # the tracker is started with them
    try:
        yield
    finally:
        sys.warnoptions.remove(_TRACKER_WORD)


def run_tool(command: Sequence[str], seconds: float) -> subprocess.CompletedProcess[str]:
    """Run a tool to its end and give what it said. OSError: it cannot be started. subprocess.TimeoutExpired."""
    parent = os.getpid()
    tie = (lambda: _die_with(parent, signal.SIGKILL)) if sys.platform == "linux" else None
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
        process_group=0 if os.name == "posix" else None, preexec_fn=tie,
    ) as tool, undone_at_end(lambda: _end_tool(tool)):  # fmt: skip
        said, complained = tool.communicate(timeout=seconds)
        return subprocess.CompletedProcess(command, tool.returncode, said, complained)


def _end_tool(tool: subprocess.Popen[str]) -> None:
    if tool.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(tool.pid, signal.SIGKILL)
