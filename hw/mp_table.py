"""The MultiProcessor table: what firmware before ACPI left about CPUs, I/O APICs and ISA interrupts.

Source: Intel MultiProcessor Specification 1.4, chapter 4
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

POINTER = struct.Struct("<4sI8B")
CONFIG_HEADER = struct.Struct("<4sHBB8s12sIHHIHBB")
PROCESSOR = struct.Struct("<BBBBII8x")
BUS = struct.Struct("<BB6s")
IOAPIC = struct.Struct("<BBBBI")
INTERRUPT = struct.Struct("<BBHBBBB")
CPU_ENABLED, CPU_BOOT, IOAPIC_USABLE = 1, 2, 1
INT, NMI, EXTINT = 0, 1, 3
ISA_BUS, ALL_APICS = 1, 0xFF
TIMER_PIN = 2  # where boards of this kind wire ISA interrupt 0


class IoApicPlace(NamedTuple):
    """One I/O APIC of the table."""

    id: int
    version: int
    address: int


def build_mp_table(
    address: int, cpus: Sequence[int], ioapics: Sequence[IoApicPlace], signature: int, features: int, lapic: int
) -> bytes:
    """Floating pointer and, right behind it, the configuration table, for ``address``; the first CPU is the boot CPU.

    ISA interrupts go to the first I/O APIC one to one, but for the timer at pin 2.
    """
    entries = [
        PROCESSOR.pack(0, apic_id, 0x14, CPU_ENABLED | (0 if index else CPU_BOOT), signature, features)
        for index, apic_id in enumerate(cpus)
    ]
    entries.append(BUS.pack(1, ISA_BUS, b"ISA   "))
    entries += [IOAPIC.pack(2, io.id, io.version, IOAPIC_USABLE, io.address) for io in ioapics]
    for irq in range(16) if ioapics else ():
        if irq != TIMER_PIN:
            entries.append(INTERRUPT.pack(3, INT, 0, ISA_BUS, irq, ioapics[0].id, irq or TIMER_PIN))
    entries.append(INTERRUPT.pack(4, EXTINT, 0, ISA_BUS, 0, 0, 0))
    entries.append(INTERRUPT.pack(4, NMI, 0, ISA_BUS, 0, ALL_APICS, 1))
    body = b"".join(entries)
    header = CONFIG_HEADER.pack(
        b"PCMP", CONFIG_HEADER.size + len(body), 4, 0, b"BOCHSCPU", b"0.1         ", 0, 0, len(entries), lapic, 0, 0, 0
    )
    config = _sum_to_zero(header + body, 7)
    pointer = POINTER.pack(b"_MP_", address + POINTER.size, 1, 4, 0, 0, 0, 0, 0, 0)
    return _sum_to_zero(pointer, 10) + config


def _sum_to_zero(data: bytes, at: int) -> bytes:
    fixed = bytearray(data)
    fixed[at] = -sum(data) & 0xFF
    return bytes(fixed)
