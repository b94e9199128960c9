"""Stamps: what of them is believed, what is taken off, what is refused."""

from __future__ import annotations

import random

import pytest

from hw.errors import InputError
from minikern.describe.stamps import NS_PER_S, Stamped, StampedLog, sound


def boot(count: int = 200, step_ns: int = 5_000_000) -> list[Stamped]:
    """A log whose clock starts at its fifth line."""
    return [Stamped(f"line {index}", max(0, index - 4) * step_ns) for index in range(count)]


def stamps(log: StampedLog) -> list[int]:
    return [line.at_ns for line in log.lines if line.at_ns is not None]


def test_a_sound_log_is_left_as_it_is() -> None:
    log = sound("x", boot())
    assert log.start == 5 and log.timed and not log.notes
    assert stamps(log) == [index * 5_000_000 for index in range(1, 196)]


@pytest.mark.parametrize("stamp", [0, None])
def test_without_a_running_clock_there_is_nothing_to_go_by(stamp: int | None) -> None:
    log = sound("x", [Stamped(f"line {index}", stamp) for index in range(200)])
    assert not log.timed and stamps(log) in ([], [0] * 200)


def test_stamps_that_run_backwards_are_refused() -> None:
    lines = boot()
    for line, at in zip(lines, reversed([line.at_ns for line in lines]), strict=True):
        line.at_ns = at
    with pytest.raises(InputError, match="rising order"):
        sound("x", lines)


def test_a_few_torn_lines_are_left_out() -> None:
    lines = boot()
    for index in (50, 90, 130):
        lines[index].at_ns = 7 * NS_PER_S
    log = sound("x", lines)
    assert stamps(log) == sorted(stamps(log)) and len(stamps(log)) == 192
    assert any("left out" in note for note in log.notes)


def test_a_jump_of_hours_is_taken_off() -> None:
    lines = boot()
    for line in lines[100:]:
        assert line.at_ns is not None
        line.at_ns += 2 * 3600 * NS_PER_S
    log = sound("x", lines)
    assert stamps(log)[-1] < 2 * NS_PER_S and any("jumps by 7200 s" in note for note in log.notes)


def test_milliseconds_taken_for_seconds_are_refused() -> None:
    lines = boot()
    for line in lines:
        line.at_ns = (line.at_ns or 0) * 5000
    with pytest.raises(InputError, match="another unit"):
        sound("x", lines)


def test_half_of_the_stamps_missing_leaves_the_other_half() -> None:
    lines = boot()
    for line in random.Random(1).sample(lines, 100):
        line.at_ns = None
    log = sound("x", lines)
    assert log.timed and 80 < len(stamps(log)) <= 100 and not log.notes


def test_a_clock_set_anew_before_smp_starts_there() -> None:
    lines = boot()
    lines[100].text = "smp: Bringing up secondary CPUs ..."
    for line in lines[60:]:
        assert line.at_ns is not None
        line.at_ns -= 250_000_000
    log = sound("x", lines)
    assert 60 <= log.start <= 61 and any("set anew" in note for note in log.notes)
