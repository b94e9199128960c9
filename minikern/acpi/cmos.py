"""The SystemCMOS address space, through the real-time clock's two ports.

Source: drivers/acpi/x86/cmos_rtc.c:acpi_cmos_rtc_space_handler() @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.acpi.spaces import CMOS
from minikern.acpi.values import AmlError

if TYPE_CHECKING:
    from minikern.acpi.interpreter import Interpreter
    from minikern.acpi.spaces import Region

RTC_IDS = frozenset({"PNP0B00", "PNP0B01", "PNP0B02"})
INDEX_PORT, DATA_PORT = 0x70, 0x71


def cmos_space(run: Interpreter, region: Region, address: int, size: int, value: int | None) -> int:
    """One access: byte by byte."""
    if address > 0xFF:
        raise AmlError("AE_BAD_PARAMETER", f"byte {address:#x} of the CMOS memory")
    cpu, result = run.k.machine.boot_cpu, 0
    for number in range(size):
        cpu.outb(INDEX_PORT, address + number & 0xFF)
        if value is None:
            result |= int(cpu.inb(DATA_PORT)) << 8 * number
        else:
            cpu.outb(DATA_PORT, value >> 8 * number & 0xFF)
    return result


def acpi_install_cmos_rtc(run: Interpreter) -> None:
    """A real-time clock is there: its memory can be used from now on."""
    run.spaces.setdefault(CMOS, cmos_space)
