"""Bands: wider the less is known, and never on one side of the time."""

from __future__ import annotations

import pytest

from minikern.core.costs import Cost, Residue
from minikern.core.ledger import Ledger
from minikern.lab.fit.bands import bands, spread_of

DOUBTED = Residue("somebody's driver", "", 70.0, "test", before="driver: up", spread=0.3)
PHASES = {"acpi": 30_000_000, "rest": 70_000_000}


def booked() -> Ledger:
    ledger = Ledger()
    ledger.book("acpi", 0, "aml_byte_parse", 100_000, 30_000_000)
    ledger.book("acpi", 1, "sipi_to_alive", 1, 900_000_000)  # beside the path to init
    ledger.book_residue("rest", "somebody's driver", 70_000_000)
    return ledger


def costs(width: float) -> dict[str, Cost]:
    return {"aml_byte_parse": Cost(300.0, "test", 300.0 / width, 300.0 * width, "fitted")}


def test_a_band_holds_the_time_it_is_of() -> None:
    found = bands(booked().entries(), costs(1.5), [DOUBTED], PHASES)
    for name, ns in {**PHASES, "total": 100_000_000}.items():
        assert found[name].low < found[name].centre < found[name].high
        assert found[name].centre == pytest.approx(ns)


def test_one_kind_of_work_has_its_costs_interval() -> None:
    band = bands(booked().entries(), costs(1.5), [], PHASES)["acpi"]
    assert (band.low, band.high) == pytest.approx((20_000_000, 45_000_000), rel=1e-3)


def test_doubt_grows_with_the_intervals() -> None:
    narrow, wide = (bands(booked().entries(), costs(width), [], PHASES)["total"] for width in (1.1, 2.0))
    assert wide.high - wide.low > narrow.high - narrow.low > 0


def test_a_cost_without_an_interval_has_no_spread() -> None:
    assert spread_of(Cost(1.0, "test")) == 0.0
