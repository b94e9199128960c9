"""Simulated time in integer nanoseconds, a thin layer over SimPy.

The boot CPU is plain, straight-line Python: it calls `advance()` and `wait()`. Everything that runs beside it (other
CPUs, kernel threads, timers) is a SimPy process or an event callback, and runs only while the boot CPU is inside one of
these two calls. What is due at the same nanosecond happens in the order in which it was scheduled, as SimPy has it.
"""

from __future__ import annotations

from collections.abc import Generator
from operator import index
from typing import Any

import simpy

from hw.errors import MachineStopped

IDLE_TICKS_LIMIT = 100_000
"""How many timer ticks in a row may pass in `wait()` with nothing else going on before the machine counts as stuck."""


class Environment(simpy.Environment):
    """A SimPy environment whose clock can be moved over a stretch of time in which nothing is due."""

    _now: int

    def due(self) -> int:
        """How many events are scheduled."""
        return len(self._queue)


class Clock:
    """The machine's only source of time; integer nanoseconds since power-on."""

    def __init__(self) -> None:
        self.env = Environment()
        self._inside = False  # events are being run by advance() or wait()
        self._ticks = 0  # how many of the scheduled events are timer ticks

    @property
    def now(self) -> int:
        """Simulated time, ns."""
        return self.env._now

    @property
    def beside(self) -> bool:
        """True while a process or a callback runs: the boot CPU is inside advance() or wait()."""
        return self._inside

    def advance(self, ns: int) -> None:
        """Keep the boot CPU busy for `ns`; whatever else is due before then runs meanwhile.

        Events due exactly at the end of the stretch are left for the next call: the boot CPU comes first.
        Raises ValueError for a negative time, RuntimeError when called from a process or callback.
        """
        if type(ns) is not int:
            ns = index(ns)
        if ns < 0:
            raise ValueError(f"time can not run backwards: advance({ns})")
        env = self.env
        target = env._now + ns
        queue = env._queue
        if self._inside:
            raise RuntimeError("advance() called from a process or callback; those yield timeout()")
        if queue and queue[0][0] < target:
            self._run_before(target)
        env._now = target

    def _run_before(self, target: int) -> None:
        """Process every event due before `target`."""
        env = self.env
        queue = env._queue
        self._inside = True
        try:
            while queue and queue[0][0] < target:
                env.step()
        finally:
            self._inside = False

    def wait(self, event: simpy.Event) -> Any:
        """Put the boot CPU to sleep until `event` has been processed, and return the event's value.

        A failed event raises its exception. Raises MachineStopped when nothing scheduled can bring the event about:
        the schedule is empty, or for IDLE_TICKS_LIMIT events in a row it has held nothing but timer ticks.
        """
        if self._inside:
            raise RuntimeError("wait() called from a process or callback; those yield the event")
        idle = 0
        self._inside = True
        try:
            while event.callbacks is not None:
                self._check_alive(idle)
                idle = idle + 1 if self.env.due() <= self._ticks else 0
                if event.triggered:
                    event.defused = True
                self.env.step()
        finally:
            self._inside = False
        if not event.ok:
            raise event.value
        return event.value

    def _check_alive(self, idle: int) -> None:
        if not self.env.due():
            raise MachineStopped(f"boot CPU waits at {self.now} ns for what can not happen: nothing is scheduled")
        if idle >= IDLE_TICKS_LIMIT:
            raise MachineStopped(f"boot CPU waits at {self.now} ns for what never happens: only timers tick")

    def timeout(self, ns: int) -> simpy.Timeout:
        """An event that happens `ns` from now. Raises ValueError for a negative time."""
        return simpy.Timeout(self.env, index(ns))

    def tick(self, ns: int) -> simpy.Timeout:
        """Like `timeout()`, for a timer chip: ticks alone do not keep the machine alive (see `wait()`)."""
        event = simpy.Timeout(self.env, index(ns))
        self._ticks += 1
        event.callbacks.append(self._tick_done)
        return event

    def _tick_done(self, _event: simpy.Event) -> None:
        self._ticks -= 1

    def event(self) -> simpy.Event:
        """An event that somebody will trigger."""
        return simpy.Event(self.env)

    def process(self, generator: Generator[simpy.Event, Any, Any]) -> simpy.Process:
        """Start a process; it takes its first step when the boot CPU next advances or waits."""
        return simpy.Process(self.env, generator)
