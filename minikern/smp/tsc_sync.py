"""Do two CPUs' time-stamp counters agree? The test that costs 2 or 20 ms.

Source: arch/x86/kernel/tsc_sync.c @ v6.12
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, NamedTuple

import simpy

from minikern.printk import Level
from minikern.smp.cpus import TscAdjust, cpus_of
from minikern.smp.tsc import mark_tsc_unstable, unsynchronized_tsc
from minikern.smp.tsc_adjust import tsc_store_and_check_tsc_adjust, write_tsc_adjust

if TYPE_CHECKING:
    from hw.cpu import CPU
    from minikern.kernel import Kernel

SYNC_MS_PACKAGE_KNOWN, SYNC_MS_FIRST = 2, 20  # Source: tsc_sync.c:loop_timeout()
TEST_RUNS_WITH_ADJUST = 3
NS_PER_MS = 1_000_000
_MASK64, _SIGN64 = (1 << 64) - 1, 1 << 63


class Warp(NamedTuple):
    """Largest step back in cycles that the test saw, and how much of it the target saw itself."""

    maximum: int
    seen_by_target: int


def signed_difference(a: int, b: int) -> int:
    """``a - b`` of two 64-bit counters, signed."""
    return (((a - b) & _MASK64) ^ _SIGN64) - _SIGN64


def check_tsc_warp(target: CPU, source: CPU, handoff_cycles: int) -> Warp:
    """Compare both counters as the loops of the two CPUs would.

    The CPUs take turns, ``handoff_cycles`` apart, each comparing its counter with the last one read. The counters run
    at one rate, so their difference d is constant and every turn gives the same step: target after source
    handoff + d, source after target handoff - d. A negative step is a warp, seen by the CPU that read the smaller.
    Source: arch/x86/kernel/tsc_sync.c:check_tsc_warp() @ v6.12
    """
    ahead = signed_difference(target.rdtsc(), source.rdtsc())
    on_target = max(0, -(handoff_cycles + ahead))
    on_source = max(0, -(handoff_cycles - ahead))
    return Warp(max(on_target, on_source), on_target)


def loop_timeout_ms(k: Kernel, nr: int) -> int:
    """How long the test runs: short if another CPU of the package is known. Source: tsc_sync.c:loop_timeout()"""
    maps = cpus_of(k)
    return SYNC_MS_PACKAGE_KNOWN if len(maps.core_mask[maps.ids[nr].package]) > 1 else SYNC_MS_FIRST


def check_tsc_sync_target(k: Kernel, nr: int, cpu: CPU) -> Generator[simpy.Event, None, None]:
    """CPU ``nr``'s side of the test, run against the first online CPU; marks the TSC unstable if they disagree.

    Source: arch/x86/kernel/tsc_sync.c:check_tsc_sync_target() @ v6.12
    """
    maps = cpus_of(k)
    if unsynchronized_tsc(k):
        return
    if tsc_store_and_check_tsc_adjust(k, nr, cpu) or maps.tsc.reliable:
        return
    source = min(maps.online)
    handoff = round(k.unit_ns("tsc_sync_handoff") * maps.tsc.tsc_khz / NS_PER_MS)
    duration_ms = loop_timeout_ms(k, nr)
    runs = TEST_RUNS_WITH_ADJUST if maps.boot.has("tsc_adjust") else 1
    while True:
        yield k.charge_on(nr, "tsc_sync_ms", duration_ms)
        warp = check_tsc_warp(cpu, maps.hardware[source], handoff)
        if warp.maximum == 0:
            return
        runs -= 1
        if runs <= 0:
            break
        _compensate(k, nr, cpu, warp)
    k.printk(f"TSC synchronization [CPU#{source} -> CPU#{nr}]:", Level.WARNING)
    k.printk(f"Measured {warp.maximum} cycles TSC warp between CPUs, turning off TSC clock.", Level.WARNING)
    mark_tsc_unstable(k, "check_tsc_sync_source failed")


def _compensate(k: Kernel, nr: int, cpu: CPU, warp: Warp) -> None:
    """Move the target's counter by what it saw, or back by what the source saw."""
    adjust = cpus_of(k).tsc.adjust
    own = warp.seen_by_target or -warp.maximum
    adjusted = adjust[nr].adjusted + own
    adjust[nr] = TscAdjust(adjust[nr].bootval, adjusted)
    k.printk(f"TSC ADJUST compensate: CPU{nr} observed {own} warp. Adjust: {adjusted}", Level.WARNING)
    write_tsc_adjust(cpu, adjusted)
