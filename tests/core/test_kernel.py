"""The kernel's own books: charged time, phases, residue, log clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minikern.core.costs import Cost, Residue
from minikern.core.kernel import BootOptions, Kernel
from minikern.core.release import load_release
from minikern.describe.presets import load_machine
from minikern.lab.run import prepare


def kernel() -> Kernel:
    k = prepare(load_machine("tiny"), None, load_release("debian-6.12"), "", BootOptions())
    k._costs = {"work": Cost(0.3, "test"), "step": Cost(1000.0, "test")}
    k._residue = [Residue("unknown", "here", 2.0, "test")]
    return k


@given(st.lists(st.integers(0, 50), max_size=30))
def test_fractions_of_a_nanosecond_are_not_lost(counts: list[int]) -> None:
    k = SHARED_KERNEL
    k._fraction.clear()
    before, booked = k.machine.clock.now, k.ledger.total_ns("work")
    for count in counts:
        k.charge("work", count)
    spent = k.machine.clock.now - before
    assert abs(spent - 0.3 * sum(counts)) < 1.001
    assert k.ledger.total_ns("work") - booked == spent


SHARED_KERNEL = kernel()


def test_unknown_work_and_negative_counts_are_refused() -> None:
    k = kernel()
    with pytest.raises(KeyError, match="nobody"):
        k.charge("nobody")
    with pytest.raises(ValueError, match="-1"):
        k.charge("work", -1)


def test_phases_nest_and_count_from_the_log_clock() -> None:
    k = kernel()
    with k.phase("early memory"):
        k.charge("step", 5)
        k.log.start_clock()
        k.charge("step", 1)
        with k.phase("acpi"):
            k.charge("step", 2)
        k.charge("step", 3)
    assert k.phase_ns() == {"early memory": 4000, "acpi": 2000}


def test_residue_passes_at_its_point_only() -> None:
    k = kernel()
    k.residue("elsewhere")
    assert k.machine.clock.now == 0
    k.residue("here")
    assert k.machine.clock.now == 2_000_000 == k.ledger.residue_ns()


def test_work_beside_the_boot_cpu_takes_no_time_of_it() -> None:
    k = kernel()
    event = k.charge_on(1, "step", 4)
    assert k.machine.clock.now == 0
    k.machine.clock.wait(event)
    assert k.machine.clock.now == 4000
    assert [entry.critical for entry in k.ledger.entries()] == [False]
