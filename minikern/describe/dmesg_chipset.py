"""Registers of chipset functions, from what the kernel says it read in them."""

from __future__ import annotations

from typing import NamedTuple

from hw.pci.spec import RegisterSpec
from minikern.describe.dmesg_pci_lines import Seen

LPC = 31 << 3
CHIPSET_REGISTERS = RegisterSpec(0xF0, 0xFED1_C001)  # their address, and that they are on, in the ISA bridge
PORT_CHECKS = RegisterSpec(0xD8, 1 << 26)
"""Source: Intel 9 Series Chipset Family PCH datasheet, 12.1.36 (RCBA) and 19.1.55 (MPC)"""
FIRST_DECODE = 0x84


class _Ports(NamedTuple):
    """Where a range of ports is set, and where and with which bit it is turned on; no bit: it always is."""

    base: int
    control: int = 0
    enable: int = 0


PORTS = {
    "ICH4 ACPI/GPIO/TCO": _Ports(0x40, 0x44, 0x10),
    "ICH4 GPIO": _Ports(0x58, 0x5C, 0x10),
    "ICH6 ACPI/GPIO/TCO": _Ports(0x40, 0x44, 0x80),
    "ICH6 GPIO": _Ports(0x48, 0x4C, 0x10),
    "PIIX4 ACPI": _Ports(0x40),
    "PIIX4 SMB": _Ports(0x90),
}
"""Source: Intel ICH4, ICH6 and PIIX4 datasheets (PMBASE, ACPI_CNTL, GPIOBASE, GPIO_CNTL, SMBBA)"""


def registers_of(one: Seen, opened: bool) -> list[RegisterSpec]:
    """What a function's own registers must hold. ``opened``: it is the ISA bridge of ports that isolate by it."""
    found = []
    for name, address in one.ports.items():
        if name in PORTS:
            place = PORTS[name]
            found.append(RegisterSpec(place.base, address | 1))
            found += [RegisterSpec(place.control, place.enable)] if place.enable else []
    for number, (base, mask) in one.decodes.items():
        found.append(RegisterSpec(FIRST_DECODE + 4 * (number - 1), base | (mask & 0xFC) << 16 | 1))
    if one.opened and one.bus_numbers_checked:
        found.append(PORT_CHECKS)
    return [*found, CHIPSET_REGISTERS] if opened else found
