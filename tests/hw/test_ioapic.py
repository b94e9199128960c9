"""The I/O APIC."""

from __future__ import annotations

import pytest

from hw.cpu import CPU, RunState
from hw.ioapic import IOAPIC_BASE, IoApic, Redirection
from tests.hw.rig import Rig

MASK, LEVEL, REMOTE_IRR = 1 << 16, 1 << 15, 1 << 14


class Wired(Rig):
    """Two CPUs, an I/O APIC, and a record of interrupts taken."""

    def __init__(self, eoi: bool = True) -> None:
        super().__init__(0, 1)
        self.ioapic = IoApic(self.apic_bus, ioapic_id=8)
        self.ioapic.attach(self.bus)
        self.taken: list[tuple[int, int]] = []
        for index, cpu in enumerate(self.cpus):
            cpu.state = RunState.RUNNING
            self.set_reg(0xF0, 0x1FF, index)
            cpu.set_gate(0x51, lambda core: self.handle(core, eoi))
            cpu.sti()

    def handle(self, cpu: CPU, eoi: bool) -> None:
        self.taken.append((cpu.index, 0x51))
        if eoi:
            self.set_reg(0xB0, 0, cpu.index)

    def get(self, index: int) -> int:
        self.boot.write(IOAPIC_BASE, 4, index)
        return self.boot.read(IOAPIC_BASE + 0x10, 4)

    def put(self, index: int, value: int) -> None:
        self.boot.write(IOAPIC_BASE, 4, index)
        self.boot.write(IOAPIC_BASE + 0x10, 4, value)


def test_identification() -> None:
    rig = Wired()
    assert rig.get(0) == 8 << 24 and rig.get(1) == 23 << 16 | 0x20
    rig.put(0, 3 << 24)
    assert rig.get(0) == rig.get(2) == 3 << 24
    rig.put(1, 0)
    assert rig.get(1) == 23 << 16 | 0x20
    assert rig.boot.read(IOAPIC_BASE, 4) == 1


def test_the_table_is_masked_and_keeps_writable_bits() -> None:
    rig = Wired()
    assert [(rig.get(0x10 + 2 * pin), rig.get(0x11 + 2 * pin)) for pin in range(24)] == [(MASK, 0)] * 24
    rig.put(0x10 + 46, 0xFFFF_FFFF)
    rig.put(0x11 + 46, 0xFFFF_FFFF)
    assert (rig.get(0x3E), rig.get(0x3F)) == (0x1_AFFF, 0xFF00_0000)  # delivery status and remote IRR are read-only
    assert rig.get(0x40) == rig.get(0x0F) == 0
    rig.put(0x40, 5)


def test_edge_sends_on_the_rise() -> None:
    rig = Wired()
    rig.put(0x11 + 8, 1 << 24)
    rig.put(0x10 + 8, 0x51)
    rig.ioapic.set_line(4, True)
    rig.ioapic.set_line(4, True)
    assert rig.taken == [(1, 0x51)]
    rig.ioapic.set_line(4, False)
    rig.ioapic.set_line(4, True)
    assert len(rig.taken) == 2


def test_a_masked_pin_is_silent() -> None:
    rig = Wired()
    rig.put(0x10, MASK | 0x51)
    rig.ioapic.set_line(0, True)
    rig.put(0x10, 0x51)
    assert rig.taken == []  # the edge is gone


def test_level_sends_again_until_the_line_falls() -> None:
    rig = Wired(eoi=False)
    rig.put(0x10 + 20, LEVEL | 0x51)
    rig.ioapic.set_line(10, True)
    assert len(rig.taken) == 1 and rig.get(0x24) & REMOTE_IRR
    rig.set_reg(0xB0, 0)
    assert len(rig.taken) == 2
    rig.ioapic.set_line(10, False)
    rig.set_reg(0xB0, 0)
    assert len(rig.taken) == 2 and not rig.get(0x24) & REMOTE_IRR


def test_level_comes_when_unmasked() -> None:
    rig = Wired(eoi=False)
    rig.put(0x10, MASK | LEVEL | 0x51)
    rig.ioapic.set_line(0, True)
    assert rig.taken == []
    rig.put(0x10, LEVEL | 0x51)
    assert len(rig.taken) == 1
    rig.put(0x10, MASK | 0x51)  # edge clears remote IRR
    assert not rig.get(0x10) & REMOTE_IRR


def test_eoi_register() -> None:
    rig = Wired(eoi=False)
    rig.put(0x10, LEVEL | 0x51)
    rig.ioapic.set_line(0, True)
    rig.ioapic.set_line(0, False)
    rig.boot.write(IOAPIC_BASE + 0x40, 4, 0x51)
    assert not rig.get(0x10) & REMOTE_IRR


def test_broadcast_and_declaration() -> None:
    rig = Wired()
    rig.put(0x11, 0xFF << 24)
    rig.put(0x10, 0x51)
    rig.ioapic.set_line(0, True)
    assert rig.taken == [(0, 0x51), (1, 0x51)]
    assert Redirection(0xFF00_0000_0001_0051).destination == 0xFF


@pytest.mark.parametrize("pins", [0, 241])
def test_impossible_pin_counts_are_refused(pins: int) -> None:
    with pytest.raises(ValueError, match="pins"):
        IoApic(Rig(0).apic_bus, pins=pins)
