"""What a log shows of how its kernel boots counts, whatever its release file says."""

from __future__ import annotations

import pytest

from minikern.core.kernel_facts import KernelFacts
from minikern.describe.dmesg_kernel import kernel_facts
from minikern.describe.dmesg_log import Log

ZONES = "Built 1 zonelists, mobility grouping on.  Total pages: 1000"
MEMORY = "Memory: 4000K/5000K available (1K kernel code)"
DETECTED = "tsc: Detected 2600.000 MHz processor"
UP, DRIVERS = "smp: Brought up 1 node, 4 CPUs", "devtmpfs: initialized"
DEFERRED = "node 0 deferred pages initialised in 20ms"


def facts(*lines: str) -> KernelFacts:
    return kernel_facts(Log("x", ["Linux version 6.1.0", *lines]))


@pytest.mark.parametrize(
    ("lines", "deferred"),
    [
        ((ZONES, MEMORY, UP, DEFERRED, DRIVERS), True),
        ((ZONES, MEMORY, UP, DRIVERS), False),
        ((ZONES, MEMORY), None),  # the log ends before it could say
        ((DRIVERS,), None),  # ... or began too late
    ],
)
def test_a_whole_log_says_whether_pages_were_deferred(lines: tuple[str, ...], deferred: bool | None) -> None:
    assert facts(*lines).deferred is deferred


def test_a_clock_that_starts_after_the_zones_is_late() -> None:
    assert facts(ZONES, MEMORY, DETECTED).late_clock
    assert not facts(DETECTED, ZONES, MEMORY).late_clock
    assert not facts(ZONES, MEMORY).late_clock


def test_a_hypervisors_clock_tells_the_delay_loop() -> None:
    line = "Calibrating delay loop (skipped) preset value.. 4190.15 BogoMIPS (lpj=2095076)"
    assert facts(line).preset_lpj == 2095076
    assert not facts(line.replace("preset value", ", value calculated using timer frequency")).preset_lpj
