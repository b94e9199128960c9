"""Processors asked in other orders than Linux's: the answers stay, and only what the lock lets go is gained."""

from __future__ import annotations

from functools import cache

import pytest

from minikern.core.experiment import AcpiProcessors, Experiment
from minikern.core.kernel import Kernel
from minikern.core.variant import load_variant
from minikern.describe.presets import load_machine
from minikern.lab.run import boot


@cache
def booted(processors: AcpiProcessors = "serial", capabilities: bool = True) -> Kernel:
    experiment = Experiment(acpi_processors=processors, acpi_capabilities=capabilities)
    spec = load_machine("lpc2023")
    spec.acpi.dsdt_standin, spec.acpi.init_turns, spec.acpi.oem_standin = 0, 0, []
    kernel = boot(spec, load_variant("parallel-smp"), experiment=experiment).kernel
    kernel.release_memory()
    return kernel


def spent_ms(k: Kernel) -> float:
    """From the first ACPI line to /init."""
    start = next(line.ts_ns for line in k.log.lines if line.text.startswith("ACPI: Added _OSI"))
    return (k.log.lines[-1].ts_ns - start) / 1e6


@pytest.mark.parametrize("how", ["one-lock", "own-lock"])
def test_the_same_work_is_done_by_all_cpus(how: AcpiProcessors) -> None:
    serial, shared = booted(), booted(how)
    for kind in ("aml_opcode", "acpi_evaluate", "acpi_processor_control", "acpi_processor_idle", "aml_object_create"):
        assert shared.ledger.count(kind) == serial.ledger.count(kind), kind
    assert len({entry.cpu for entry in shared.ledger.entries() if entry.kind == "acpi_processor_idle"}) == 128
    assert [line.text for line in shared.log.lines if "OEM Table" in line.text] == ["ACPI: Dynamic OEM Table Load:"] * 2


def test_one_lock_gains_what_is_done_outside_of_it_and_a_lock_each_a_little_more() -> None:
    serial, one, own = (spent_ms(booted(how)) for how in ("serial", "one-lock", "own-lock"))
    outside = sum(booted().ledger.total_ns(kind) for kind in ("acpi_processor_control", "acpi_processor_idle")) / 1e6
    assert outside * 0.9 < serial - one < outside
    assert own < one


def test_idle_states_at_first_use_cost_the_boot_nothing() -> None:
    assert booted("lazy").ledger.count("acpi_processor_idle") == 0
    assert booted("lazy").ledger.count("acpi_processor_control") == 128
    assert spent_ms(booted("lazy")) < spent_ms(booted())


def test_without_capabilities_no_table_is_loaded_and_no_idle_state_found() -> None:
    k = booted(capabilities=False)
    assert not any("Dynamic OEM" in line.text for line in k.log.lines)
    assert k.ledger.count("acpi_processor_idle") == 0
    assert "_CST" not in k.acpi.namespace.find("\\_SB_.C000").children
