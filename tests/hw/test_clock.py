"""Simulated time."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import Any

import pytest
import simpy
from hypothesis import given
from hypothesis import strategies as st

from hw.clock import Clock
from hw.errors import BusError, MachineStopped


def test_advance_moves_time_when_nothing_is_due() -> None:
    clock = Clock()
    clock.advance(5)
    clock.advance(0)
    assert clock.now == clock.env.now == 5


@pytest.mark.parametrize("ns", [-1, -(10**12)])
def test_time_does_not_run_backwards(ns: int) -> None:
    with pytest.raises(ValueError, match="backwards"):
        Clock().advance(ns)


def test_fractions_of_a_nanosecond_are_refused() -> None:
    with pytest.raises(TypeError):
        Clock().advance(1.5)  # type: ignore[arg-type]


def test_other_processes_proceed_while_the_boot_cpu_is_busy() -> None:
    clock = Clock()
    seen: list[int] = []

    def other() -> Generator[simpy.Event, Any, None]:
        for _ in range(3):
            yield clock.timeout(10)
            seen.append(clock.now)

    clock.process(other())
    clock.advance(25)
    assert seen == [10, 20] and clock.now == 25
    clock.advance(5)
    assert seen == [10, 20]  # due exactly now: the boot CPU comes first
    clock.advance(1)
    assert seen == [10, 20, 30]


@given(st.lists(st.integers(0, 50), max_size=20), st.lists(st.integers(0, 30), max_size=20))
def test_advance_agrees_with_a_plain_simpy_process(charges: list[int], delays: list[int]) -> None:
    def other(clock: Clock, seen: list[int]) -> Generator[simpy.Event, Any, None]:
        for delay in delays:
            yield clock.timeout(delay)
            seen.append(clock.now)

    fast, slow = Clock(), Clock()
    fast_seen: list[int] = []
    slow_seen: list[int] = []
    fast.process(other(fast, fast_seen))
    slow.process(other(slow, slow_seen))
    for charge in charges:
        fast.advance(charge)
        if charge:
            slow.env.run(until=slow.now + charge)
        assert (fast.now, fast_seen) == (slow.now, slow_seen)


def test_wait_returns_the_value_and_the_time_of_the_event() -> None:
    clock = Clock()

    def other() -> Generator[simpy.Event, Any, str]:
        yield clock.timeout(40)
        return "alive"

    assert clock.wait(clock.process(other())) == "alive"
    assert clock.now == 40


def test_wait_for_an_event_that_is_over_returns_at_once() -> None:
    clock = Clock()
    event = clock.timeout(3)
    clock.advance(10)
    assert clock.wait(event) is None and clock.now == 10


def test_wait_for_what_can_not_happen_stops_the_machine() -> None:
    clock = Clock()
    clock.timeout(7)
    with pytest.raises(MachineStopped, match="nothing is scheduled"):
        clock.wait(clock.event())
    assert clock.now == 7


def test_ticks_alone_do_not_keep_a_wait_alive() -> None:
    clock = Clock()

    def tick(_event: simpy.Event) -> None:
        clock.tick(1000).callbacks.append(tick)

    clock.tick(1000).callbacks.append(tick)
    with pytest.raises(MachineStopped, match="only timers tick"):
        clock.wait(clock.event())


def test_a_failed_process_reaches_the_boot_cpu() -> None:
    clock = Clock()

    def broken() -> Generator[simpy.Event, Any, None]:
        yield clock.timeout(1)
        raise BusError("no answer", 0x10)

    with pytest.raises(BusError, match="no answer at 0x10"):
        clock.wait(clock.process(broken()))
    clock.process(broken())
    with pytest.raises(BusError, match="no answer at 0x10"):
        clock.advance(10)
    clock.advance(1)  # usable after that


def test_a_process_can_not_take_the_boot_cpus_place() -> None:
    clock = Clock()

    def impostor() -> Generator[simpy.Event, Any, None]:
        yield clock.timeout(1)
        clock.advance(1)

    clock.process(impostor())
    with pytest.raises(RuntimeError, match="from a process"):
        clock.advance(10)


def test_simultaneous_events_keep_the_order_of_scheduling() -> None:
    clock = Clock()
    seen: list[int] = []

    def note(number: int, _event: simpy.Event) -> None:
        seen.append(number)

    for number in range(20):
        clock.timeout(5).callbacks.append(partial(note, number))
    clock.advance(6)
    assert seen == list(range(20))


def test_wait_fails_with_the_events_own_exception() -> None:
    clock = Clock()
    event = clock.event()

    def fail(_event: simpy.Event) -> None:
        event.fail(ValueError("wrong"))

    clock.timeout(4).callbacks.append(fail)
    with pytest.raises(ValueError, match="wrong"):
        clock.wait(event)
