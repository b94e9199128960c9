"""The machine of the talk: counts of its own tables times unit costs give the intervals of the talk's log."""

from __future__ import annotations

from itertools import pairwise

import pytest

from minikern.core.families import family_costs
from minikern.core.kernel import Kernel
from minikern.core.variant import load_variant
from minikern.describe.presets import load_machine
from minikern.lab.run import boot as boot_machine

RESIDUE = "error sources (HEST) and what else is registered before the GPEs"


@pytest.fixture(scope="module")
def boot() -> Kernel:
    return boot_machine(load_machine("lpc2023"), load_variant("parallel-smp")).kernel


def at(k: Kernel, prefix: str, instance: int = 0) -> float:
    """Milliseconds at the ``instance``-th line that starts with ``prefix``."""
    return [line.ts_ns for line in k.log.lines if line.text.startswith(prefix)][instance] / 1e6


def test_lines(boot: Kernel) -> None:
    lines = [line.text for line in boot.log.lines]
    start = lines.index("ACPI: Added _OSI(Module Device)")
    assert lines[start : start + 9] == [
        "ACPI: Added _OSI(Module Device)",
        "ACPI: Added _OSI(Processor Device)",
        "ACPI: Added _OSI(3.0 _SCP Extensions)",
        "ACPI: Added _OSI(Processor Aggregator Device)",
        "ACPI: 6 ACPI AML tables successfully acquired and loaded",
        "ACPI: Dynamic OEM Table Load:",
        "ACPI: Dynamic OEM Table Load:",
        "ACPI: Interpreter enabled",
        "ACPI: PM: (supports S0 S5)",
    ]
    assert "ACPI: Enabled 5 GPEs in block 00 to 7F" in lines
    assert not any("ACPI" in line and "rror" in line for line in lines)


def test_intervals_of_the_talk(boot: Kernel) -> None:
    times = [
        at(boot, "ACPI: Added _OSI(Processor Agg"),
        at(boot, "ACPI: 6 ACPI AML"),
        at(boot, "ACPI: Dynamic", 0),
        at(boot, "ACPI: Dynamic", 1),
        at(boot, "ACPI: Interpreter"),
        at(boot, "ACPI: Enabled"),
    ]
    intervals = [later - earlier for earlier, later in pairwise(times)]
    assert intervals == pytest.approx([49.1, 20.7, 44.1, 104.3, 9.7], rel=0.04)


def test_total_of_the_talk(boot: Kernel) -> None:
    spent = sum(entry.total_ns for entry in boot.ledger.entries() if entry.phase == "acpi" and entry.critical) / 1e6
    assert spent == pytest.approx(301, rel=0.02)


def test_nearly_all_of_it_is_counted_work(boot: Kernel) -> None:
    entries = [entry for entry in boot.ledger.entries() if entry.phase == "acpi" and entry.critical]
    assert {entry.kind for entry in entries if not entry.modelled} <= {RESIDUE}
    counted = sum(entry.total_ns for entry in entries if entry.modelled)
    assert counted > 0.95 * sum(entry.total_ns for entry in entries)


DEARER = {"aml_object_create", "aml_method_byte", "aml_term", "aml_opcode", "acpi_evaluate"}
"""What costs more here than in its family's logs: of those nobody has the AML, and more of it is assumed there."""


def test_unit_costs_are_within_their_familys_intervals_but_where_volume_is_assumed(boot: Kernel) -> None:
    family = family_costs("intel-server")
    booked = {entry.kind for entry in boot.ledger.entries() if entry.kind.startswith(("acpi_", "aml_"))}
    kinds = booked & family.keys()
    assert len(kinds) >= 10
    for kind in kinds:
        cost = family[kind]
        assert cost.low is not None and cost.high is not None
        assert cost.low <= boot.unit_ns(kind), kind
        assert (boot.unit_ns(kind) > cost.high) == (kind in DEARER), kind
