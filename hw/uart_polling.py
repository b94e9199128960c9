"""Programs that write to a serial port byte by byte and look at its status in between, many bytes at once.

The result is what single register accesses would give, access by access; only the steps between are jumped over while
the line, and not the program, sets the pace.
"""

from __future__ import annotations

from typing import NamedTuple

from hw.bus import Bus
from hw.uart import Uart16550, UartPorts


class Polling(NamedTuple):
    """How a program waits: ``access_ns`` a port access, ``pause_ns`` between two looks at the status.

    ``before``: room is waited for before each byte, else that the byte is out after each. ``drain``: at the end it
    waits until all is out.
    """

    access_ns: int
    pause_ns: int = 0
    before: bool = True
    drain: bool = True

    @property
    def period_ns(self) -> int:
        """From one look at the status to the next."""
        return self.access_ns + self.pause_ns


class _Step(NamedTuple):
    """One byte: since when there was room for it, when that was seen, and when its frame starts."""

    room_at: int
    seen_at: int
    start: int


def out_polled(bus: Bus, base: int, data: bytes, now: int, how: Polling) -> int:
    """Write ``data`` to the port at ``base``; where nobody answers, the status reads as ready. Returns the end, ns."""
    ports = bus.port_device(base)
    if isinstance(ports, UartPorts) and ports.base == base:
        return write_polled(ports.uart, data, now, how)
    looks = len(data) + (1 if data and how.before and how.drain else 0)
    return now + (len(data) + looks) * how.access_ns


def write_polled(uart: Uart16550, data: bytes, now: int, how: Polling) -> int:
    """Write ``data`` from ``now`` on, out of loopback; returns when the program is done with it, ns."""
    if not data:
        return now
    if not how.before:
        return _write_and_wait(uart, data, now, how)
    end = _write_after_room(uart, data, now, how)
    return _seen(end, uart.idle_at, how) if how.drain else end


def _seen(now: int, event_at: int, how: Polling) -> int:
    # The end of the first look at the status, of those begun at `now` and every period after, that finds the event.
    first = now + how.access_ns
    late = max(0, event_at - first)
    return first + -(-late // how.period_ns) * how.period_ns if late else first


def _write_after_room(uart: Uart16550, data: bytes, now: int, how: Polling) -> int:
    frame, left = uart.frame_ns(), len(data)
    if not frame:
        uart.sends(data, now + 2 * left * how.access_ns)
        return now + 2 * left * how.access_ns
    idle_at = uart.idle_at
    while True:
        room_at = idle_at - frame
        seen = _seen(now, room_at, how)
        now = seen + how.access_ns
        step = _Step(room_at, seen, max(now, idle_at))
        left -= 1
        if left and step.start == idle_at and _line_bound(step, frame, how):
            step = _jump(step, left, frame, how)
            now, left = step.seen_at + how.access_ns, 0
        idle_at = step.start + frame
        if not left:
            uart.sends(data, step.start)
            return now


def _line_bound(step: _Step, frame: int, how: Polling) -> bool:
    # From here on every byte is written while the one before it is on the line.
    period = how.period_ns
    return step.seen_at - step.room_at <= period and frame >= period + 2 * how.access_ns


def _jump(step: _Step, count: int, frame: int, how: Polling) -> _Step:
    # Looks at the status lie on a grid of periods that every byte shifts by its own look and write.
    room_at = step.room_at + count * frame
    off = (step.seen_at + 2 * how.access_ns * count - room_at) % how.period_ns
    return _Step(room_at, room_at + off, room_at + frame)


def _write_and_wait(uart: Uart16550, data: bytes, now: int, how: Polling) -> int:
    # Each byte alone on the line: the first one may find another's frame, the rest are all alike.
    uart.transmit(data[0], now + how.access_ns)
    now = _seen(now + how.access_ns, uart.idle_at, how)
    rest = data[1:]
    if rest:
        each = _seen(how.access_ns, how.access_ns + uart.frame_ns(), how)
        now += len(rest) * each
        uart.sends(rest, now - each + how.access_ns)
    return now
