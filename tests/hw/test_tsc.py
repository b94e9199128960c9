"""The time-stamp counter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.clock import Clock
from hw.errors import GeneralProtection
from hw.tsc import Tsc, to_signed64

VALUE = st.integers(0, 2**64 - 1)


def test_counts_at_its_frequency() -> None:
    clock = Clock()
    tsc = Tsc(clock, khz=2_445_414)
    clock.advance(1_000_000_000)
    assert tsc.read() == 2_445_414_000


@given(VALUE, st.integers(0, 10**15), st.integers(1, 10**7))
def test_writing_the_counter_shows_in_tsc_adjust(value: int, now: int, khz: int) -> None:
    clock = Clock()
    clock.advance(now)
    tsc = Tsc(clock, khz, offset=1234)
    before = tsc.read()
    tsc.write(value)
    assert tsc.read() == value
    assert tsc.read_adjust() == (value - before) % 2**64
    tsc.write_adjust(0)
    assert tsc.read() == before


@given(VALUE)
def test_writing_tsc_adjust_moves_the_counter(adjust: int) -> None:
    clock = Clock()
    tsc = Tsc(clock, 1_000_000, adjust=-5)
    clock.advance(1000)
    assert (tsc.read(), tsc.read_adjust()) == (995, 2**64 - 5)
    tsc.write_adjust(adjust)
    assert tsc.read() == (1000 + adjust) % 2**64


def test_without_tsc_adjust() -> None:
    tsc = Tsc(Clock(), 1_000_000, adjust=None)
    with pytest.raises(GeneralProtection):
        tsc.read_adjust()
    with pytest.raises(GeneralProtection):
        tsc.write_adjust(0)
    tsc.write(77)
    assert tsc.read() == 77


@given(st.integers(0, 10**9), st.integers(1, 10**7), st.integers(0, 10**7))
def test_ns_until_is_the_first_moment(now: int, khz: int, ahead: int) -> None:
    clock = Clock()
    clock.advance(now)
    tsc = Tsc(clock, khz, offset=99)
    target = tsc.read() + ahead
    ns = tsc.ns_until(target)
    if ns:
        clock.advance(ns - 1)
        assert tsc.read() < target
        clock.advance(1)
    assert tsc.read() >= target


def test_signed_reading() -> None:
    assert [to_signed64(v) for v in (0, 2**63 - 1, 2**63, 2**64 - 1)] == [0, 2**63 - 1, -(2**63), -1]


def test_a_counter_that_stands_still_is_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        Tsc(Clock(), 0)
