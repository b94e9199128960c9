"""Bands against sums drawn another way; those of boots are held against boots in sweep/test_draws_and_bands.py."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hw.spec import CpuSpec
from minikern.core.costs import Cost, Residue
from minikern.core.kernel import BootOptions
from minikern.core.ledger import Ledger
from minikern.describe.adjust import Adjustments, adjust
from minikern.describe.case import Case
from minikern.describe.presets import load_preset
from minikern.lab.bands import (
    BROADER_KIND,
    BROADER_MACHINE,
    SAME_BOOT,
    SAME_KIND,
    SAME_MACHINE,
    Band,
    doubts_of,
    least_band,
    saving_band,
    spread_of,
    time_band,
)
from minikern.lab.believed import DRAWS, Doubts, Factors, ends
from minikern.lab.run import boot
from minikern.lab.spent import Spent, spent_in, spent_of

DOUBTS = Doubts({"pages": 0.17, "cpus": 0.17}, {"a driver": 0.3})
BEFORE = Spent({"pages": 900e6, "cpus": 300e6, "sure": 100e6}, {"a driver": 200e6})
AFTER = replace(BEFORE, work={**BEFORE.work, "pages": 100e6})


def drawn(spent: Spent, seed: int = 7) -> np.ndarray:
    rng = np.random.default_rng(seed)
    spreads = {**DOUBTS.work, **DOUBTS.rest}
    parts = {**spent.work, **spent.rest}
    factors = {kind: np.exp(rng.normal(0.0, spreads.get(kind, 0.0), 20_000)) for kind in sorted(parts)}
    return sum(ns * factors[kind] for kind, ns in parts.items())  # type: ignore[return-value]


def share(values_ns: np.ndarray, band: Band | None) -> float:
    assert band is not None
    return float(np.mean((values_ns >= band.low_ms * 1e6) & (values_ns <= band.high_ms * 1e6)))


def test_four_of_five_draws_lie_in_the_band() -> None:
    assert 0.77 <= share(drawn(BEFORE), time_band(BEFORE.ns, BEFORE, DOUBTS)) <= 0.83


def test_what_two_boots_share_does_not_make_a_saving_unsure() -> None:
    found = saving_band(800e6, BEFORE, AFTER, DOUBTS)
    assert 0.77 <= share(drawn(BEFORE) - drawn(AFTER), found) <= 0.83
    assert found is not None and found.high_ms - found.low_ms < 0.5 * 800.0


def test_wide_doubts_are_not_symmetrical() -> None:
    """Of many costs that nobody is sure of some are much dearer, and none is much cheaper than nothing."""
    spent, wide = Spent({str(number): 10e6 for number in range(9)}), {str(number): 1.0 for number in range(9)}
    found = least_band(spent, Doubts(wide))
    rng = np.random.default_rng(3)
    real = np.quantile(10 * np.exp(rng.normal(size=(50_000, 9))).sum(axis=1), (0.1, 0.9))
    assert (found.low_ms, found.high_ms) == pytest.approx(tuple(real), rel=0.06)


def test_narrow_doubts_are_as_to_first_order() -> None:
    only, doubts = replace(BEFORE, rest={}), Doubts(dict.fromkeys(BEFORE.work, 0.1))
    found, plain = least_band(only, doubts), time_band(only.ns, only, doubts)
    assert plain is not None
    assert found.high_ms - found.low_ms == pytest.approx(plain.high_ms - plain.low_ms, rel=0.06)


def test_draws_of_a_name_are_the_same_everywhere_and_fill_the_distribution() -> None:
    one, other = Factors(Doubts({"pages": 0.5}, {"pages": 0.5})), Factors(Doubts({"pages": 0.5, "cpus": 0.5}))
    assert np.array_equal(one.work("pages"), other.work("pages"))
    assert ends(np.asarray(one.work("pages"))) == pytest.approx((np.exp(-0.64078), np.exp(0.64078)), rel=2e-3)
    assert abs(np.corrcoef(np.asarray(other.work("pages")), np.asarray(other.work("cpus")))[0, 1]) < 4 / DRAWS**0.5
    assert other.work("sure") == 1.0


def test_without_intervals_there_is_no_band() -> None:
    assert time_band(1.0, BEFORE, Doubts()) is None
    assert saving_band(1.0, BEFORE, AFTER, Doubts()) is None


def test_many_unexplained_stretches_are_surer_than_one_and_not_as_sure_as_independent_ones() -> None:
    one, many = Spent({}, {"0": 100e6}), Spent({}, {str(index): 1e6 for index in range(100)})
    doubts = Doubts({}, {str(index): 0.3 for index in range(100)})
    widths = []
    for spent in (many, one):
        found = time_band(100e6, spent, doubts)
        assert found is not None
        widths.append(np.log(found.high_ms / found.low_ms) / 2 / 1.2816)
    assert 0.1 * 0.3 < widths[0] < widths[1] == pytest.approx(0.3, rel=1e-3)


def test_one_kind_of_work_has_its_costs_interval() -> None:
    doubts = doubts_of(Case(name="x", cpus=CpuSpec(1), costs={"aml_term": Cost(300.0, "test", 200.0, 450.0)}))
    found = time_band(30e6, Spent({"aml_term": 30e6}), doubts)
    assert found is not None and (found.low_ms, found.high_ms) == pytest.approx((20, 45), rel=1e-3)
    assert spread_of(Cost(1.0, "test")) == 0.0


@pytest.mark.parametrize(("store_ns", "kind"), [(0.01, "deferred_page_init"), (9.0, "node_store_per_page")])
def test_deferred_pages_rest_on_what_was_waited_for(store_ns: float, kind: str) -> None:
    costs = {"node_store_per_page": Cost(store_ns, "test"), "deferred_page_init": Cost(10.0, "test")}
    spec = load_preset("tiny")
    adjust(spec, Adjustments("4,cores=4", numa=("8G",)))
    spec.costs = costs
    kernel = boot(spec, options=BootOptions(vmemmap="counted")).kernel
    assert {"deferred_page_init", "node_store_per_page"} & set(spent_in(kernel, "deferred").work) == {kind}


def test_waiting_counts_as_the_work_it_was_for() -> None:
    ledger = Ledger()
    ledger.book("smp", 0, "cpuhp_thread_create", 2, 20)
    ledger.book("smp", 0, "smp_wait_ns", 60, 60)
    ledger.book("smp", 1, "identify_cpu", 1, 30)
    ledger.book("smp", 2, "sipi_to_alive", 1, 90)
    ledger.book_residue("smp", "something", 20)
    found = spent_of(ledger.entries(), 100)
    assert found.work == {"cpuhp_thread_create": 20, "identify_cpu": 15, "sipi_to_alive": 45}
    assert found.rest == {"something": 20} and found.ns == 100


@pytest.mark.parametrize(
    ("spread", "status", "factor"),
    [
        (SAME_BOOT, "assumed", 1.0),
        (SAME_MACHINE, "fitted", BROADER_MACHINE),
        (SAME_KIND, "assumed", BROADER_KIND),
        (0.0, "assumed", BROADER_KIND),
        (0.0, "", 1.0),
    ],
)
def test_times_from_elsewhere_are_less_sure_than_their_costs_say(spread: float, status: str, factor: float) -> None:
    cost = Cost(10.0, "test", 5.0, 20.0, status)  # type: ignore[arg-type]
    residue = [Residue("a driver", "", 1.0, "test", before="x", spread=spread)]
    found = doubts_of(Case(name="x", cpus=CpuSpec(1), costs={"aml_term": cost}, residue=residue))
    assert found.work["aml_term"] == pytest.approx(factor * spread_of(cost))
    assert found.rest == ({"a driver": spread * factor} if spread else {})
