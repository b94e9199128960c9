"""A measured time moves the costs that carry its phase, and no others; the rest of a description stays as believed."""

from __future__ import annotations

import msgspec
import pytest

from hw.errors import InputError
from minikern.core.cost_table import machine_costs
from minikern.core.costs import Measured
from minikern.core.kernel import BootOptions
from minikern.core.variant import load_variant
from minikern.describe.adjust import Adjustments, adjust
from minikern.describe.case import Case
from minikern.describe.presets import load_machine
from minikern.lab.fit.measured import UNDESCRIBED, fit_measured, parse_measured
from minikern.lab.run import boot

BEFORE, AFTER = "deferred-one-thread", "deferred"


@pytest.fixture
def machine() -> Case:
    spec = load_machine("tiny")
    adjust(spec, Adjustments("16,sockets=2,cores=4,threads=2", numa=("16G", "16G"), cpu="Xeon E5-2699 v3"))
    return spec


def fitted(spec: Case, *told: str) -> Case:
    return fit_measured(msgspec.structs.replace(spec, measured=[parse_measured(text) for text in told]))


def spent(spec: Case, variant: str = "") -> dict[str, int]:
    done = boot(spec, load_variant(variant) if variant else None, options=BootOptions(vmemmap="counted"))
    phases = done.kernel.phase_ns()
    done.kernel.release_memory()
    return {**phases, "total": done.total_ns}


def test_the_boot_it_was_measured_in_takes_so_long(machine: Case) -> None:
    found = fitted(machine, f"{BEFORE}:deferred=200", f"{BEFORE}:smp=150ms")
    phases = spent(found, BEFORE)
    assert phases["deferred"] / 1e6 == pytest.approx(200, abs=4.1)  # the kernel counts in ticks
    assert phases["smp"] / 1e6 == pytest.approx(150, rel=0.02)
    before, after = (machine_costs(spec.name, spec.costs) for spec in (machine, found))
    assert before["node_store_per_page"].ns == after["node_store_per_page"].ns


def test_eight_threads_on_four_cores_are_not_eight_times_as_fast(machine: Case) -> None:
    found = fitted(machine, f"{BEFORE}:deferred=200")
    after = spent(found, AFTER)["deferred"] / 1e6
    assert 200 / (4 * 1.3) < after < 200 / 4


def test_what_no_unit_cost_can_explain_is_said(machine: Case) -> None:
    found = fitted(machine, f"{BEFORE}:smp=20")  # the kernel's own waits alone take longer
    assert [note.split(":")[0] for note in found.notes] == ["smp"] and "20 ms were measured" in found.notes[0]


def test_a_thread_that_is_fast_leaves_the_bandwidth_as_the_limit(machine: Case) -> None:
    store_ns = machine_costs(machine.name, machine.costs)["node_store_per_page"].ns
    found = fitted(machine, f"{BEFORE}:deferred=40")
    pages = 15.5 * 2**18
    assert spent(found, AFTER)["deferred"] >= 0.9 * min(pages * store_ns, 40e6)


def test_what_a_total_has_beyond_the_description_is_named(machine: Case) -> None:
    alone = spent(machine)["total"] / 1e6
    found = fitted(machine, f"total={alone + 500:.3f}")
    rest = [item for item in found.residue if item.name == UNDESCRIBED]
    assert [item.ms for item in rest] == [pytest.approx(500, rel=0.01)]
    assert spent(found)["total"] / 1e6 == pytest.approx(alone + 500, rel=0.01)


def test_a_total_shorter_than_believed_makes_the_work_cheaper(machine: Case) -> None:
    alone = spent(machine)["total"] / 1e6
    found = fitted(machine, f"total={alone / 2:.3f}")
    assert spent(found)["total"] / 1e6 < 0.85 * alone


def test_without_measured_times_a_machine_is_itself(machine: Case) -> None:
    assert fit_measured(machine) is machine


@pytest.mark.parametrize(
    "text", ["deferred", "deferred=", "deferred=-3", "naps=3", "deferred=3s", "=4", ":smp:=1", "smp=1e308"]
)
def test_what_is_no_measured_time_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected \\[VARIANT:\\]PHASE=MS"):
        parse_measured(text)


def test_a_variant_nobody_knows_is_refused(machine: Case) -> None:
    with pytest.raises(InputError, match="nosuch"):
        fit_measured(msgspec.structs.replace(machine, measured=[Measured("smp", 1.0, "test", "nosuch")]))
