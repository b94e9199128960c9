"""PIT with port 0x61, HPET, PM timer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.bus import Bus
from hw.clock import Clock
from hw.timers import (
    HPET_BASE,
    NS_PER_S,
    PIT_HZ,
    PM_TIMER_HZ,
    REFRESH_TOGGLE_NS,
    Hpet,
    HpetCapabilities,
    Pit,
    PmTimer,
)


class Board:
    """A clock, a bus and the timers on it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.bus = Bus()
        self.pit = Pit(self.clock)
        self.pit.attach(self.bus)
        self.hpet = Hpet(self.clock)
        self.hpet.attach(self.bus)
        self.pm = PmTimer(self.clock)
        self.pm.attach(self.bus, 0x608)

    def inb(self, port: int) -> int:
        return self.bus.port_in(port, 1)

    def outb(self, port: int, value: int) -> None:
        self.bus.port_out(port, 1, value)

    def advance_ticks(self, ticks: int) -> None:
        """Just far enough for that many PIT clocks, counted from time 0."""
        self.clock.advance(-(-ticks * NS_PER_S // PIT_HZ) - self.clock.now)

    def start_channel_2(self, count: int, control: int = 0xB0) -> None:
        self.outb(0x61, self.inb(0x61) & ~2 | 1)
        self.outb(0x43, control)
        self.outb(0x42, count & 0xFF)
        self.outb(0x42, count >> 8)

    def count_2(self) -> int:
        return self.inb(0x42) | self.inb(0x42) << 8


def test_mode_0_counts_down_through_zero() -> None:
    board = Board()
    board.start_channel_2(0xFFFF)
    for ticks in (0, 1, 255, 256, 0xFFFF, 0x10000, 0x10005):
        board.advance_ticks(ticks)
        assert board.count_2() == (0xFFFF - ticks) & 0xFFFF


def test_out2_rises_at_terminal_count_and_shows_in_port_61() -> None:
    board = Board()
    board.start_channel_2(PIT_HZ // 100)
    board.clock.advance(9_900_000)
    assert not board.inb(0x61) & 0x20
    board.clock.advance(200_000)
    assert board.inb(0x61) & 0x20


def test_out2_is_low_until_a_count_is_loaded() -> None:
    board = Board()
    board.outb(0x61, 1)
    board.outb(0x43, 0xB0)
    board.clock.advance(NS_PER_S)
    assert not board.inb(0x61) & 0x20
    board.outb(0x42, 10)
    board.clock.advance(NS_PER_S)
    assert not board.inb(0x61) & 0x20  # half a count is no count


def test_the_gate_stops_and_resumes_mode_0() -> None:
    board = Board()
    board.start_channel_2(1000)
    board.advance_ticks(100)
    board.outb(0x61, 0)
    board.clock.advance(NS_PER_S)
    assert board.count_2() == 900
    board.outb(0x61, 1)
    board.clock.advance(-(-50 * NS_PER_S // PIT_HZ))
    assert board.count_2() == 850
    assert board.inb(0x61) & 3 == 1


def test_the_gate_restarts_mode_2() -> None:
    board = Board()
    board.start_channel_2(1000, control=0xB4)
    board.advance_ticks(100)
    board.outb(0x61, 0)
    board.outb(0x61, 1)
    assert board.count_2() == 1000


def test_latched_count_and_status_stay_until_read() -> None:
    board = Board()
    board.start_channel_2(0x1234)
    board.outb(0x43, 0x80)
    board.advance_ticks(0x200)
    board.outb(0x43, 0x80)  # a second latch before the read does nothing
    assert board.count_2() == 0x1234
    assert board.count_2() == 0x1034
    board.outb(0x43, 0b1100_1000)  # read back: status and count of channel 2
    assert board.inb(0x42) == 0x30  # OUT low, count loaded, both bytes, mode 0
    assert board.count_2() == 0x1034


def test_one_byte_counts() -> None:
    board = Board()
    board.outb(0x61, 1)
    board.outb(0x43, 0x90)
    board.outb(0x42, 0x80)
    assert board.inb(0x42) == 0x80
    board.outb(0x43, 0xA0)
    board.outb(0x42, 0x12)
    assert (board.inb(0x42), board.pit.channels[2].count()) == (0x12, 0x1200)


@pytest.mark.parametrize("reload", [2, 3, 4, 7, 8])
@pytest.mark.parametrize("mode", [2, 3])
def test_periodic_modes_over_two_periods(mode: int, reload: int) -> None:
    board = Board()
    board.outb(0x43, 0x30 | mode << 1)
    board.outb(0x40, reload)
    board.outb(0x40, 0)
    levels = []
    for tick in range(2 * reload):
        board.advance_ticks(tick)
        levels.append(board.pit.channels[0].output())
        if mode == 2:
            assert board.pit.channels[0].count() == reload - tick % reload
        else:
            count = board.pit.channels[0].count()
            assert count % 2 == 0 and (count > 0 or reload % 2) and count <= reload
    high = reload - 1 if mode == 2 else (reload + 1) // 2
    assert levels == 2 * ([True] * high + [False] * (reload - high))


def test_count_0_stands_for_65536() -> None:
    board = Board()
    board.start_channel_2(0)
    board.advance_ticks(0xFFFF)
    assert not board.inb(0x61) & 0x20
    board.advance_ticks(0x10000)
    assert board.inb(0x61) & 0x20


def test_refresh_toggles() -> None:
    board = Board()
    seen = []
    for _ in range(4):
        seen.append(board.inb(0x61) >> 4 & 1)
        board.clock.advance(REFRESH_TOGGLE_NS)
    assert seen == [0, 1, 0, 1]


def test_hpet_capabilities_and_counter() -> None:
    board = Board()
    low, high = (board.bus.read(HPET_BASE + at, 4) for at in (0, 4))
    capabilities = HpetCapabilities(high << 32 | low)
    assert (capabilities.num_tim_cap, capabilities.vendor_id) == (2, 0x8086)
    assert capabilities.counter_clk_period == 69_841_279
    board.clock.advance(1000)
    assert board.bus.read(HPET_BASE + 0xF0, 8) == 0  # halted until enabled
    board.bus.write(HPET_BASE + 0x10, 4, 1)
    board.clock.advance(NS_PER_S)
    assert board.bus.read(HPET_BASE + 0xF0, 8) == 10**15 // 69_841_279
    board.bus.write(HPET_BASE + 0xF0, 8, 5)  # ignored while it runs
    board.bus.write(HPET_BASE + 0x10, 4, 0)
    count = board.bus.read(HPET_BASE + 0xF0, 8)
    board.clock.advance(NS_PER_S)
    assert board.bus.read(HPET_BASE + 0xF0, 8) == count > 5
    board.bus.write(HPET_BASE + 0xF4, 4, 7)
    assert board.bus.read(HPET_BASE + 0xF0, 8) == 7 << 32 | count & 0xFFFF_FFFF


def test_hpet_registers_keep_what_may_be_written() -> None:
    board = Board()
    board.bus.write(HPET_BASE, 8, 0)
    assert board.bus.read(HPET_BASE, 4) & 0xFF == 1
    board.bus.write(HPET_BASE + 0x108, 4, 0x1234)
    assert board.bus.read(HPET_BASE + 0x108, 8) == 0xFFFF_FFFF_0000_1234
    board.bus.write(HPET_BASE + 0x100, 4, 0xFFFF_FFFF)
    assert board.bus.read(HPET_BASE + 0x100, 4) == 0x7F4E | 0x30
    board.bus.write(HPET_BASE + 0x3F0, 8, 1)
    assert board.bus.read(HPET_BASE + 0x3F0, 8) == 0


@given(st.integers(0, 10**13), st.sampled_from([24, 32]))
def test_pm_timer(now: int, bits: int) -> None:
    clock, bus = Clock(), Bus()
    timer = PmTimer(clock, bits)
    timer.attach(bus, 0xB008)
    clock.advance(now)
    bus.port_out(0xB008, 4, 0)
    value = bus.port_in(0xB008, 4)
    assert value == now * PM_TIMER_HZ // NS_PER_S % (1 << bits)
    assert bus.port_in(0xB00A, 1) == value >> 16 & 0xFF


@pytest.mark.parametrize(("period", "timers"), [(0, 3), (100_000_001, 3), (10_000_000, 2), (10_000_000, 33)])
def test_impossible_hpets_are_refused(period: int, timers: int) -> None:
    with pytest.raises(ValueError, match="HPET"):
        Hpet(Clock(), period, timers)
    with pytest.raises(ValueError, match="PM timer"):
        PmTimer(Clock(), 16)
