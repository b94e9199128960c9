"""Which serial ports a machine has, by what its log or its list of port ranges says."""

from __future__ import annotations

import re
from collections.abc import Iterable

from hw.spec import UartSpec, pc_uarts
from hw.uart import CLOCK_HZ, LEGACY_PORTS

CLOCKS_PER_BAUD = 16  # base_baud is what divisor 1 gives
_FOUND = re.compile(r"^\S+: ttyS\d+ (?:at I/O |I/O:)0x([0-9a-f]{1,4}) \(irq = \d+, base_baud = (\d{1,8})\) is a 16")
_DRIVER = re.compile(r"^Serial: 8250/16550 driver")
_GUEST = re.compile(r"^(?:Hypervisor detected: |DMI: QEMU )")
_RANGE = re.compile(r"^\s*([0-9a-f]{4})-[0-9a-f]{4} : serial", re.MULTILINE)


def uarts_of_log(lines: Iterable[str]) -> list[UartSpec]:
    """The ports the kernel's driver found; a PC's two where the log ends before the driver speaks."""
    found: dict[int, UartSpec] = {}
    spoke = guest = False
    for line in lines:
        spoke = spoke or _DRIVER.match(line) is not None
        guest = guest or _GUEST.match(line) is not None
        if (match := _FOUND.match(line)) and int(match[1], 16) in LEGACY_PORTS:
            clock_hz = int(match[2]) * CLOCKS_PER_BAUD or CLOCK_HZ
            found[int(match[1], 16)] = UartSpec(int(match[1], 16), clock_hz, paced=not guest)
    if found or spoke:
        return list(found.values())
    return [UartSpec(uart.port, paced=not guest) for uart in pc_uarts()]


def uarts_of_capture(ioports: str, lines: Iterable[str]) -> list[UartSpec]:
    """The ports in the text of /proc/ioports, else those of the log."""
    ports = [int(base, 16) for base in _RANGE.findall(ioports) if int(base, 16) in LEGACY_PORTS]
    return [UartSpec(port) for port in dict.fromkeys(ports)] if ports else uarts_of_log(lines)
