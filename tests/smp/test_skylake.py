"""The published measurements of the 112-CPU machine, all from one set of unit costs."""

from __future__ import annotations

import pytest

from minikern.core.variant import load_variant, load_variants
from minikern.describe.adjust import Adjustments, adjust
from minikern.describe.case import Case
from minikern.describe.presets import load_preset
from minikern.lab.figures_table import compare_figures, load_figures
from minikern.lab.run import boot

VARIANTS = ("deferred", "serial-reuse", "parallel-smp", "parallel-tsc-reliable")


@pytest.fixture(scope="module")
def spec() -> Case:
    machine = load_preset("skylake-112")
    adjust(machine, Adjustments(memory="4G"))  # bring-up does not depend on it
    return machine


def test_published_figures(spec: Case) -> None:
    boots = {name: boot(spec, load_variant(name)) for name in VARIANTS}
    rows = compare_figures(load_figures(spec.name), boots)
    assert [row.talk_ms for row in rows] == [912.1, 786.0, 84.3, 39.1, 45.2, 64.2]
    assert all(row.tolerance == 0.1 and row.ok for row in rows), rows
    for done in boots.values():
        assert len(done.kernel.cpus.online) == 112
        done.kernel.release_memory()


def test_the_new_variants_are_no_rungs_of_the_ladder() -> None:
    variants = load_variants()
    assert not variants["serial-reuse"].ladder and not variants["parallel-tsc-reliable"].ladder
