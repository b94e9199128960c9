"""A program at a serial port, one register access after the other."""

from __future__ import annotations

from hw.bus import Bus
from hw.clock import Clock

ROOM, ALL_OUT = 0x20, 0x60


def write(
    bus: Bus, clock: Clock, base: int, data: bytes, access_ns: int, pause_ns: int, before: bool, drain: bool
) -> None:
    """Send ``data``: wait for room before each byte, or until all is out after each; in the end as ``drain`` says."""

    def wait(bits: int) -> None:
        while True:
            clock.advance(access_ns)
            if bus.port_in(base + 5, 1) & bits == bits:
                return
            clock.advance(pause_ns)

    for byte in data:
        if before:
            wait(ROOM)
        clock.advance(access_ns)
        bus.port_out(base, 1, byte)
        if not before:
            wait(ALL_OUT)
    if before and drain and data:
        wait(ALL_OUT)
