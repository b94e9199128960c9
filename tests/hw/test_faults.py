"""Faults of CPUs as a machine has them, and microcode that a core's threads share."""

from __future__ import annotations

from pathlib import Path

import pytest

from hw.clock import Clock
from hw.cpu import RunState
from hw.errors import InputError
from hw.faults import FaultSpec, add_fault, madt_places, without_effect
from hw.machine import Machine
from hw.spec import CpuSpec
from hw.tsc import Tsc
from minikern.describe.case import Case
from minikern.describe.presets import load_machine, load_preset

VECTOR = 0x99
TABLE = """
[faults]
dead = "3"
madt_twice = "1"
microcode = "5"
slow_ms = { "1-2" = 2.5 }
tsc_skew_cycles = { "4" = -7000 }
tsc_drift_ppm = { "4-5" = 50.0 }
"""


def smt_machine(faults: FaultSpec) -> Machine:
    spec = Case(name="m", memory="64M", cpus=CpuSpec(count=6, cores=3, threads=2), faults=faults)
    return Machine.power_on(spec)


def test_machine_file(tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_text(f'name = "m"\nmemory = "64M"\n[cpus]\ncount = 6\ncores = 3\nthreads = 2\n{TABLE}')
    machine = Machine.power_on(load_machine(str(path)))
    assert [cpu.state is RunState.DEAD for cpu in machine.cpus] == [False, False, False, True, False, False]
    assert [cpu.startup_delay_ns for cpu in machine.cpus] == [0, 2_500_000, 2_500_000, 0, 0, 0]
    machine.clock.advance(1_000_000_000)
    ahead = [cpu.rdtsc() - machine.boot_cpu.rdtsc() for cpu in machine.cpus]
    assert ahead == [0, 0, 0, 0, 105_000 - 7000, 105_000]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('dead = "9"', "names CPU 9 of 6"),
        ('dead = "0"', "boot CPU cannot be dead"),
        ('odd = "1"', "odd"),
        ('slow_ms = { "1" = -1.0 }', "faults.slow_ms"),
        ('tsc_drift_ppm = { "x" = 1.0 }', "not a CPU number"),
    ],
)
def test_machine_file_with_nonsense(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "m.toml"
    path.write_text(f'name = "m"\nmemory = "64M"\n[cpus]\ncount = 6\n[faults]\n{line}\n')
    with pytest.raises(InputError, match=says):
        Machine.power_on(load_machine(str(path)))


def test_a_slow_cpu_takes_its_time_and_init_still_reaches_it() -> None:
    machine = smt_machine(FaultSpec(slow_ms={"2": 3.0}))
    ran: list[tuple[int, int]] = []

    def code(cpu):  # type: ignore[no-untyped-def]
        ran.append((cpu.index, machine.clock.now))
        yield machine.clock.timeout(1)

    machine.install_code(VECTOR << 12, code)
    machine.cpus[1].startup(VECTOR)
    machine.cpus[2].startup(VECTOR)
    machine.cpus[2].startup(VECTOR)  # a second one is ignored
    machine.clock.advance(10_000_000)
    assert ran == [(1, 0), (2, 3_000_000)]
    machine.cpus[2].init_reset()
    machine.cpus[2].startup(VECTOR)
    machine.clock.advance(1_000_000)
    machine.cpus[2].init_reset()
    machine.clock.advance(10_000_000)
    assert len(ran) == 2 and machine.cpus[2].state is RunState.WAIT_FOR_SIPI


def test_madt_places() -> None:
    places = CpuSpec(count=4, cores=4).topology()
    listed = madt_places(FaultSpec(madt_twice="1,3", madt_missing="2"), places)
    assert [place.apic_id for place in listed] == [0, 1, 3, 1, 3]
    assert madt_places(FaultSpec(), places) == places


def test_captured_tables_keep_their_madt() -> None:
    spec = load_preset("tiny")
    spec.faults = FaultSpec(madt_missing="1")
    spec.acpi.raw = [object()]  # type: ignore[list-item]
    with pytest.raises(InputError, match="captured machine keeps its MADT"):
        Machine.power_on(spec)


@pytest.mark.parametrize(("vendor", "trigger", "shift", "behind"), [
    ("GenuineIntel", 0x79, 32, 48),
    ("AuthenticAMD", 0xC001_0020, 0, 0),
])  # fmt: skip
def test_microcode_is_shared_by_a_cores_threads(vendor: str, trigger: int, shift: int, behind: int) -> None:
    spec = Case(name="m", memory="64M", cpus=CpuSpec(count=6, cores=3, threads=2, vendor=vendor))
    spec.faults = FaultSpec(microcode="5")
    cpus = Machine.power_on(spec).cpus
    cpus[0].write(0x9000 + 4, 4, 0x2B)

    def revisions() -> list[int]:
        return [cpu.rdmsr(0x8B) >> shift for cpu in cpus]

    assert revisions() == [0] * 6
    cpus[2].wrmsr(trigger, 0x9000 + behind)
    assert revisions() == [0, 0, 0x2B, 0x2B, 0, 0]
    cpus[4].wrmsr(trigger, 0x9000 + behind)
    assert revisions() == [0, 0, 0x2B, 0x2B, 0x2B, 0]  # the faulty thread needs its own
    cpus[0].write(0x9000 + 4, 4, 0x1)
    cpus[4].wrmsr(trigger, 0x9000 + behind)
    assert revisions()[4] == 0x2B  # older ones are refused


def test_faults_without_effect_are_told() -> None:
    faults = FaultSpec()
    assert without_effect(faults, 0) == []
    add_fault(faults, "microcode=1-3")
    assert without_effect(faults, 0xB8) == []
    (line,) = without_effect(faults, 0)
    assert line == "fault microcode=1-3 has no effect: no microcode update comes with this machine"


def test_drift() -> None:
    clock = Clock()
    fast, slow = Tsc(clock, 2_000_000, drift_ppb=1000), Tsc(clock, 2_000_000, drift_ppb=-1000)
    clock.advance(10**9)
    assert (fast.read(), slow.read()) == (2_000_002_000, 1_999_998_000)
    target = fast.read() + 2_000_002
    clock.advance(fast.ns_until(target))
    assert 0 <= fast.read() - target < 3
