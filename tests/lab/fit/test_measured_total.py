"""A boot of which systemd alone says how long it took."""

from __future__ import annotations

import pytest

from minikern.describe.presets import load_machine
from minikern.describe.startup import Startup
from minikern.lab.fit.measured_total import told_apart, with_total
from minikern.lab.run import boot


@pytest.mark.parametrize("kernel_ms", [200.0, 900.0, 5000.0])
def test_the_boot_takes_as_long_as_the_kernel_did(kernel_ms: float) -> None:
    spec, note = with_total(load_machine("laptop"), Startup(kernel_ms=kernel_ms))
    assert boot(spec).total_ns / 1e6 == pytest.approx(kernel_ms, rel=0.02)
    assert "by systemd" in note and f"{kernel_ms:.0f}" in note


def test_a_first_unit_is_only_a_bound() -> None:
    laptop = load_machine("laptop")
    total = boot(laptop).total_ns
    later, _ = with_total(laptop, Startup(first_unit_ms=total / 1e6 * 3))
    sooner, _ = with_total(laptop, Startup(first_unit_ms=total / 1e6 / 2))
    assert boot(later).total_ns == total
    assert boot(sooner).total_ns == pytest.approx(total / 2, rel=0.02)


def test_a_log_and_systemd_that_differ_are_told() -> None:
    assert told_apart(Startup(kernel_ms=1000), 990_000_000) == []
    assert told_apart(Startup(first_unit_ms=1000), 10_000_000) == []
    assert "2000 ms" in told_apart(Startup(kernel_ms=2000), 990_000_000)[0]
