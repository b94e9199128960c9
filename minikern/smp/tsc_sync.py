"""Do two CPUs' time-stamp counters agree? The test that costs 2 or 20 ms.

Source: arch/x86/kernel/tsc_sync.c @ v6.12
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, NamedTuple

import simpy

from minikern.core.printk import Level
from minikern.smp.tsc import mark_tsc_unstable, unsynchronized_tsc
from minikern.smp.tsc_adjust import tsc_store_and_check_tsc_adjust, write_tsc_adjust
from minikern.state.cpus import TscAdjust

if TYPE_CHECKING:
    from hw.cpu import CPU
    from minikern.core.kernel import Kernel

SYNC_MS_PACKAGE_KNOWN, SYNC_MS_FIRST = 2, 20  # Source: tsc_sync.c:loop_timeout()
TEST_RUNS_WITH_ADJUST = 3
MAX_CYCLES = 1 << 36  # of a counter during a test, and of two counters' difference that is played out
OVERRUN_TURNS = 9  # the loops look at the end every 8 turns
FAILED = "check_tsc_sync_source failed"
ROUNDING = 3  # cycles by which counters read as whole numbers may seem to differ
_MASK64, _SIGN64 = (1 << 64) - 1, 1 << 63


class Reading(NamedTuple):
    """Both counters at one moment."""

    source: int
    target: int


class Warps(NamedTuple):
    """What the loops saw, in cycles: the largest step back, how many there were, how many came after one of the other
    CPU's, and the largest one known when the target last saw one (0: it saw none)."""

    maximum: int
    number: int
    random: int
    seen_by_target: int


NO_WARPS = Warps(0, 0, 0, 0)


def signed_difference(a: int, b: int) -> int:
    """``a - b`` of two 64-bit counters, signed."""
    return (((a - b) & _MASK64) ^ _SIGN64) - _SIGN64


def check_tsc_warp(before: Reading, after: Reading, duration_ns: int, handoff_ns: int) -> Warps:
    """What both CPUs' loops see between two readings ``duration_ns`` apart; counters run evenly in between.

    Counters that stay closer than half a turn can show no step back, so nothing is played then.
    Source: arch/x86/kernel/tsc_sync.c:check_tsc_warp() @ v6.12
    """
    source = signed_difference(after.source, before.source)
    target = signed_difference(after.target, before.target)
    ahead = signed_difference(before.target, before.source)
    turn = min(source, target) * handoff_ns // duration_ns
    end_ns = duration_ns + OVERRUN_TURNS * 2 * handoff_ns
    if max(abs(ahead), abs(ahead + (target - source) * end_ns // duration_ns)) + ROUNDING <= turn:
        return NO_WARPS
    if not (0 <= source < MAX_CYCLES and 0 <= target < MAX_CYCLES and abs(ahead) < MAX_CYCLES):
        return _hopeless(ahead, source, duration_ns, handoff_ns)
    from minikern.smp.tsc_loops import play_loops

    return Warps(*(int(part) for part in play_loops(source, ahead, target, duration_ns, handoff_ns)))


def _hopeless(ahead: int, source: int, duration_ns: int, handoff_ns: int) -> Warps:
    # Counters that are minutes apart: the same CPU sees the whole difference on every turn.
    turn = source * handoff_ns // duration_ns
    turns = duration_ns // (2 * handoff_ns)
    seen = abs(ahead) - turn
    return Warps(seen, turns, 0, seen if ahead < 0 else 0)


def loop_timeout_ms(k: Kernel, nr: int) -> int:
    """How long the test runs: short if another CPU of the package is known. Source: tsc_sync.c:loop_timeout()"""
    maps = k.cpus
    return SYNC_MS_PACKAGE_KNOWN if len(maps.topo.core_mask[maps.ids[nr].package]) > 1 else SYNC_MS_FIRST


def check_tsc_sync_target(k: Kernel, nr: int, cpu: CPU) -> Generator[simpy.Event, None, None]:
    """CPU ``nr``'s side of the test, run against the first online CPU; marks the TSC unstable if they disagree.

    Source: arch/x86/kernel/tsc_sync.c:check_tsc_sync_target(), check_tsc_sync_source() @ v6.12
    """
    maps = k.cpus
    if unsynchronized_tsc(k):
        return
    if tsc_store_and_check_tsc_adjust(k, nr, cpu) or maps.tsc.reliable or k.release.facts.tsc_reliable:
        return
    source = min(maps.online)
    handoff_ns = max(1, round(k.unit_ns("tsc_sync_handoff")))
    duration_ms = loop_timeout_ms(k, nr)
    runs = TEST_RUNS_WITH_ADJUST if maps.boot.has("tsc_adjust") else 1
    while True:
        before, started = Reading(maps.hardware[source].rdtsc(), cpu.rdtsc()), k.machine.clock.now
        yield k.charge_on(nr, "tsc_sync_ms", duration_ms)
        after, spent = Reading(maps.hardware[source].rdtsc(), cpu.rdtsc()), k.machine.clock.now - started
        warps = check_tsc_warp(before, after, spent, handoff_ns) if spent else NO_WARPS
        if not warps.number:
            return
        runs -= 1
        if runs <= 0 or warps.random:
            break
        _compensate(k, nr, cpu, warps)
    k.printk(f"TSC synchronization [CPU#{source} -> CPU#{nr}]:", Level.WARNING)
    k.printk(f"Measured {warps.maximum} cycles TSC warp between CPUs, turning off TSC clock.", Level.WARNING)
    if warps.random:
        k.printk("TSC warped randomly between CPUs", Level.WARNING)
    if k.behaviour.tsc_warp_by_worker:
        k.machine.clock.process(_mark_by_worker(k))
    else:
        mark_tsc_unstable(k, FAILED)


def _mark_by_worker(k: Kernel) -> Generator[simpy.Event, None, None]:
    """The source is called by an interrupt and leaves the verdict to a worker, which has to wake up first.

    By then the target may have taken over CPU 0's delay calibration, TSC or no TSC.
    Source: arch/x86/kernel/tsc_sync.c:tsc_sync_mark_tsc_unstable() @ v6.12
    """
    yield k.machine.clock.timeout(max(1, round(k.unit_ns("cpuhp_thread_wakeup"))))
    mark_tsc_unstable(k, FAILED)


def _compensate(k: Kernel, nr: int, cpu: CPU, warps: Warps) -> None:
    """Move the target's counter by what it saw, or back by what the source saw."""
    adjust = k.cpus.tsc.adjust
    own = warps.seen_by_target or -warps.maximum
    adjusted = signed_difference(adjust[nr].adjusted + own, 0)
    adjust[nr] = TscAdjust(adjust[nr].bootval, adjusted)
    k.printk(f"TSC ADJUST compensate: CPU{nr} observed {own} warp. Adjust: {adjusted}", Level.WARNING)
    write_tsc_adjust(cpu, adjusted)
