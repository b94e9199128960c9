"""Other CPUs are really stopped: by the reboot vector, by NMI, or waited for in vain."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hw.cpu import CPU, RunState
from minikern.describe.presets import load_machine
from minikern.kexec.reboot import shutdown
from minikern.kexec.stop import crash_stop_other_cpus, stop_other_cpus
from minikern.lab.run import Boot, boot
from minikern.smp.apic import APIC_SPIV, SPIV_ENABLED, apic_read


def others(first: Boot) -> list[int]:
    return [number for number in first.kernel.cpus.online if number]


def test_every_cpu_halts_with_its_apic_off(booted: Callable[[], Boot]) -> None:
    first = booted()
    k = first.kernel
    assert others(first)
    stop_other_cpus(k)
    for number in others(first):
        cpu = k.cpus.hardware[number]
        assert (cpu.state, cpu.interrupts_enabled) == (RunState.HALTED, False)
        assert not apic_read(cpu, APIC_SPIV) & SPIV_ENABLED
    assert k.ledger.count("kexec_stop_cpu") == len(others(first))
    assert not apic_read(k.machine.boot_cpu, APIC_SPIV) & SPIV_ENABLED
    assert "Shutting down cpus with NMI" not in [line.text for line in k.log.lines]


def test_one_that_hears_no_interrupts_gets_an_nmi(
    booted: Callable[[], Boot], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = booted()
    k = first.kernel
    deaf, sti = k.cpus.hardware[others(first)[0]], CPU.sti
    monkeypatch.setattr(CPU, "sti", lambda cpu: cpu.cli() if cpu is deaf else sti(cpu))
    start = k.machine.clock.now
    shutdown(k)
    assert "Shutting down cpus with NMI" in [line.text for line in k.log.lines]
    assert k.machine.clock.now - start > 1_000_000_000  # a second was spent on the vector
    assert deaf.state is RunState.HALTED
    assert k.ledger.count("kexec_stop_cpu") == len(others(first))


def test_one_that_is_gone_is_waited_for_in_vain(booted: Callable[[], Boot]) -> None:
    first = booted()
    k = first.kernel
    k.cpus.hardware[others(first)[0]].state = RunState.DEAD
    stop_other_cpus(k)
    assert k.ledger.count("kexec_stop_cpu") == len(others(first)) - 1


@pytest.mark.parametrize("append", ["", "maxcpus=2"])
def test_a_crash_stops_them_by_nmi_and_saves_their_notes(append: str) -> None:
    first = boot(load_machine("laptop"), append=append)
    saved: list[int] = []
    crash_stop_other_cpus(first.kernel, saved.append)
    assert sorted(saved) == others(first)
    assert all(first.kernel.cpus.hardware[number].state is RunState.HALTED for number in saved)
