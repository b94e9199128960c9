"""Curves of unit costs against fresh boots: exact where they are serial, bounded where they are not."""

from __future__ import annotations

import random

import pytest

from hw.units import NS_PER_MS
from minikern.core.kernel import BootOptions
from minikern.core.variant import load_variant
from minikern.describe.presets import load_machine
from minikern.lab.run import Boot, boot
from minikern.lab.what_if import Curve, at, curves, total_ns

SETTINGS = 12


@pytest.fixture(scope="module", params=["tiny", "laptop"])
def case(request: pytest.FixtureRequest) -> tuple[Boot, list[Curve]]:
    done = boot(load_machine(request.param), load_variant("quiet"), options=BootOptions(vmemmap="counted"))
    return done, curves(done)


def test_one_cost_at_its_own_is_the_boot(case: tuple[Boot, list[Curve]]) -> None:
    done, found = case
    assert found
    assert all(at(curve, 1.0) == pytest.approx(done.total_ns / NS_PER_MS, abs=1e-5) for curve in found)
    assert all(not curve.kind.endswith("_ns") for curve in found)


def test_serial_costs_are_exact_together(case: tuple[Boot, list[Curve]]) -> None:
    done, found = case
    dice = random.Random(1)
    serial = [curve for curve in found if curve.serial]
    assert serial
    for _ in range(SETTINGS):
        chosen = {curve.kind: round(dice.uniform(0, 4), 2) for curve in dice.sample(serial, min(3, len(serial)))}
        said = done.total_ns / NS_PER_MS
        said += sum(at(curve, chosen[curve.kind]) - at(curve, 1.0) for curve in serial if curve.kind in chosen)
        assert said == pytest.approx(total_ns(done.spec, chosen, done.variant) / NS_PER_MS, abs=0.004)


def test_other_costs_lie_between_the_boots_around_them(case: tuple[Boot, list[Curve]]) -> None:
    done, found = case
    for curve in found:
        if not curve.serial:
            total = total_ns(done.spec, {curve.kind: 1.5}, done.variant) / NS_PER_MS
            low, high = sorted((at(curve, 1.0), at(curve, 2.0)))
            assert low - 0.01 <= total <= high + 0.01


def test_a_cost_of_nothing_is_a_boot() -> None:
    assert total_ns(load_machine("tiny"), {"deferred_page_init": 0.0, "config_read": 0.0}) > 0
