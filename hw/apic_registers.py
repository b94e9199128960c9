"""Registers of the local APIC, and the map that says where they are.

Source: SDM vol. 3A, APIC chapter: "Local APIC Register Address Map", "Extended XAPIC (x2APIC)" and the figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from hw.registers import Bits, Register

APIC_DEFAULT_BASE = 0xFEE0_0000
X2APIC_MSR = 0x800
DEFAULT_VERSION = 0x0106_0015
"""Integrated APIC with seven LVT entries and EOI-broadcast suppression, as current Xeons report it."""

ID, VERSION, TPR, APR, PPR, EOI, RRD, LDR, DFR, SVR = 0x20, 0x30, 0x80, 0x90, 0xA0, 0xB0, 0xC0, 0xD0, 0xE0, 0xF0
ISR, TMR, IRR, ESR, LVT_CMCI, ICR, ICR_HIGH = 0x100, 0x180, 0x200, 0x280, 0x2F0, 0x300, 0x310
LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR = 0x320, 0x330, 0x340, 0x350, 0x360, 0x370
INITIAL_COUNT, CURRENT_COUNT, DIVIDE, SELF_IPI = 0x380, 0x390, 0x3E0, 0x3F0

ERROR_SEND_ACCEPT, ERROR_SEND_VECTOR, ERROR_RECEIVE_VECTOR, ERROR_ADDRESS = 1 << 2, 1 << 5, 1 << 6, 1 << 7
FIRST_VECTOR = 16
"""Vectors below are illegal for interrupts."""


class ApicBase(Register, width=64):
    """IA32_APIC_BASE, MSR 0x1B."""

    bsp = Bits(8)
    extd = Bits(10)  # x2APIC mode
    enable = Bits(11)
    base = Bits(51, 12)


class XapicId(Register):
    """The ID, LDR and ICR_HIGH registers in xAPIC form."""

    id = Bits(31, 24)


class Dfr(Register):
    """Destination format: 0xF flat, 0 cluster."""

    model = Bits(31, 28)


class Svr(Register):
    """Spurious interrupt vector register."""

    vector = Bits(7, 0)
    enabled = Bits(8)
    focus_off = Bits(9)
    eoi_suppress = Bits(12)


class Icr(Register, width=64):
    """Interrupt command register as in x2APIC mode; xAPIC keeps only the high 8 destination bits."""

    vector = Bits(7, 0)
    delivery = Bits(10, 8)
    logical = Bits(11)
    asserted = Bits(14)
    level = Bits(15)
    shorthand = Bits(19, 18)
    destination = Bits(63, 32)


class LvtTimer(Register):
    """LVT entry of the timer."""

    vector = Bits(7, 0)
    mask = Bits(16)
    mode = Bits(18, 17)


class LvtEvent(Register):
    """LVT entry of thermal sensor, performance counters and CMCI."""

    vector = Bits(7, 0)
    delivery = Bits(10, 8)
    mask = Bits(16)


class LvtLint(Register):
    """LVT entry of the LINT0 and LINT1 pins."""

    vector = Bits(7, 0)
    delivery = Bits(10, 8)
    low_active = Bits(13)
    level = Bits(15)
    mask = Bits(16)


class LvtError(Register):
    """LVT entry for APIC errors."""

    vector = Bits(7, 0)
    mask = Bits(16)


class Tpr(Register):
    """Task priority."""

    priority = Bits(7, 0)


class Word(Register):
    """32 bits without structure."""

    all = Bits(31, 0)


class Entry(NamedTuple):
    """One line of the address map; `x2apic` is the access in that mode ("" where the MSR does not exist)."""

    access: str
    x2apic: str
    form: type[Register] = Word
    reset: int = 0


_BITMAP = {base + step: Entry("r", "r") for base in (ISR, TMR, IRR) for step in range(0, 0x80, 0x10)}
REGISTERS: Mapping[int, Entry] = MappingProxyType(
    {
        ID: Entry("r", "r"),  # not software-writable, as the SDM allows
        VERSION: Entry("r", "r"),
        TPR: Entry("rw", "rw", Tpr),
        APR: Entry("r", ""),
        PPR: Entry("r", "r"),
        EOI: Entry("w", "w"),
        RRD: Entry("r", ""),
        LDR: Entry("rw", "r", XapicId),
        DFR: Entry("rw", "", Dfr, 0xFFFF_FFFF),
        SVR: Entry("rw", "rw", Svr, 0xFF),
        ESR: Entry("rw", "rw"),
        LVT_CMCI: Entry("rw", "rw", LvtEvent, 0x1_0000),
        ICR: Entry("rw", "rw", Icr),
        ICR_HIGH: Entry("rw", "", XapicId),
        LVT_TIMER: Entry("rw", "rw", LvtTimer, 0x1_0000),
        LVT_THERMAL: Entry("rw", "rw", LvtEvent, 0x1_0000),
        LVT_PERF: Entry("rw", "rw", LvtEvent, 0x1_0000),
        LVT_LINT0: Entry("rw", "rw", LvtLint, 0x1_0000),
        LVT_LINT1: Entry("rw", "rw", LvtLint, 0x1_0000),
        LVT_ERROR: Entry("rw", "rw", LvtError, 0x1_0000),
        INITIAL_COUNT: Entry("rw", "rw"),
        CURRENT_COUNT: Entry("r", "r"),
        DIVIDE: Entry("rw", "rw"),
        SELF_IPI: Entry("", "w", Tpr),
        **_BITMAP,
    }
)
END = 0x400
LVTS = (LVT_CMCI, LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR)
