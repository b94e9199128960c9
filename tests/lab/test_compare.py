"""The ladder on the talk's machine: every published figure, from one set of unit costs."""

from __future__ import annotations

import pytest

from minikern.core.kernel import BootOptions
from minikern.describe.presets import load_machine
from minikern.lab.compare import Ladder, choose_variants, counted_unless_asked, run_ladder

pytestmark = pytest.mark.big


@pytest.fixture(scope="module")
def ladder() -> Ladder:
    spec = load_machine("lpc2023")
    return run_ladder(spec, choose_variants(spec, []))[0]


def test_every_figure_of_the_talk(ladder: Ladder) -> None:
    off = [f"{row.variant}: {row.name}: {row.sim_ms} for {row.talk_ms}" for row in ladder.talk if not row.ok]
    assert not off
    assert len(ladder.talk) == 21


def test_residue_is_named_and_bounded(ladder: Ladder) -> None:
    rung = next(rung for rung in ladder.rungs if rung.variant == "parallel-smp")
    assert rung.residue_ms <= 0.45 * rung.total_ms
    assert sum(item.ms for item in rung.residue) == pytest.approx(rung.residue_ms, abs=0.01)


def test_phases_add_up(ladder: Ladder) -> None:
    for rung in ladder.rungs:
        assert sum(rung.phases.values()) == pytest.approx(rung.total_ms, abs=0.01)


def test_each_optimisation_saves(ladder: Ladder) -> None:
    saved = {rung.variant: rung.saved_ms for rung in ladder.rungs}
    for variant in ("deferred", "parallel-smp", "hvo-skip", "pci-needed"):
        assert (saved[variant] or 0) > 0
    assert saved["baseline"] is None


def test_rungs_count_pages_unless_stored_ones_are_asked_for() -> None:
    assert counted_unless_asked(BootOptions()).vmemmap == "counted"
    for asked in (BootOptions("window"), BootOptions("full"), BootOptions(kernel="linux")):
        assert counted_unless_asked(asked) == asked
    mine = BootOptions(page_kernel=lambda words, flags, lru: None)
    assert counted_unless_asked(mine).vmemmap == "auto", "a kernel of one's own has pages to write"


def test_a_ladder_of_stored_pages_is_the_same() -> None:
    spec = load_machine("tiny")
    chosen = choose_variants(spec, [])
    assert run_ladder(spec, chosen) == run_ladder(spec, chosen, options=BootOptions("window"))
