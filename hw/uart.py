"""A 16550 serial port: registers, divisor, FIFO, and a line that takes its time.

Every frame takes start bit, data bits, parity and stop bits at the rate the divisor gives; the line status follows from
the simulated time. A hypervisor's port takes each byte at once: what the guest pays there are its exits.

Source: National Semiconductor PC16550D data sheet
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from hw.bus import Bus
from hw.clock import Clock
from hw.registers import Bits, Register

PORTS = 8
CLOCK_HZ = 1_843_200
"""Input of the baud rate generator on a PC: 16 x 115200. Source: the data sheet, "Programmable Baud Generator"."""
LEGACY_PORTS = (0x3F8, 0x2F8, 0x3E8, 0x2E8)
"""COM1 to COM4. Source: arch/x86/include/asm/serial.h:SERIAL_PORT_DFNS @ v6.12"""
FIFO_BYTES = 16
NS_PER_S = 1_000_000_000


class Reg(IntEnum):
    """Offsets from the port's base; the first two reach the divisor while DLAB is set."""

    DATA = 0
    IER = 1
    IIR_FCR = 2
    LCR = 3
    MCR = 4
    LSR = 5
    MSR = 6
    SCR = 7


class LineControl(Register, width=8):
    """Source: the data sheet, "Line Control Register"."""

    dlab = Bits(7)
    set_break = Bits(6)
    parity = Bits(5, 3)
    two_stop_bits = Bits(2)
    word_length = Bits(1, 0)  # data bits less 5

    def frame_half_bits(self) -> int:
        """Length of a frame in half bits: five data bits with two stop bits have one and a half."""
        stop = 2 if not self.two_stop_bits else 3 if self.word_length == 0 else 4
        return 2 * (1 + 5 + self.word_length + (self.parity & 1)) + stop


LSR_THRE, LSR_TEMT = 0x20, 0x40  # room for a byte; nothing left to send
BOTH_EMPTY = LSR_THRE | LSR_TEMT
IIR_NONE, IIR_FIFO = 0x01, 0xC0
MSR_READY = 0xB0  # carrier, data set ready, clear to send: somebody is there
FCR_ENABLE, MCR_LOOP = 0x01, 0x10


class Uart16550:
    """One port. ``sent`` holds every byte that went out on the line."""

    def __init__(self, clock: Clock, clock_hz: int = CLOCK_HZ, paced: bool = True, gap_ns: int = 0) -> None:
        self.clock = clock
        self.clock_hz = clock_hz
        self.paced = paced
        self.gap_ns = gap_ns  # pause after each frame, as management controllers' ports make
        self.sent = bytearray()
        self.divisor = 1
        self.lcr = LineControl(0x03)
        self.fifo = False
        self.ier = self.mcr = self.scr = 0
        self._divisor_bytes = [1, 0]
        self._idle_at = 0  # when the last bit of what was written is out

    def attach(self, bus: Bus, base: int) -> None:
        """Answer at eight ports from ``base``; BusError if they are taken."""
        bus.map_ports(base, PORTS, UartPorts(self, base))

    def frame_ns(self) -> int:
        """From the start of one byte to the start of the next when they follow each other; 0 if not paced."""
        if not self.paced:
            return 0
        half_bits = self.lcr.frame_half_bits()
        return round(half_bits * self.divisor * 8 * NS_PER_S / self.clock_hz) + self.gap_ns

    def waiting(self, now: int) -> int:
        """Bytes written at ``now`` that have not begun to leave."""
        frame = self.frame_ns()
        return max(0, -(-(self._idle_at - now) // frame) - 1) if frame else 0

    def line_status(self, now: int) -> int:
        """LSR at ``now``; nothing is ever received."""
        status = 0 if self.waiting(now) else LSR_THRE
        return status | (LSR_TEMT if now >= self._idle_at else 0)

    def transmit(self, byte: int, now: int) -> None:
        """Write the holding register, or the FIFO; without room the byte is lost."""
        room = FIFO_BYTES if self.fifo else 1
        if self.mcr & MCR_LOOP or self.waiting(now) >= room:
            return
        self._idle_at = max(now, self._idle_at) + self.frame_ns()
        self.sent.append(byte)

    # -- ports --------------------------------------------------------------------------------------------------------

    def read(self, reg: int) -> int:
        """One register as a program reads it."""
        match reg:
            case Reg.DATA | Reg.IER if self.lcr.dlab:
                return self._divisor_bytes[reg]
            case Reg.DATA:
                return 0
            case Reg.IIR_FCR:
                return IIR_NONE | (IIR_FIFO if self.fifo else 0)
            case Reg.LSR:
                return self.line_status(self.clock.now)
            case Reg.MSR:
                return self._modem_status()
        return {Reg.IER: self.ier, Reg.LCR: self.lcr.value, Reg.MCR: self.mcr, Reg.SCR: self.scr}[Reg(reg)]

    def _modem_status(self) -> int:
        # In loopback the modem outputs come back: RTS as CTS, DTR as DSR, OUT1 as RI, OUT2 as DCD.
        if not self.mcr & MCR_LOOP:
            return MSR_READY
        dtr, rts, out1, out2 = (self.mcr >> bit & 1 for bit in range(4))
        return rts << 4 | dtr << 5 | out1 << 6 | out2 << 7

    def write(self, reg: int, value: int) -> None:
        """One register as a program writes it."""
        match reg:
            case Reg.DATA | Reg.IER if self.lcr.dlab:
                self._set_divisor(reg, value)
            case Reg.DATA:
                self.transmit(value, self.clock.now)
            case Reg.IER:
                self.ier = value & 0x0F
            case Reg.IIR_FCR:
                self.fifo = bool(value & FCR_ENABLE)
            case Reg.LCR:
                self.lcr = LineControl(value)
            case Reg.MCR:
                self.mcr = value & 0x1F
            case Reg.SCR:
                self.scr = value

    def _set_divisor(self, half: int, value: int) -> None:
        # Zero is no divisor: the generator keeps the rate it had.
        self._divisor_bytes[half] = value
        self.divisor = (self._divisor_bytes[0] | self._divisor_bytes[1] << 8) or self.divisor

    def sends(self, data: bytes, last_start: int) -> None:
        """Take bytes whose frames are known to follow each other up to the one that starts at ``last_start``."""
        self.sent += data
        self._idle_at = last_start + self.frame_ns()

    @property
    def idle_at(self) -> int:
        """When the line is or was idle again, ns."""
        return self._idle_at


@dataclass(frozen=True)
class UartPorts:
    """The port's registers at their place in the I/O space; wider accesses reach the first register only."""

    uart: Uart16550
    base: int

    def port_read(self, port: int, size: int) -> int:
        return self.uart.read(port - self.base)

    def port_write(self, port: int, size: int, value: int) -> None:
        self.uart.write(port - self.base, value & 0xFF)
