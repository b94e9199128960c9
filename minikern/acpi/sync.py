"""Mutexes and events of AML, and the thread that holds them.

One thread runs AML during a boot, so nobody waits for a mutex; order and ownership still count. Where several
evaluations are run in turns, ``run.wait_until`` lets the others go on until what holds the mutex gives it back.
Source: drivers/acpi/acpica/exmutex.c, exsystem.c @ v6.12
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from minikern.acpi.messages import error
from minikern.acpi.values import AmlError
from minikern.state.namespace import Node

if TYPE_CHECKING:
    from minikern.acpi.interpreter import Interpreter

FOREVER_MS = 0xFFFF
HUNG_MS = 30_000  # a wait for ever ends here: nothing else runs that could end it


@dataclass(eq=False, slots=True)
class Mutex:
    """A Mutex object: its sync level, how often it is held, and the level to return to."""

    level: int
    depth: int = 0
    level_before: int = 0


@dataclass(eq=False, slots=True)
class Event:
    """An Event object: the signals nobody has taken yet."""

    signals: int = 0


@dataclass(eq=False, slots=True)
class Thread:
    """What runs AML: its sync level and the mutexes it holds, the latest last."""

    level: int = 0
    held: list[Mutex] = field(default_factory=list)

    def release_all(self) -> None:
        """The evaluation is over. Source: drivers/acpi/acpica/exmutex.c:acpi_ex_release_all_mutexes() @ v6.12"""
        for mutex in reversed(self.held):
            mutex.depth = 0
        self.held.clear()
        self.level = 0


def acquire(run: Interpreter, node: Node, mutex: Mutex) -> None:
    """Take a mutex. Source: drivers/acpi/acpica/exmutex.c:acpi_ex_acquire_mutex() @ v6.12"""
    thread = run.thread
    if thread.level > mutex.level:
        text = f"Cannot acquire Mutex [{node.name}], current SyncLevel is too large ({thread.level})"
        error(run.k, text, {"": "exmutex-234"})
        raise AmlError("AE_AML_MUTEX_ORDER", text)
    if mutex.depth and mutex not in thread.held and run.wait_until is not None:
        run.wait_until(lambda: not mutex.depth)
    mutex.depth += 1
    if mutex.depth == 1:
        mutex.level_before, thread.level = thread.level, mutex.level
        thread.held.append(mutex)


def release(run: Interpreter, node: Node, mutex: Mutex) -> None:
    """Give a mutex back. Source: drivers/acpi/acpica/exmutex.c:acpi_ex_release_mutex() @ v6.12"""
    thread = run.thread
    if mutex not in thread.held:
        text = f"Cannot release Mutex [{node.name}], not acquired"
        error(run.k, text, {"": "exmutex-353"})
        raise AmlError("AE_AML_MUTEX_NOT_ACQUIRED", text)
    if mutex.level != thread.level:
        text = f"Cannot release Mutex [{node.name}], SyncLevel mismatch: mutex {mutex.level} current {thread.level}"
        error(run.k, text, {"": "exmutex-390"})
        raise AmlError("AE_AML_MUTEX_ORDER", text)
    before = thread.held[-1].level_before
    mutex.depth -= 1
    if mutex.depth == 0:
        _unlink(thread, mutex)
        thread.level = before


def _unlink(thread: Thread, mutex: Mutex) -> None:
    # The one acquired after it inherits the level to return to.
    at = thread.held.index(mutex)
    if at + 1 < len(thread.held):
        thread.held[at + 1].level_before = mutex.level_before
    del thread.held[at]


def wait(run: Interpreter, event: Event, timeout_ms: int) -> bool:
    """Wait for a signal; False when the time passed without one.

    Source: drivers/acpi/acpica/exsystem.c:acpi_ex_system_wait_event() @ v6.12
    """
    if event.signals:
        event.signals -= 1
        return True
    timeout_ms &= 0xFFFF
    run.sleep_us(1000 * (HUNG_MS if timeout_ms == FOREVER_MS else timeout_ms))
    return False
