"""Orders and schemes: equal ends, equal logs, rules kept, planted bugs found."""

from __future__ import annotations

import random

import pytest
from click.testing import CliRunner

from hw.faults import FaultSpec
from hw.spec import CpuSpec
from minikern.commands.explore import explore
from minikern.core.experiment import Experiment
from minikern.core.kernel import Kernel
from minikern.core.recorder import Mark
from minikern.lab.cpu_board import CpuLab, bring_up, cpu_state
from minikern.lab.explore import explore_smp
from minikern.lab.smp_rules import violations

FOUR = CpuSpec(count=4, cores=2, threads=2, crystal_hz=25_000_000, tsc_khz=2_000_000)
TALK = CpuSpec(count=128, sockets=2, cores=32, threads=2, tsc_khz=2_073_049, enumeration="threads-last", x2apic=True)
NO_ADJUST = CpuSpec(count=12, sockets=3, cores=2, threads=2, tsc_adjust=False)


@pytest.mark.parametrize("spec", [FOUR, TALK, NO_ADJUST])
def test_serial_and_parallel_end_in_the_same_state(spec: CpuSpec) -> None:
    lab = CpuLab(spec)
    parallel, serial = lab.boot(), lab.boot(append="cpuhp.parallel=0")
    old = CpuLab(spec, behaviour={"smp_scheme": "serial-old"}).boot()
    assert cpu_state(parallel) == cpu_state(serial) == cpu_state(old)
    assert parallel.machine.clock.now < serial.machine.clock.now
    assert parallel.cpus.lpj == serial.cpus.lpj == old.cpus.lpj


def test_the_state_tells_different_ends_apart() -> None:
    lab = CpuLab(TALK)
    ends = [lab.boot(), lab.boot(append="maxcpus=5"), lab.boot(append="nosmt"), lab.boot(faults=FaultSpec(dead="7"))]
    states = [cpu_state(k) for k in ends]
    assert all(a != b for n, a in enumerate(states) for b in states[:n])


def jittered(seed: int, lab: CpuLab, append: str = "") -> Kernel:
    return bring_up(lab.kernel(append=append, jitter=random.Random(seed), record=True))


def log(k: Kernel) -> list[tuple[int, str]]:
    return [(line.at_ns, line.text) for line in k.log.lines]


def test_same_seed_same_log() -> None:
    lab = CpuLab(TALK)
    assert log(jittered(1, lab)) == log(jittered(1, lab)) == log(jittered(1, CpuLab(TALK)))
    assert log(jittered(1, lab)) != log(jittered(2, lab))


@pytest.mark.parametrize("append", ["", "cpuhp.parallel=0"])
def test_every_timing_keeps_the_rules(append: str) -> None:
    found = explore_smp(FOUR, 120, append=append)
    assert found.findings == [] and found.shortest is None
    assert (found.orders > 10) == (not append)
    assert found.fastest_ns < found.slowest_ns


def test_a_lock_taken_away_is_found_and_its_shortest_trace_shown() -> None:
    spec = CpuSpec(count=8, cores=4, threads=2, crystal_hz=25_000_000, tsc_khz=2_000_000)
    found = explore_smp(spec, 100, experiment=Experiment(trampoline_lock=False))
    assert found.findings and found.shortest is not None
    assert {item.violation.rule for item in found.findings} == {"one trampoline stack user"}
    shortest = found.shortest
    assert len(shortest.trace) == min(len(item.trace) for item in [*found.findings, shortest])
    assert [mark.name for mark in shortest.trace].count("stack_taken") == 2
    assert "stack_left" not in [mark.name for mark in shortest.trace]
    assert shortest.cpus <= 8


def marks_of(k: Kernel) -> list[Mark]:
    assert k.recorder is not None
    return k.recorder.marks


def test_each_rule_sees_what_it_is_for() -> None:
    lab = CpuLab(FOUR)
    healthy = lab.boot(record=True)
    assert violations(healthy) == []
    marks = marks_of(healthy)

    def broken_by(changed: list[Mark]) -> set[str]:
        assert healthy.recorder is not None
        healthy.recorder.marks = changed
        return {item.rule for item in violations(healthy)}

    online = next(mark for mark in marks if mark.name == "ONLINE")
    assert broken_by([*marks, online]) == {"online exactly once"}
    assert broken_by([mark for mark in marks if mark != online]) == {"online exactly once", "no lost hand-shake"}
    lost = next(mark for mark in marks if mark.name == "SHOULD_ONLINE")
    assert broken_by([mark for mark in marks if mark != lost]) == {"no lost hand-shake"}
    early = next(mark for mark in marks if mark.name == "INIT" and mark.cpu == 3)
    assert "primary's microcode first" in broken_by([early, *(mark for mark in marks if mark != early)])


@pytest.mark.parametrize(("extra", "status"), [([], 0), (["--without-lock"], 1)])
def test_command(extra: list[str], status: int) -> None:
    result = CliRunner().invoke(explore, ["smp", "--cpus", "8", "--seeds", "60", *extra])
    assert result.exit_code == status, result.output
    assert ("broke a rule" in result.output) == bool(status)
    if status:
        assert "stack_taken" in result.output and "takes the real-mode stack while CPU" in result.output


def test_command_refuses_nonsense() -> None:
    assert CliRunner().invoke(explore, ["smp", "--cpus", "x"]).exit_code == 2
    assert CliRunner().invoke(explore, ["smp", "--seeds", "0"]).exit_code == 2
