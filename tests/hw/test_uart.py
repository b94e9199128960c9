"""The serial port: registers, frames, and many polled bytes at once against one access after the other."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.bus import Bus
from hw.clock import Clock
from hw.errors import BusError
from hw.uart import BOTH_EMPTY, LSR_TEMT, LSR_THRE, Reg, Uart16550
from hw.uart_polling import Polling, out_polled, write_polled
from tests import naive_uart

COM1 = 0x3F8


class Port:
    """A serial port on a bus, as a program sees it."""

    def __init__(self, **facts: int) -> None:
        self.clock, self.bus = Clock(), Bus()
        self.uart = Uart16550(self.clock, **facts)
        self.uart.attach(self.bus, COM1)

    def read(self, reg: int) -> int:
        return self.bus.port_in(COM1 + reg, 1)

    def write(self, reg: int, value: int) -> None:
        self.bus.port_out(COM1 + reg, 1, value)

    def set_line(self, divisor: int, lcr: int) -> None:
        self.write(Reg.LCR, lcr | 0x80)
        self.write(Reg.DATA, divisor & 0xFF)
        self.write(Reg.IER, divisor >> 8)
        self.write(Reg.LCR, lcr)


@pytest.mark.parametrize(
    ("divisor", "lcr", "bits", "baud"),
    [(1, 0x03, 10, 115200), (12, 0x03, 10, 9600), (1, 0x07, 11, 115200), (1, 0x0B, 11, 115200), (3, 0x04, 7.5, 38400),
     (2, 0x1A, 10, 57600), (384, 0x00, 7, 300)],
)
def test_a_frame_takes_its_bits(divisor: int, lcr: int, bits: float, baud: int) -> None:
    port = Port()
    port.set_line(divisor, lcr)
    assert port.uart.frame_ns() == pytest.approx(bits / baud * 1e9, abs=0.6)


def test_divisor_is_read_back_and_zero_is_none() -> None:
    port = Port()
    port.set_line(0x1234, 0x83)
    assert (port.read(Reg.DATA), port.read(Reg.IER)) == (0x34, 0x12)
    port.set_line(0, 0x03)
    assert port.uart.divisor == 0x1200
    assert port.read(Reg.LCR) == 0x03


def test_holding_register_and_shift_register() -> None:
    port = Port()
    frame = port.uart.frame_ns()
    assert port.read(Reg.LSR) == BOTH_EMPTY
    port.write(Reg.DATA, 0x41)  # goes straight to the line
    assert port.read(Reg.LSR) == LSR_THRE
    port.write(Reg.DATA, 0x42)  # waits
    assert port.read(Reg.LSR) == 0
    port.write(Reg.DATA, 0x43)  # no room
    port.clock.advance(frame)
    assert port.read(Reg.LSR) == LSR_THRE
    port.clock.advance(frame - 1)
    assert port.read(Reg.LSR) == LSR_THRE
    port.clock.advance(1)
    assert port.read(Reg.LSR) == LSR_THRE | LSR_TEMT
    assert bytes(port.uart.sent) == b"AB"


def test_fifo_takes_sixteen_more() -> None:
    port = Port()
    port.write(Reg.IIR_FCR, 0x01)
    assert port.read(Reg.IIR_FCR) == 0xC1
    for byte in range(20):
        port.write(Reg.DATA, byte)
    assert bytes(port.uart.sent) == bytes(range(17))
    port.clock.advance(17 * port.uart.frame_ns())
    assert port.read(Reg.LSR) == BOTH_EMPTY


def test_scratch_register_and_loopback_as_a_driver_probes_them() -> None:
    port = Port()
    port.write(Reg.SCR, 0x5A)
    assert port.read(Reg.SCR) == 0x5A
    port.write(Reg.MCR, 0x10 | 0x0A)  # loopback with OUT2 and RTS
    assert port.read(Reg.MSR) & 0xF0 == 0x90
    port.write(Reg.DATA, 0x41)
    assert not port.uart.sent
    port.write(Reg.IER, 0xFF)
    assert port.read(Reg.IER) == 0x0F


def test_two_ports_at_one_place_are_refused() -> None:
    port = Port()
    with pytest.raises(BusError):
        Uart16550(port.clock).attach(port.bus, COM1 + 7)


def test_a_hypervisors_port_does_not_wait() -> None:
    port = Port(paced=False)
    for byte in b"hello":
        port.write(Reg.DATA, byte)
        assert port.read(Reg.LSR) == BOTH_EMPTY
    assert bytes(port.uart.sent) == b"hello"
    assert write_polled(port.uart, b"more", 0, Polling(1000, 1000, drain=False)) == 8000


times = st.integers(0, 300_000)


@settings(max_examples=150, deadline=None)
@given(
    jobs=st.lists(st.tuples(st.integers(0, 20), times, st.booleans(), st.booleans()), min_size=1, max_size=4),
    divisor=st.sampled_from((1, 2)),
    clock_hz=st.sampled_from((1_843_200, 14_745_600, 400_000_000)),
    access=st.integers(500, 4000),
    pause=st.sampled_from((0, 1, 1000)),
    gap=st.sampled_from((0, 10_170)),
    paced=st.booleans(),
    fifo=st.booleans(),
)
def test_many_bytes_at_once_are_single_accesses(
    jobs: list[tuple[int, int, bool, bool]], divisor: int, clock_hz: int, access: int, pause: int, gap: int,
    paced: bool, fifo: bool,
) -> None:
    slow, fast = (Port(clock_hz=clock_hz, paced=paced, gap_ns=gap) for _ in range(2))
    for port in (slow, fast):
        port.set_line(divisor, 0x03)
        port.write(Reg.IIR_FCR, int(fifo))
    for count, rest, before, drain in jobs:
        data = bytes(range(count))
        naive_uart.write(slow.bus, slow.clock, COM1, data, access, pause, before, drain)
        end = write_polled(fast.uart, data, fast.clock.now, Polling(access, pause, before, drain))
        fast.clock.advance(end - fast.clock.now)
        assert (fast.clock.now, fast.uart.idle_at) == (slow.clock.now, slow.uart.idle_at)
        slow.clock.advance(rest)
        fast.clock.advance(rest)
    assert fast.uart.sent == slow.uart.sent


def test_a_long_text_goes_at_line_rate() -> None:
    port = Port()
    end = write_polled(port.uart, bytes(300_000), 0, Polling(1000, 1000))
    assert end == pytest.approx(300_000 * 10 / 115200 * 1e9, rel=1e-5)


@pytest.mark.parametrize("before", [True, False])
def test_where_nobody_answers_the_status_reads_as_ready(before: bool) -> None:
    bus, clock = Bus(), Clock()
    naive_uart.write(bus, clock, COM1, b"lost", 700, 1000, before, True)
    assert out_polled(bus, COM1, b"lost", 0, Polling(700, 1000, before)) == clock.now
