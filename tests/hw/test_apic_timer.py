"""The local APIC timer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.apic_timer import divisor
from hw.cpuid import CpuDescription
from hw.errors import GeneralProtection
from tests.hw.rig import Rig

SVR, EOI, LVT_TIMER, INITIAL, CURRENT, DIVIDE = 0xF0, 0xB0, 0x320, 0x380, 0x390, 0x3E0
ONE_SHOT, PERIODIC, DEADLINE, MASKED = 0, 1 << 17, 2 << 17, 1 << 16
TSC_DEADLINE = 0x6E0


def started(
    mode: int, count: int = 0, divide: int = 0xB, description: CpuDescription | None = None
) -> tuple[Rig, list[int]]:
    """A CPU whose timer (10 ns a count at divide by 1) runs, and the list of times at which it interrupts."""
    rig = Rig(0, description=description)
    fired: list[int] = []

    def handler(cpu: object) -> None:
        fired.append(rig.clock.now)
        rig.set_reg(EOI, 0)

    rig.boot.set_gate(0x40, handler)
    rig.boot.sti()
    rig.set_reg(SVR, 0x1FF)
    rig.set_reg(DIVIDE, divide)
    rig.set_reg(LVT_TIMER, mode | 0x40)
    rig.set_reg(INITIAL, count)
    return rig, fired


@pytest.mark.parametrize(("config", "by"), [(0, 2), (1, 4), (2, 8), (3, 16), (8, 32), (9, 64), (10, 128), (11, 1)])
def test_divisors(config: int, by: int) -> None:
    assert divisor(config) == by
    rig, fired = started(ONE_SHOT, 100, config)
    rig.clock.advance(50 * by * 10)
    assert rig.reg(CURRENT) == 50 and rig.reg(DIVIDE) == config
    rig.clock.advance(50 * by * 10 + 1)
    assert fired == [100 * by * 10] and rig.reg(CURRENT) == 0


def test_one_shot_fires_once() -> None:
    rig, fired = started(ONE_SHOT, 5)
    rig.clock.advance(10_000)
    assert fired == [50] and rig.reg(INITIAL) == 5


def test_periodic_keeps_firing_without_drift() -> None:
    rig, fired = started(PERIODIC, 7)
    rig.clock.advance(1000)
    assert fired == [70 * n for n in range(1, 15)]
    assert rig.reg(CURRENT) == 7 - 100 % 7


def test_zero_stops_it() -> None:
    rig, fired = started(PERIODIC, 10)
    rig.clock.advance(150)
    rig.set_reg(INITIAL, 0)
    rig.clock.advance(1000)
    assert fired == [100] and rig.reg(CURRENT) == 0


def test_masked_it_counts_but_is_silent() -> None:
    rig, fired = started(MASKED | ONE_SHOT, 100)
    rig.clock.advance(400)
    assert rig.reg(CURRENT) == 60
    rig.set_reg(LVT_TIMER, 0x40)
    rig.clock.advance(10_000)
    assert fired == [1000]
    rig.set_reg(LVT_TIMER, MASKED | 0x40)
    rig.set_reg(INITIAL, 5)
    rig.clock.advance(100)
    rig.set_reg(LVT_TIMER, 0x40)
    rig.clock.advance(100)
    assert fired == [1000]


@given(st.integers(1, 1000), st.integers(0, 12_000), st.sampled_from([ONE_SHOT, PERIODIC]))
def test_count_by_a_plain_model(initial: int, now: int, mode: int) -> None:
    rig, fired = started(mode | MASKED, initial)
    rig.clock.advance(now)
    count = initial
    for _ in range(now // 10):
        count = count - 1 if count else 0
        if not count and mode == PERIODIC:
            count = initial
    assert rig.reg(CURRENT) == count and fired == []


def test_changing_the_divisor_keeps_the_count() -> None:
    rig, fired = started(ONE_SHOT, 100)
    rig.clock.advance(400)
    rig.set_reg(DIVIDE, 0)
    assert rig.reg(CURRENT) == 60
    rig.clock.advance(10_000)
    assert fired == [400 + 60 * 20]


def test_a_count_that_is_no_whole_number_of_ns() -> None:
    rig = Rig(0, bus_khz=333_333)
    rig.set_reg(DIVIDE, 0xB)
    rig.set_reg(INITIAL, 1000)
    rig.clock.advance(3000)
    assert rig.reg(CURRENT) == 1
    rig.clock.advance(1)
    assert rig.reg(CURRENT) == 0


def test_tsc_deadline() -> None:
    rig, fired = started(DEADLINE, description=CpuDescription(tsc_khz=2_000_000))
    rig.boot.wrmsr(TSC_DEADLINE, 2001)
    assert rig.boot.rdmsr(TSC_DEADLINE) == 2001
    rig.clock.advance(2000)
    assert fired == [1001] and rig.boot.rdmsr(TSC_DEADLINE) == 0
    rig.boot.wrmsr(TSC_DEADLINE, 1)  # in the past: at once
    rig.clock.advance(1)
    assert fired == [1001, 2000]
    rig.boot.wrmsr(TSC_DEADLINE, 10**6)
    rig.boot.wrmsr(TSC_DEADLINE, 0)
    rig.clock.advance(10**7)
    assert fired == [1001, 2000]
    rig.set_reg(INITIAL, 10)  # ignored in this mode
    assert rig.reg(CURRENT) == rig.reg(INITIAL) == 0


def test_leaving_deadline_mode_disarms() -> None:
    rig, fired = started(DEADLINE)
    rig.boot.wrmsr(TSC_DEADLINE, 1000)
    rig.set_reg(LVT_TIMER, 0x40)
    rig.boot.wrmsr(TSC_DEADLINE, 2000)  # ignored in another mode
    rig.clock.advance(10_000)
    assert fired == [] and rig.boot.rdmsr(TSC_DEADLINE) == 0


def test_setting_the_tsc_back_moves_the_deadline() -> None:
    rig, fired = started(DEADLINE, description=CpuDescription(tsc_khz=1_000_000))
    rig.boot.wrmsr(TSC_DEADLINE, 1000)
    rig.clock.advance(500)
    rig.boot.wrmsr(0x10, 0)
    rig.clock.advance(10_000)
    assert fired == [1500]


def test_without_tsc_deadline() -> None:
    rig = Rig(0, description=CpuDescription(features=("apic",)))
    rig.set_reg(SVR, 0x1FF)
    rig.set_reg(LVT_TIMER, DEADLINE | 0x40)
    assert rig.reg(LVT_TIMER) == 0x40
    for access in (lambda: rig.boot.rdmsr(TSC_DEADLINE), lambda: rig.boot.wrmsr(TSC_DEADLINE, 5)):
        with pytest.raises(GeneralProtection):
            access()


def test_init_stops_the_timer() -> None:
    rig = Rig(0, 1)
    rig.set_reg(SVR, 0x1FF, 1)
    rig.set_reg(LVT_TIMER, 0x40, 1)
    rig.set_reg(INITIAL, 100, 1)
    rig.ipi(1, 0x4500)
    rig.clock.advance(10**6)
    assert rig.reg(0x220, 1) == 0 and rig.reg(INITIAL, 1) == 0


def test_timer_input_follows_the_crystal() -> None:
    description = CpuDescription(tsc_khz=2_000_000, crystal_hz=25_000_000)
    assert Rig(0, description=description, bus_khz=None).boot.apic.timer.bus_khz == 25_000
    assert Rig(0, bus_khz=None).boot.apic.timer.bus_khz == 100_000
    with pytest.raises(ValueError, match="positive"):
        Rig(0, bus_khz=-1)
