"""The local APIC: registers in both forms, modes, interrupt commands, priorities, errors."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.apic_bus import Delivery, Message
from hw.cpu import RunState
from hw.cpuid import CpuDescription
from hw.errors import GeneralProtection
from tests.hw.rig import ICR_HIGH, ICR_LOW, Rig

ID, VERSION, TPR, PPR, EOI, LDR, DFR, SVR = 0x20, 0x30, 0x80, 0xA0, 0xB0, 0xD0, 0xE0, 0xF0
ISR, IRR, LVT_TIMER, LVT_ERROR = 0x100, 0x200, 0x320, 0x370
APIC_BASE, X2APIC_BIT, ENABLE = 0x1B, 1 << 10, 1 << 11
ENABLED = 0x1FF
BOTH = pytest.mark.parametrize("x2apic", [False, True])


def with_gates(rig: Rig, *vectors: int, eoi: bool = True) -> list[tuple[int, int]]:
    """Enable every APIC and note (cpu, vector) of every interrupt taken."""
    taken: list[tuple[int, int]] = []

    def gate(vector: int) -> Any:
        def handler(cpu: Any) -> None:
            taken.append((cpu.index, vector))
            if eoi:
                rig.set_reg(EOI, 0, cpu.index)

        return handler

    for index, cpu in enumerate(rig.cpus):
        rig.set_reg(SVR, ENABLED, index)
        cpu.state = RunState.RUNNING
        for vector in vectors:
            cpu.set_gate(vector, gate(vector))
        cpu.sti()
    return taken


def test_reset_values() -> None:
    rig = Rig(5)
    assert rig.reg(ID) == 5 << 24
    assert rig.reg(VERSION) & 0xFF == 0x15 and rig.reg(VERSION) >> 16 & 0xFF == 6
    assert (rig.reg(SVR), rig.reg(DFR), rig.reg(TPR)) == (0xFF, 0xFFFF_FFFF, 0)
    assert [rig.reg(lvt) for lvt in (0x2F0, 0x320, 0x330, 0x340, 0x350, 0x360, 0x370)] == [0x10000] * 7


@pytest.mark.parametrize("apic_id", [0, 255, 256, 0x1234_5678])
def test_x2apic_id_and_ldr(apic_id: int) -> None:
    rig = Rig(apic_id, x2apic=True)
    assert rig.reg(ID) == apic_id
    assert rig.reg(LDR) == (apic_id >> 4 & 0xFFFF) << 16 | 1 << (apic_id & 15)


def test_each_cpu_sees_its_own_page() -> None:
    rig = Rig(0, 1, 6)
    assert [rig.reg(ID, n) >> 24 for n in range(3)] == [0, 1, 6]
    rig.set_reg(TPR, 0x20, 1)
    assert [rig.reg(TPR, n) for n in range(3)] == [0, 0x20, 0]
    assert rig.bus.read(0xFEE0_0020, 4) == 0  # nobody else's business


@given(st.sampled_from([0xF0, 0x80, 0x320, 0x330, 0x340, 0x350, 0x360, 0x370, 0x3E0]), st.integers(0, 2**32 - 1))
def test_both_forms_decode_alike(offset: int, value: int) -> None:
    memory, msr = Rig(1), Rig(1, x2apic=True)
    for rig in (memory, msr):
        rig.set_reg(SVR, ENABLED)
    memory.set_reg(offset, value)
    try:
        msr.set_reg(offset, value)
    except GeneralProtection:  # reserved bits: ignored in memory, refused as MSR
        assert memory.reg(offset) & ~value == 0 or offset == DFR
        assert memory.reg(offset) != value
    else:
        assert msr.reg(offset) == memory.reg(offset)


def test_memory_form_needs_xapic_mode_and_msr_form_x2apic_mode() -> None:
    rig = Rig(3)
    with pytest.raises(GeneralProtection):
        rig.boot.rdmsr(0x802)
    rig.boot.wrmsr(APIC_BASE, rig.boot.rdmsr(APIC_BASE) | X2APIC_BIT)
    assert rig.boot.rdmsr(0x802) == 3
    assert rig.boot.read(0xFEE0_0020, 4) == 0  # memory now
    rig.boot.write(0xFEE0_0020, 4, 0x55)
    assert rig.bus.memory.read_int(0xFEE0_0020, 4) == 0x55


def test_the_page_moves_with_apic_base() -> None:
    rig = Rig(3)
    rig.boot.wrmsr(APIC_BASE, 0x1_0000_0000 | ENABLE)
    assert rig.boot.read(0x1_0000_0020, 4) == 3 << 24
    assert rig.boot.read(0xFEE0_0020, 4) == 0


MODES = {"off": 0, "xapic": ENABLE, "x2apic": ENABLE | X2APIC_BIT, "invalid": X2APIC_BIT}
ALLOWED = {
    ("off", "off"),
    ("off", "xapic"),
    ("xapic", "xapic"),
    ("xapic", "off"),
    ("xapic", "x2apic"),
    ("x2apic", "x2apic"),
    ("x2apic", "off"),
}


@pytest.mark.parametrize("to", MODES)
@pytest.mark.parametrize("start", ["off", "xapic", "x2apic"])
def test_mode_changes(start: str, to: str) -> None:
    rig = Rig(0, x2apic=start == "x2apic")
    if start == "off":
        rig.boot.wrmsr(APIC_BASE, 0xFEE0_0000)
    if (start, to) in ALLOWED:
        rig.boot.wrmsr(APIC_BASE, 0xFEE0_0000 | MODES[to])
        assert rig.boot.rdmsr(APIC_BASE) & 0xC00 == MODES[to]
    else:
        before = rig.boot.rdmsr(APIC_BASE)
        with pytest.raises(GeneralProtection):
            rig.boot.wrmsr(APIC_BASE, 0xFEE0_0000 | MODES[to])
        assert rig.boot.rdmsr(APIC_BASE) == before


def test_reserved_bits_of_apic_base() -> None:
    rig = Rig(0, 1, description=CpuDescription(phys_bits=40, features=("apic",)))
    assert [cpu.rdmsr(APIC_BASE) >> 8 & 1 for cpu in rig.cpus] == [1, 0]
    for value in (1 << 40, 1 << 9, 1, ENABLE | X2APIC_BIT):  # the last: no x2APIC in this CPU
        with pytest.raises(GeneralProtection):
            rig.boot.wrmsr(APIC_BASE, value)


def test_disabling_shows_in_cpuid_and_resets() -> None:
    rig = Rig(0)
    rig.set_reg(TPR, 0x30)
    assert rig.boot.cpuid(1).edx >> 9 & 1
    rig.boot.wrmsr(APIC_BASE, 0xFEE0_0000)
    assert not rig.boot.cpuid(1).edx >> 9 & 1
    rig.boot.wrmsr(APIC_BASE, 0xFEE0_0000 | ENABLE)
    assert rig.reg(TPR) == 0


@pytest.mark.parametrize("msr", [0x800, 0x801, 0x809, 0x80C, 0x80E, 0x831, 0x83F, 0x80B, 0x8FF])
def test_msrs_that_can_not_be_read(msr: int) -> None:
    with pytest.raises(GeneralProtection):
        Rig(0, x2apic=True).boot.rdmsr(msr)


@pytest.mark.parametrize(
    ("msr", "value"),
    [
        (0x802, 0),
        (0x803, 0),
        (0x80A, 0),
        (0x80D, 0),
        (0x839, 0),
        (0x80B, 1),
        (0x828, 1),
        (0x808, 0x100),
        (0x830, 1 << 13),
    ],
)
def test_msr_writes_that_fault(msr: int, value: int) -> None:
    with pytest.raises(GeneralProtection):
        Rig(0, x2apic=True).boot.wrmsr(msr, value)


def test_cmci_entry_comes_with_seven_lvt_entries() -> None:
    rig = Rig(0, x2apic=True)
    rig.boot.apic.version = 0x0005_0014
    with pytest.raises(GeneralProtection):
        rig.boot.rdmsr(0x82F)


# -- interrupt commands ----------------------------------------------------------------------------------------------


@BOTH
def test_fixed_interrupt_to_one_cpu(x2apic: bool) -> None:
    rig = Rig(0, 2, 4, x2apic=x2apic)
    taken = with_gates(rig, 0x41)
    rig.ipi(4, 0x4041)
    assert taken == [(2, 0x41)]
    assert not rig.reg(ICR_LOW) >> 12 & 1 and rig.errors() == 0


@BOTH
@pytest.mark.parametrize(("shorthand", "who"), [(1, [1]), (2, [0, 1, 2]), (3, [0, 2])])
def test_shorthands(x2apic: bool, shorthand: int, who: list[int]) -> None:
    rig = Rig(0, 2, 4, x2apic=x2apic)
    taken = with_gates(rig, 0x41)
    rig.ipi(0, 0x4041 | shorthand << 18, cpu=1)
    assert taken == [(cpu, 0x41) for cpu in who]


@BOTH
def test_broadcast_destination(x2apic: bool) -> None:
    rig = Rig(0, 2, 4, x2apic=x2apic)
    taken = with_gates(rig, 0x41)
    rig.ipi(0xFFFF_FFFF if x2apic else 0xFF, 0x4041)
    assert taken == [(0, 0x41), (1, 0x41), (2, 0x41)]


def test_logical_destinations() -> None:
    rig = Rig(0, 1, 2)
    taken = with_gates(rig, 0x41)
    for cpu in range(3):
        rig.set_reg(LDR, 1 << (24 + cpu), cpu)
    rig.ipi(0b101, 0x4841)
    assert taken == [(0, 0x41), (2, 0x41)]
    taken.clear()
    for cpu, ldr in enumerate((0x11, 0x12, 0x21)):
        rig.set_reg(DFR, 0, cpu)
        rig.set_reg(LDR, ldr << 24, cpu)
    assert rig.reg(DFR) == 0x0FFF_FFFF
    rig.ipi(0x13, 0x4841)
    assert taken == [(0, 0x41), (1, 0x41)]


def test_logical_destinations_of_x2apic() -> None:
    rig = Rig(0x0F, 0x10, 0x12, x2apic=True)
    taken = with_gates(rig, 0x41)
    rig.ipi(1 << 16 | 0b101, 0x4841)
    assert taken == [(1, 0x41), (2, 0x41)]
    rig.ipi(1 << 16 | 0b101, 0x4941)  # lowest priority: one of them
    assert len(taken) == 3


def test_self_ipi_register() -> None:
    rig = Rig(0, x2apic=True)
    taken = with_gates(rig, 0x55)
    rig.set_reg(0x3F0, 0x55)
    assert taken == [(0, 0x55)]


@BOTH
def test_unknown_destination_is_a_send_accept_error(x2apic: bool) -> None:
    rig = Rig(0, 2, x2apic=x2apic)
    rig.ipi(9, 0x4600 | 0x8)
    assert rig.reg(0x280) == 0  # not latched yet
    assert rig.errors() == 4
    assert rig.errors() == 0  # the write before cleared it


def test_illegal_vectors() -> None:
    rig = Rig(0, 1)
    rig.set_reg(SVR, ENABLED, 1)
    rig.ipi(1, 0x400F)
    assert rig.errors() == 1 << 5
    rig.apic_bus.send(Message(Delivery.FIXED, 3, destination=1))
    assert rig.errors(1) == 1 << 6


@pytest.mark.parametrize(("offset", "size"), [(0x24, 4), (0x40, 4), (0x3F0, 4), (0x20, 8), (0x21, 1)])
def test_illegal_register_addresses(offset: int, size: int) -> None:
    rig = Rig(0)
    assert rig.boot.read(0xFEE0_0000 + offset, size) == 0
    assert rig.errors() == 1 << 7
    rig.boot.write(0xFEE0_0000 + offset, size, 1)
    assert rig.errors() == 1 << 7


def test_error_interrupt() -> None:
    rig = Rig(0)
    taken = with_gates(rig, 0xFE)
    rig.set_reg(LVT_ERROR, 0xFE)
    rig.ipi(9, 0x4041)
    assert taken == [(0, 0xFE)] and rig.errors() == 4


@pytest.mark.parametrize("shorthand", [1, 2])
@pytest.mark.parametrize("delivery", [4, 5, 6])
def test_only_fixed_interrupts_may_include_the_sender(shorthand: int, delivery: int) -> None:
    rig = Rig(0, 1)
    rig.ipi(0, 0x4000 | delivery << 8 | shorthand << 18)
    assert [cpu.state for cpu in rig.cpus] == [RunState.RUNNING, RunState.WAIT_FOR_SIPI]
    assert rig.errors() == 0


# -- acceptance ------------------------------------------------------------------------------------------------------


def bitmap(rig: Rig, base: int) -> set[int]:
    return {32 * i + bit for i in range(8) for bit in range(32) if rig.reg(base + 16 * i) >> bit & 1}


def test_interrupts_wait_for_sti_then_come_by_priority() -> None:
    rig = Rig(0)
    taken = with_gates(rig, 0x31, 0x52, 0xF0)
    rig.boot.cli()
    for vector in (0x31, 0xF0, 0x52):
        rig.ipi(0, 0x4000 | vector | 1 << 18)
    assert taken == [] and bitmap(rig, IRR) == {0x31, 0x52, 0xF0}
    rig.boot.sti()
    assert [vector for _cpu, vector in taken] == [0xF0, 0x52, 0x31]
    assert bitmap(rig, IRR) == bitmap(rig, ISR) == set()


def test_in_service_blocks_the_same_class_and_lower() -> None:
    rig = Rig(0)
    taken = with_gates(rig, 0x50, 0x5F, 0x60, eoi=False)
    for vector in (0x50, 0x5F, 0x60):
        rig.ipi(0, 0x4000 | vector | 1 << 18)
    assert [vector for _cpu, vector in taken] == [0x50, 0x60]
    assert bitmap(rig, ISR) == {0x50, 0x60} and bitmap(rig, IRR) == {0x5F} and rig.reg(PPR) == 0x60
    rig.set_reg(EOI, 0)
    assert rig.reg(PPR) == 0x50 and len(taken) == 2
    rig.set_reg(EOI, 0)
    assert [vector for _cpu, vector in taken] == [0x50, 0x60, 0x5F]


def test_task_priority_holds_back() -> None:
    rig = Rig(0)
    taken = with_gates(rig, 0x41)
    rig.set_reg(TPR, 0x4F)
    rig.ipi(0, 0x4041 | 1 << 18)
    assert taken == [] and rig.reg(PPR) == 0x4F
    rig.set_reg(TPR, 0x30)
    assert taken == [(0, 0x41)]


def test_software_disabled_drops_fixed_interrupts_and_masks_lvts() -> None:
    rig = Rig(0, 1)
    taken = with_gates(rig, 0x41)
    rig.set_reg(LVT_TIMER, 0x41, 1)
    rig.set_reg(SVR, 0xFF, 1)
    rig.ipi(1, 0x4041)
    assert taken == [] and rig.reg(LVT_TIMER, 1) == 0x10041
    rig.set_reg(LVT_TIMER, 0x42, 1)
    assert rig.reg(LVT_TIMER, 1) == 0x10042
    rig.ipi(1, 0x4500)  # INIT works all the same
    assert rig.cpus[1].state is RunState.WAIT_FOR_SIPI


def test_two_cpus_with_one_id_are_refused() -> None:
    with pytest.raises(ValueError, match="two CPUs"):
        Rig(1, 1)


def test_icr_high_keeps_the_destination() -> None:
    rig = Rig(0, 1)
    rig.ipi(1, 0x4641)
    assert rig.reg(ICR_HIGH) == 1 << 24 and rig.reg(ICR_LOW) == 0x4641
