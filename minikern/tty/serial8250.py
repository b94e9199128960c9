"""The 8250 driver's console, and how the kernel sets up and writes to a serial port.

Source: drivers/tty/serial/8250/8250_core.c, 8250_port.c @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hw.uart import LEGACY_PORTS, Reg
from hw.uart_polling import Polling, out_polled
from minikern.core.console_words import LineOptions, parse_line_options

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

BASE_BAUD = 115200  # Source: arch/x86/include/asm/serial.h:BASE_BAUD @ v6.12
FALLBACK_BAUD = 9600  # Source: drivers/tty/serial/serial_core.c:uart_get_baud_rate() @ v6.12
LCR_DLAB, LCR_PARITY, LCR_EVEN = 0x80, 0x08, 0x10
MCR_DTR_RTS = 0x03
UDELAY_NS = 1000  # between two looks at the line status; Source: 8250_port.c:wait_for_lsr() @ v6.12


def line_control(options: LineOptions) -> int:
    """LCR for these options. Source: 8250_port.c:serial8250_compute_lcr()"""
    parity = LCR_PARITY if options.parity in "oe" else 0
    return max(options.bits - 5, 0) & 3 | parity | (LCR_EVEN if options.parity == "e" else 0)


def divisor(baud: int) -> int:
    """Divisor for a rate; one the port cannot make becomes 9600. Source: serial8250_do_get_divisor()"""
    if not BASE_BAUD // 0xFFFF < baud <= BASE_BAUD * 101 // 100:
        baud = FALLBACK_BAUD
    return (BASE_BAUD + baud // 2) // baud


def set_line(k: Kernel, base: int, lcr: int, quotient: int) -> None:
    """Frame and rate of the port at ``base``; no interrupts, no FIFO."""
    writes = (
        (Reg.IER, 0),
        (Reg.IIR_FCR, 0),
        (Reg.MCR, MCR_DTR_RTS),
        (Reg.LCR, lcr | LCR_DLAB),
        (Reg.DATA, quotient & 0xFF),
        (Reg.IER, quotient >> 8 & 0xFF),
        (Reg.LCR, lcr),
    )
    k.consoles.baud = BASE_BAUD // max(1, quotient)
    for reg, value in writes:
        k.charge("uart_port_access")
        k.machine.bus.port_out(base + reg, 1, value)


def put(k: Kernel, base: int, text: str, how: Polling) -> None:
    """Send text with carriage returns, as ``how`` says; the boot CPU does nothing else meanwhile."""
    data = text.replace("\n", "\r\n").encode("utf-8", "replace")
    clock = k.machine.clock
    start = clock.now
    spent = out_polled(k.machine.bus, base, data, start, how) - start
    k.book_span(0, "serial_char", len(data), start, spent)
    clock.advance(spent)


def access_ns(k: Kernel) -> int:
    """What one access to the port takes, whole ns and at least one."""
    return max(1, round(k.unit_ns("uart_port_access")))


def univ8250_console_setup(k: Kernel, index: int, options: str) -> bool:
    """Set up port ``index`` for a console; False if a PC has no such port."""
    if not index < len(LEGACY_PORTS):
        return False
    line = parse_line_options(options)
    set_line(k, LEGACY_PORTS[index], line_control(line), divisor(line.baud))
    return True


def serial8250_console_write(k: Kernel, index: int, text: str) -> None:
    """Room for each byte is waited for, and at the end that all is out."""
    put(k, LEGACY_PORTS[index], text, Polling(access_ns(k), UDELAY_NS))
