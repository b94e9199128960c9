"""TSC calibration against the PIT's channel 2, played through ports 0x42, 0x43 and 0x61.

The loops poll as the kernel's do, and the time they take passes on the machine's clock; rounds of polling in which
nothing can change are charged in one go, which leaves the instants of the others and all counts as they are.
Source: arch/x86/kernel/tsc.c @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from minikern.smp.clocksource import FSEC_PER_SEC, HPET_COUNTER, HPET_PERIOD, PIT_TICK_RATE, PMTMR_TICKS_PER_SEC

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

MAX_QUICK_PIT_MS = 50
MAX_QUICK_PIT_ITERATIONS = MAX_QUICK_PIT_MS * PIT_TICK_RATE // 1000 // 256
EXPECT_POLLS_LIMIT = 50_000
CAL_MS, CAL_PIT_LOOPS = 10, 1000
CAL2_MS, CAL2_PIT_LOOPS = 50, 5000
CAL_ROUNDS = 3
GATE_POLLS_LIMIT = 1_000_000
KEEP_POLLS = 4  # rounds always polled for real before an expected change
REF_TRIES = 5
PMTMR_MASK = 0xFFFFFF

GATE_PORT, PIT_CH2, PIT_MODE = 0x61, 0x42, 0x43
GATE_OUT = 0x20


class Edge(NamedTuple):
    """An observed change of the PIT's high byte: seen at all, TSC before it, width of the uncertainty in cycles."""

    seen: bool
    tsc: int
    delta: int


class Reference(NamedTuple):
    """A reading of HPET or PM timer with the TSC at that moment; ``disturbed`` if no clean reading was had."""

    tsc: int
    ticks: int
    disturbed: bool = False


def cycles_between(start: int, end: int) -> int:
    """Cycles from one reading of a TSC to a later one; the counter wraps at 2^64."""
    return (end - start) & ((1 << 64) - 1)


def _inb(k: Kernel, port: int) -> int:
    k.charge("pit_port_access")
    return k.machine.boot_cpu.inb(port)


def _outb(k: Kernel, port: int, value: int) -> None:
    k.charge("pit_port_access")
    k.machine.boot_cpu.outb(port, value)


def quick_pit_calibrate(k: Kernel) -> int:
    """TSC kHz from the edges of the PIT's high byte to about 500 ppm; 0 if it cannot be had.

    Source: arch/x86/kernel/tsc.c:quick_pit_calibrate() @ v6.12
    """
    _outb(k, GATE_PORT, _inb(k, GATE_PORT) & ~0x02 | 0x01)
    _outb(k, PIT_MODE, 0xB0)  # channel 2, both bytes, mode 0
    _outb(k, PIT_CH2, 0xFF)
    _outb(k, PIT_CH2, 0xFF)
    _read_count(k)  # the count is loaded at the next input clock: one read to be past it
    start = _expect_msb(k, 0xFF)
    if start.seen:
        for step in range(1, MAX_QUICK_PIT_ITERATIONS + 1):
            edge = _expect_msb(k, 0xFF - step)
            if not edge.seen:
                break
            elapsed = cycles_between(start.tsc, edge.tsc)
            error = start.delta + edge.delta
            if step == 1 and error >= elapsed * MAX_QUICK_PIT_ITERATIONS >> 11:
                return 0  # the error would never get below 500 ppm
            if error >= elapsed >> 11:
                continue
            if _read_count(k) >> 8 != 0xFE - step:
                break
            k.printk("tsc: Fast TSC calibration using PIT")
            return elapsed * PIT_TICK_RATE // (step * 256 * 1000)
    k.printk("tsc: Fast TSC calibration failed")
    return 0


def _read_count(k: Kernel) -> int:
    low = _inb(k, PIT_CH2)
    return _inb(k, PIT_CH2) << 8 | low


def _expect_msb(k: Kernel, msb: int) -> Edge:
    """Poll while the high byte is ``msb``. Source: arch/x86/kernel/tsc.c:pit_expect_msb()"""
    cpu = k.machine.boot_cpu
    round_ns = 2 * k.unit_ns("pit_port_access")
    previous = tsc = polls = 0
    while polls < EXPECT_POLLS_LIMIT:
        count = _read_count(k)
        if count >> 8 != msb:
            break
        previous, tsc = tsc, cpu.rdtsc()
        polls += 1
        # The low byte says how long the high byte stays; the rounds in between cannot differ.
        idle = min(int((count & 0xFF) * 1e9 / PIT_TICK_RATE / round_ns) - KEEP_POLLS, EXPECT_POLLS_LIMIT - polls)
        if idle > 0:
            k.charge("pit_port_access", 2 * idle)
            polls += idle
    return Edge(polls > 5, tsc, cycles_between(previous, cpu.rdtsc()))


def pit_calibrate_tsc(k: Kernel, ms: int, loopmin: int) -> int | None:
    """TSC kHz over one PIT run of ``ms`` milliseconds; None if the polling was disturbed or too coarse.

    Source: arch/x86/kernel/tsc.c:pit_calibrate_tsc() @ v6.12
    """
    cpu = k.machine.boot_cpu
    latch = PIT_TICK_RATE // (1000 // ms)
    _outb(k, GATE_PORT, _inb(k, GATE_PORT) & ~0x02 | 0x01)
    _outb(k, PIT_MODE, 0xB0)
    _outb(k, PIT_CH2, latch & 0xFF)
    _outb(k, PIT_CH2, latch >> 8)
    first = tsc = cpu.rdtsc()
    started = k.machine.clock.now
    shortest, longest, polls = 1 << 64, 0, 0
    round_ns = k.unit_ns("pit_port_access")
    while not _inb(k, GATE_PORT) & GATE_OUT and polls < GATE_POLLS_LIMIT:
        now = cpu.rdtsc()
        step = cycles_between(tsc, now)
        shortest, longest = min(shortest, step), max(longest, step)
        tsc = now
        polls += 1
        left_ns = latch * 1e9 / PIT_TICK_RATE - (k.machine.clock.now - started)
        idle = int(left_ns / round_ns) - KEEP_POLLS
        if idle > 0:
            k.charge("pit_port_access", idle)
            polls += idle
            tsc = cpu.rdtsc()
    if polls < loopmin or longest > 10 * shortest:
        return None
    return cycles_between(first, tsc) // ms


def pit_hpet_ptimer_calibrate_cpu(k: Kernel) -> int:
    """TSC kHz from the slow PIT runs and HPET or PM timer together; 0 if neither works.

    Source: arch/x86/kernel/tsc.c:pit_hpet_ptimer_calibrate_cpu() @ v6.12
    """
    name = "HPET" if k.cpus.tsc.hpet_enabled else "PMTIMER"
    ms, loopmin = CAL_MS, CAL_PIT_LOOPS
    pit_khz: int | None = None
    ref_khz: int | None = None
    usable = False
    for turn in range(CAL_ROUNDS):
        before = _read_refs(k)
        measured = pit_calibrate_tsc(k, ms, loopmin)
        after = _read_refs(k)
        if measured is not None:
            pit_khz = measured if pit_khz is None else min(pit_khz, measured)
        usable = usable or bool(before.ticks or after.ticks)
        if before.ticks != after.ticks and not (before.disturbed or after.disturbed):
            khz = _reference_khz(k, before, after)
            ref_khz = khz if ref_khz is None else min(ref_khz, khz)
            if pit_khz is not None and ref_khz and 90 <= pit_khz * 100 // ref_khz <= 110:
                k.printk(f"tsc: PIT calibration matches {name}. {turn + 1} loops")
                return ref_khz
            if turn == 1 and pit_khz is None:
                ms, loopmin = CAL2_MS, CAL2_PIT_LOOPS
    return _choose(k, name, pit_khz, ref_khz, usable)


def _choose(k: Kernel, name: str, pit_khz: int | None, ref_khz: int | None, usable: bool) -> int:
    if pit_khz is None:
        k.printk("tsc: Unable to calibrate against PIT")
        if not usable:
            k.printk("tsc: No reference (HPET/PMTIMER) available")
            return 0
        if ref_khz is None:
            k.printk("tsc: HPET/PMTIMER calibration failed")
            return 0
        k.printk(f"tsc: using {name} reference calibration")
        return ref_khz
    if not usable:
        k.printk("tsc: Using PIT calibration value")
    elif ref_khz is None:
        k.printk("tsc: HPET/PMTIMER calibration failed. Using PIT calibration.")
    else:
        k.printk(f"tsc: PIT calibration deviates from {name}: {pit_khz} {ref_khz}")
    return pit_khz


def _read_refs(k: Kernel) -> Reference:
    """HPET or PM timer with the TSC around it, the tightest of a few tries. Source: tsc.c:tsc_read_refs()"""
    cpu = k.machine.boot_cpu
    hpet = k.cpus.tsc.hpet_enabled
    port = k.acpi.fadt.pm_timer_port if k.acpi.fadt else 0
    if not hpet and not port:
        return Reference(cpu.rdtsc(), 0, disturbed=True)
    best: Reference | None = None
    width = 1 << 64
    for _ in range(REF_TRIES):
        before = cpu.rdtsc()
        k.charge("hpet_read" if hpet else "pm_timer_read")
        count = cpu.read(k.acpi.hpet_address + HPET_COUNTER, 4) if hpet else cpu.inl(port) & PMTMR_MASK
        after = cpu.rdtsc()
        if cycles_between(before, after) < width:
            best, width = Reference(after, count), cycles_between(before, after)
    assert best is not None
    return best


def _reference_khz(k: Kernel, before: Reference, after: Reference) -> int:
    cycles = cycles_between(before.tsc, after.tsc)
    if k.cpus.tsc.hpet_enabled:
        ticks = (after.ticks - before.ticks) & 0xFFFFFFFF
        period_fs = k.machine.boot_cpu.read(k.acpi.hpet_address + HPET_PERIOD, 4)
        return cycles * FSEC_PER_SEC // (ticks * period_fs * 1000)
    ticks = (after.ticks - before.ticks) & PMTMR_MASK
    return cycles * PMTMR_TICKS_PER_SEC // (ticks * 1000)
