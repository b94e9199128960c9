"""The timer of a local APIC: one-shot, periodic and TSC-deadline.

Source: SDM vol. 3A, APIC chapter, "APIC Timer" and "TSC-Deadline Mode".
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

import simpy

from hw.clock import Clock
from hw.tsc import Tsc
from hw.units import NS_PER_MS


class TimerMode(IntEnum):
    """Timer mode field of the LVT timer register."""

    ONE_SHOT = 0
    PERIODIC = 1
    TSC_DEADLINE = 2


def divisor(config: int) -> int:
    """What the divide configuration register divides by: its bits 3, 1, 0 as n give 2^(n+1), 7 gives 1."""
    code = (config >> 1 & 4) | (config & 3)
    return 1 if code == 7 else 2 << code


class ApicTimer:
    """Counts down from the simulated time at `bus_khz` / divisor; calls `fire()` on expiry while not masked."""

    __slots__ = (
        *("bus_khz", "clock", "divide_config", "initial_count", "masked", "mode", "tsc"),
        *("_deadline", "_fire", "_generation", "_periods", "_since", "_start"),
    )

    def __init__(self, clock: Clock, tsc: Tsc, bus_khz: int, fire: Callable[[], None]) -> None:
        if bus_khz <= 0:
            raise ValueError(f"APIC timer frequency must be positive, got {bus_khz} kHz")
        self.clock = clock
        self.tsc = tsc
        self.bus_khz = bus_khz
        self._fire = fire
        self._generation = 0  # ticks scheduled for an older one are stale
        self.reset()

    def reset(self) -> None:
        """State after power-on or INIT: stopped, masked, divide by 2."""
        self.mode = int(TimerMode.ONE_SHOT)
        self.masked = True
        self.initial_count = 0
        self.divide_config = 0
        self._start = 0  # count at `_since`
        self._since = self.clock.now
        self._periods = 0  # expiries since then, periodic mode
        self._deadline = 0
        self._generation += 1

    def current_count(self) -> int:
        """Current count register; 0 in TSC-deadline mode."""
        if self.mode == TimerMode.TSC_DEADLINE:
            return 0
        ticks = (self.clock.now - self._since) * self.bus_khz // (NS_PER_MS * divisor(self.divide_config))
        if ticks < self._start:
            return self._start - ticks
        if self.mode != TimerMode.PERIODIC or not self.initial_count:
            return 0
        return self.initial_count - (ticks - self._start) % self.initial_count

    def write_initial_count(self, value: int) -> None:
        """Start counting down from `value`; 0 stops. Ignored in TSC-deadline mode."""
        if self.mode == TimerMode.TSC_DEADLINE:
            return
        self.initial_count = value
        self._restart(value)

    def write_divide(self, config: int) -> None:
        """Change the divisor; the count goes on from where it is."""
        count = self.current_count()
        self.divide_config = config & 0xB
        self._restart(count)

    def set_lvt(self, mode: int, masked: bool) -> None:
        """Follow the LVT timer register; going to or from TSC-deadline mode disarms the timer."""
        count = self.current_count()
        if mode != self.mode and TimerMode.TSC_DEADLINE in (mode, self.mode):
            self.initial_count = self._deadline = count = 0
        if (mode, masked) != (self.mode, self.masked):
            self.mode, self.masked = mode, masked
            self._restart(count)

    def read_deadline(self) -> int:
        """MSR IA32_TSC_DEADLINE: 0 when disarmed or passed."""
        if self._deadline and self.tsc.read() >= self._deadline:
            self._deadline = 0
        return self._deadline

    def write_deadline(self, value: int) -> None:
        """Arm for the moment the TSC reaches `value`; 0 disarms. Ignored outside TSC-deadline mode."""
        if self.mode == TimerMode.TSC_DEADLINE:
            self._deadline = value
            self._schedule()

    def _restart(self, count: int) -> None:
        self._start, self._since, self._periods = count, self.clock.now, 0
        self._schedule()

    def _schedule(self) -> None:
        """Put the next expiry on the clock's schedule; a masked timer just counts."""
        self._generation += 1
        if self.masked:
            return
        if self.mode == TimerMode.TSC_DEADLINE:
            if not self._deadline:
                return
            ns = self.tsc.ns_until(self._deadline)
        elif self._start:
            ticks = self._start + self._periods * self.initial_count
            due = self._since - (-ticks * NS_PER_MS * divisor(self.divide_config) // self.bus_khz)
            ns = due - self.clock.now
        else:
            return
        generation = self._generation

        def expired(_event: simpy.Event) -> None:
            if generation == self._generation:
                self._expire()

        self.clock.tick(ns).callbacks.append(expired)

    def _expire(self) -> None:
        if self.mode == TimerMode.PERIODIC:
            self._periods += 1
            self._schedule()
        elif self.mode == TimerMode.TSC_DEADLINE and self.tsc.ns_until(self._deadline):
            self._schedule()  # the TSC was set back meanwhile
            return
        else:
            self._deadline = 0
            self._start = 0
        self._fire()
