"""Bands against draws: what is written out to first order is what many boots with drawn costs would show."""

from __future__ import annotations

import numpy as np

from minikern.core.costs import Cost
from minikern.lab.bands import MEASURED_SPREAD, band, saving_band, spreads

COSTS = {
    "pages": Cost(10.0, "x", low=8.0, high=12.5),
    "cpus": Cost(1e6, "x", low=0.8e6, high=1.25e6),
    "stated": Cost(5.0, "x"),
}
BEFORE = {"pages": 900.0, "cpus": 300.0, "a driver": 200.0}
AFTER = {"pages": 100.0, "cpus": 300.0, "a driver": 200.0}


def drawn(work: dict[str, float], seed: int = 7) -> np.ndarray:
    rng, spread = np.random.default_rng(seed), spreads(COSTS)
    factors = {kind: np.exp(rng.normal(0.0, spread.get(kind, MEASURED_SPREAD), 20_000)) for kind in sorted(work)}
    return sum(ms * factors[kind] for kind, ms in work.items())  # type: ignore[return-value]


def test_four_of_five_draws_lie_in_the_band() -> None:
    found = band(1400.0, BEFORE, spreads(COSTS))
    assert found is not None
    totals = drawn(BEFORE)
    share = np.mean((totals >= found.low_ms) & (totals <= found.high_ms))
    assert 0.77 <= share <= 0.83


def test_what_two_boots_share_does_not_make_a_saving_unsure() -> None:
    found = saving_band(800.0, BEFORE, AFTER, spreads(COSTS))
    assert found is not None
    saved = drawn(BEFORE) - drawn(AFTER)
    share = np.mean((saved >= found.low_ms) & (saved <= found.high_ms))
    assert 0.77 <= share <= 0.83
    assert found.high_ms - found.low_ms < 0.5 * 800.0


def test_without_intervals_there_is_no_band() -> None:
    assert band(1.0, BEFORE, spreads({"stated": COSTS["stated"]})) is None
    assert saving_band(1.0, BEFORE, AFTER, {}) is None
