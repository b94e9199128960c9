"""CPUs: CPUID, MSRs, INIT and STARTUP, interrupts, HLT."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
import simpy

from hw.cpu import CPU, GeneralProtection, RunState
from hw.cpuid import CpuDescription
from hw.errors import BusError, MachineStopped
from tests.hw.rig import Rig

INIT, INIT_DEASSERT, SIPI_08, NMI = 0xC500, 0x8500, 0x4608, 0x4400
CODE = 0x8000


class Log:
    """Code for CPUs that notes when it starts and how it ends."""

    def __init__(self, rig: Rig, run_ns: int = 1000) -> None:
        self.rig = rig
        self.run_ns = run_ns
        self.lines: list[tuple[int, int, str]] = []

    def note(self, cpu: CPU, what: str) -> None:
        self.lines.append((self.rig.clock.now, cpu.index, what))

    def entry(self, cpu: CPU) -> Generator[simpy.Event, Any, None]:
        self.note(cpu, "start")
        yield self.rig.clock.timeout(self.run_ns)
        self.note(cpu, "end")


def booted(*apic_ids: int, **kwargs: Any) -> tuple[Rig, Log]:
    rig = Rig(*apic_ids, **kwargs)
    log = Log(rig)
    rig.code.install(CODE, log.entry)
    return rig, log


# -- CPUID and MSRs --------------------------------------------------------------------------------------------------


def test_cpuid_of_a_captured_cpu() -> None:
    leaves = {
        (0, 0): (0xD, 0x756E6547, 0x6C65746E, 0x49656E69),
        (1, 0): (0x50654, 0x2040800, 0xFED83203, 0x178BFBFD),
        (2, 0): (1, 0, 0x4D, 0x2C307D),
        (4, 0): (0x4000121, 0x1C0003F, 0x3F, 1),
        (0xB, 0): (1, 2, 0x100, 2),
        (0xB, 1): (2, 4, 0x201, 2),
        (0xD, 1): (5, 0x988, 0, 0),
        (0x16, 0): (1, 2, 3, 4),
    }
    cpu = Rig(2, cpuid=leaves).boot
    assert cpu.cpuid(0).ebx == 0x756E6547
    assert cpu.cpuid(2, 7) == (1, 0, 0x4D, 0x2C307D)  # takes no subleaf
    assert cpu.cpuid(4, 9) == cpu.cpuid(0xD, 9) == (0, 0, 0, 0)
    assert cpu.cpuid(0xB, 5) == (0, 0, 5, 2)
    assert cpu.cpuid(0x16) == (0, 0, 0, 0)  # above the largest basic leaf
    assert cpu.cpuid(0x4000_0000) == cpu.cpuid(0x8000_0001) == (0, 0, 0, 0)


def test_plain_msrs() -> None:
    cpu = Rig(0, msrs={0x2FF: 0xC06, 0xFE: 0x508, 0x10: 7, 0x802: 9}).boot
    assert cpu.rdmsr(0x2FF) == 0xC06
    cpu.wrmsr(0x2FF, 6)
    assert cpu.rdmsr(0x2FF) == 6
    assert cpu.rdmsr(0x10) == 0  # the counter, not what was captured
    with pytest.raises(GeneralProtection, match="0xfe"):
        cpu.wrmsr(0xFE, 1)
    for access in (lambda: cpu.rdmsr(0xDEAD), lambda: cpu.wrmsr(0xDEAD, 0)):
        with pytest.raises(GeneralProtection, match="0xdead"):
            access()
    with pytest.raises(ValueError, match="64-bit"):
        cpu.wrmsr(0x2FF, 1 << 64)


def test_tsc_msrs_follow_the_features() -> None:
    rig = Rig(0, msrs={0x3B: 2**64 - 50})
    rig.clock.advance(100)
    assert rig.boot.rdtsc() == rig.boot.rdmsr(0x10) == 200 - 50
    rig.boot.wrmsr(0x3B, 0)
    assert rig.boot.rdtsc() == 200
    plain = Rig(0, description=CpuDescription(features=("tsc",)), msrs={0x3B: 5}).boot
    assert plain.rdtsc() == 0
    with pytest.raises(GeneralProtection):
        plain.rdmsr(0x3B)


def test_microcode_revision_survives_the_ritual() -> None:
    cpu = Rig(0, msrs={0x8B: 0x2B << 32}).boot
    cpu.wrmsr(0x8B, 0)
    cpu.cpuid(1)
    assert cpu.rdmsr(0x8B) == 0x2B << 32


def test_memory_and_ports() -> None:
    cpu = Rig(0).boot
    cpu.write(0x500, 8, 0x1122_3344_5566_7788)
    assert cpu.read(0x504, 2) == 0x3344
    cpu.outb(0x80, 1)
    cpu.outw(0x80, 1)
    cpu.outl(0x80, 1)
    assert (cpu.inb(0x80), cpu.inw(0x80), cpu.inl(0x80)) == (0xFF, 0xFFFF, 0xFFFF_FFFF)


# -- INIT and STARTUP ------------------------------------------------------------------------------------------------


def test_state_after_reset() -> None:
    rig = Rig(0, 1, 2, dead=(2,))
    assert [cpu.state for cpu in rig.cpus] == [RunState.RUNNING, RunState.WAIT_FOR_SIPI, RunState.DEAD]


@pytest.mark.parametrize("x2apic", [False, True])
def test_init_sipi_sipi_starts_once(x2apic: bool) -> None:
    rig, log = booted(0, 4, 6, x2apic=x2apic)
    log.run_ns = 15_000
    rig.ipi(6, INIT)
    rig.ipi(6, INIT_DEASSERT)
    for _ in range(2):
        rig.clock.advance(10_000)
        rig.ipi(6, SIPI_08)
    assert rig.cpus[2].state is RunState.RUNNING
    rig.clock.advance(10_000)
    assert log.lines == [(10_000, 2, "start"), (25_000, 2, "end")]
    assert [cpu.state for cpu in rig.cpus] == [RunState.RUNNING, RunState.WAIT_FOR_SIPI, RunState.HALTED]
    assert rig.errors() == 0


def test_sipi_to_all_but_self() -> None:
    rig, log = booted(0, 1, 2, 3)
    rig.ipi(0, SIPI_08 | 3 << 18)
    rig.clock.advance(1)
    assert log.lines == [(0, n, "start") for n in (1, 2, 3)]


def test_sipi_to_a_halted_cpu_is_lost_until_init() -> None:
    rig, log = booted(0, 1)
    rig.ipi(1, SIPI_08)
    rig.clock.advance(5000)
    rig.ipi(1, SIPI_08)
    rig.clock.advance(5000)
    assert len(log.lines) == 2 and rig.cpus[1].state is RunState.HALTED
    rig.ipi(1, INIT)
    rig.ipi(1, SIPI_08)
    rig.clock.advance(5000)
    assert log.lines[2:] == [(10_000, 1, "start"), (11_000, 1, "end")]


def test_init_stops_running_code() -> None:
    rig, log = booted(0, 1)
    rig.ipi(1, SIPI_08)
    rig.clock.advance(500)
    rig.ipi(1, INIT)
    assert rig.cpus[1].state is RunState.WAIT_FOR_SIPI
    rig.clock.advance(5000)
    assert log.lines == [(0, 1, "start")] and rig.cpus[1].state is RunState.WAIT_FOR_SIPI


def test_init_and_sipi_again_before_the_first_instruction() -> None:
    rig, log = booted(0, 1)
    for _ in range(3):
        rig.ipi(1, INIT)
        rig.ipi(1, SIPI_08)
    rig.clock.advance(5000)
    assert log.lines == [(0, 1, "start"), (1000, 1, "end")]


def test_init_keeps_msrs_and_apic_mode_but_resets_the_apic() -> None:
    rig, _log = booted(0, 1, x2apic=True)
    ap = rig.cpus[1]
    ap.wrmsr(0x2FF, 1)
    rig.set_reg(0xF0, 0x1FF, 1)
    rig.ipi(1, INIT)
    assert (ap.rdmsr(0x2FF), rig.reg(0xF0, 1), rig.reg(0x20, 1)) == (1, 0xFF, 1)


def test_deassert_does_nothing() -> None:
    rig, log = booted(0, 1)
    rig.ipi(1, SIPI_08)
    rig.clock.advance(1)
    rig.ipi(1, INIT_DEASSERT)
    rig.clock.advance(5000)
    assert len(log.lines) == 2


def test_a_start_where_no_code_is_shuts_down() -> None:
    rig, _log = booted(0, 1)
    rig.ipi(1, SIPI_08 + 1)
    assert rig.cpus[1].state is RunState.SHUTDOWN
    rig.code.install(CODE + 0x1000, Log(rig).entry)
    rig.ipi(1, SIPI_08 + 1)
    assert rig.cpus[1].state is RunState.SHUTDOWN
    rig.ipi(1, INIT)
    rig.ipi(1, SIPI_08 + 1)
    assert rig.cpus[1].state is RunState.RUNNING
    rig.code.remove(CODE)
    assert rig.code.get(CODE) is None


def test_a_dead_cpu_ignores_everything() -> None:
    rig, log = booted(0, 1, dead=(1,))
    for command in (INIT, SIPI_08, NMI, 0x4041):
        rig.ipi(1, command)
    rig.clock.advance(5000)
    assert log.lines == [] and rig.cpus[1].state is RunState.DEAD and rig.errors() == 0


def test_a_cpu_may_reset_itself() -> None:
    rig = Rig(0, 1)
    seen = []

    def entry(cpu: CPU) -> Generator[simpy.Event, Any, None]:
        rig.ipi(1, INIT, cpu=1)
        seen.append(rig.clock.now)
        yield rig.clock.timeout(10)
        seen.append(-1)

    rig.code.install(CODE, entry)
    rig.ipi(1, SIPI_08)
    rig.clock.advance(100)
    assert seen == [0] and rig.cpus[1].state is RunState.WAIT_FOR_SIPI


def test_init_of_the_boot_cpu_stops_the_machine() -> None:
    rig = Rig(0, 1)

    def entry(cpu: CPU) -> Generator[simpy.Event, Any, None]:
        yield rig.clock.timeout(5)
        rig.ipi(0, INIT, cpu=1)

    rig.code.install(CODE, entry)
    rig.ipi(1, SIPI_08)
    with pytest.raises(MachineStopped, match="CPU 0 was reset by INIT at 5 ns"):
        rig.clock.advance(100)


def test_a_halted_boot_cpu_goes_to_the_reset_vector() -> None:
    rig, log = booted(0, 1)
    rig.boot.hlt()
    rig.ipi(0, INIT, cpu=1)
    assert rig.boot.state is RunState.SHUTDOWN
    rig.code.install(0xFFFF_FFF0, log.entry)
    rig.ipi(0, INIT, cpu=1)
    rig.clock.advance(1)
    assert rig.boot.state is RunState.RUNNING and log.lines == [(0, 0, "start")]


@pytest.mark.parametrize("fault", [GeneralProtection("MSR 0x1"), BusError("nobody", 0x10)])
def test_a_fault_nobody_handles_stops_the_machine(fault: Exception) -> None:
    rig = Rig(0, 1)

    def entry(cpu: CPU) -> Generator[simpy.Event, Any, None]:
        yield rig.clock.timeout(5)
        raise fault

    rig.code.install(CODE, entry)
    rig.ipi(1, SIPI_08)
    with pytest.raises(MachineStopped, match="CPU 1: fault nobody handles"):
        rig.clock.advance(100)


# -- interrupts ------------------------------------------------------------------------------------------------------


def sleeper(rig: Rig, log: Log) -> None:
    """Put code on CPU 1 that sleeps, and notes every wake-up."""

    def interrupt(cpu: CPU) -> None:
        log.note(cpu, "irq")
        rig.set_reg(0xB0, 0, cpu.index)

    def entry(cpu: CPU) -> Generator[simpy.Event, Any, None]:
        rig.set_reg(0xF0, 0x1FF, cpu.index)
        cpu.set_gate(0x41, interrupt)
        cpu.set_gate(2, lambda core: log.note(core, "nmi"))
        cpu.sti()
        while True:
            yield cpu.hlt()
            log.note(cpu, "awake")

    rig.code.install(CODE, entry)
    rig.ipi(1, SIPI_08)
    rig.clock.advance(10)


@pytest.mark.parametrize(("command", "kind"), [(0x4041, "irq"), (NMI, "nmi")])
def test_interrupts_wake_a_halted_cpu(command: int, kind: str) -> None:
    rig, log = booted(0, 1)
    sleeper(rig, log)
    assert rig.cpus[1].state is RunState.HALTED
    for _ in range(2):
        rig.ipi(1, command)
        rig.clock.advance(10)
    assert log.lines == [(10, 1, kind), (10, 1, "awake"), (20, 1, kind), (20, 1, "awake")]
    assert rig.cpus[1].interrupts_enabled


def test_a_masked_interrupt_does_not_wake() -> None:
    rig, log = booted(0, 1)
    sleeper(rig, log)
    rig.cpus[1].cli()
    rig.ipi(1, 0x4041)
    rig.clock.advance(10)
    assert log.lines == []
    rig.cpus[1].sti()
    rig.clock.advance(10)
    assert log.lines == [(20, 1, "irq"), (20, 1, "awake")]


def test_the_boot_cpu_can_sleep_until_an_interrupt() -> None:
    rig, _log = booted(0, 1)

    def entry(cpu: CPU) -> Generator[simpy.Event, Any, None]:
        yield rig.clock.timeout(123)
        rig.ipi(0, 0x4041, cpu=1)

    rig.code.install(CODE, entry)
    rig.set_reg(0xF0, 0x1FF)
    rig.boot.set_gate(0x41, lambda cpu: rig.set_reg(0xB0, 0))
    rig.boot.sti()
    rig.ipi(1, SIPI_08)
    rig.clock.wait(rig.boot.hlt())
    assert rig.clock.now == 123 and rig.boot.state is RunState.RUNNING


def test_an_interrupt_without_a_handler_stops_the_machine() -> None:
    rig = Rig(0)
    rig.set_reg(0xF0, 0x1FF)
    rig.boot.sti()
    with pytest.raises(MachineStopped, match="vector 0x41 has no handler"):
        rig.ipi(0, 0x4041 | 1 << 18)


def test_a_waiting_cpu_takes_no_interrupts() -> None:
    rig = Rig(0, 1)
    rig.ipi(1, NMI)
    rig.ipi(1, 0x4041)
    assert rig.cpus[1].state is RunState.WAIT_FOR_SIPI
