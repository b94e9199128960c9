"""Kconfig values that a boot log's lines show."""

from __future__ import annotations

import re
from collections.abc import Iterable

from minikern.describe.dmesg_log import Log

TICK_RATES = (100, 250, 300, 1000)
"""Source: kernel/Kconfig.hz @ v6.12"""
NEAR = 0.03  # of a tick rate: what a loop that was counted is off by
FORCE_QS_SHARE = 10  # of a second, after which RCU asks idle CPUs. Source: kernel/rcu/tree.c @ v6.12
CALLER = re.compile(r"^[^\[]{0,80}\[ *\d+\.\d{6}\] ?\[ *[TC]\d+\]")


def config_facts(log: Log) -> dict[str, bool | int]:
    """Options by their names; what no line tells is left out."""
    found: dict[str, bool | int] = {}
    if rate := tick_rate(log):
        found["CONFIG_HZ"] = rate
    domain = log.first(r"^iommu: Default domain type: (Passthrough|Translated)\s*$")  # nobody asked for it
    if domain is not None:
        found["CONFIG_IOMMU_DEFAULT_PASSTHROUGH"] = domain[1] == "Passthrough"
    policy = log.first(r"^iommu: DMA domain TLB invalidation policy: (strict|lazy) mode\s*$")
    if policy is not None:
        found["CONFIG_IOMMU_DEFAULT_DMA_STRICT"] = policy[1] == "strict"
    if log.first(r"^(?:smp: |x86: )?Brought up (?:[2-9]|\d{2,4}) nodes?,") and log.first(r"^Console: colour "):
        found["CONFIG_NUMA_BALANCING"] = log.first(r"^mempolicy: Enabling automatic NUMA balancing") is not None
    return found


def tick_rate(log: Log) -> int:
    """Ticks a second: cycles a second over cycles a tick, else by what RCU waits for; 0 where neither is told."""
    detected = r"^tsc: Detected (\d{1,6})\.(\d{3}) MHz"
    cycles = log.first(detected + " TSC") or log.first(detected)
    loops = log.first(r"^Calibrating delay loop.*\(lpj=(\d{2,12})\)")
    if cycles and loops:
        told = int(cycles[1] + cycles[2]) * 1000 / int(loops[1])
        if rate := _nearest(told):
            return rate
    delay = log.number(r"^rcu: RCU calculated value of scheduler-enlistment delay is (\d+) jiffies", 1000)
    return _nearest(delay * FORCE_QS_SHARE) if delay else 0


def _nearest(told: float) -> int:
    return next((rate for rate in TICK_RATES if abs(told / rate - 1) <= NEAR), 0)


def names_callers(raw: Iterable[str]) -> bool:
    """True if the lines as they stand in the file name the task that wrote each."""
    return any(CALLER.match(line) for line in raw)
