"""loops_per_jiffy of a CPU, by the cheapest means that will do.

Source: init/calibrate.c @ v6.12; arch/x86/kernel/tsc.c:calibrate_delay_is_known() @ v6.1, v6.5
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import simpy

from minikern.core.moduleparam import Parameter, setup_param
from minikern.smp.pit import cycles_between
from minikern.state.cpus import CpuMaps

if TYPE_CHECKING:
    from hw.cpu import CPU
    from minikern.core.kernel import Kernel
    from minikern.core.turns import Point

MAX_DIRECT_CALIBRATION_RETRIES = 5
FIRST_LPJ, LPS_PREC = 1 << 12, 8  # Source: init/calibrate.c @ v6.12
NO_TSC_KHZ = "could not calculate TSC khz"
SKIPPED = "Calibrating delay loop (skipped)"


def tick_ns(k: Kernel) -> int:
    """Length of a jiffy in ns."""
    return 1_000_000_000 // k.config.number("CONFIG_HZ")


def next_tick(k: Kernel, at_ns: int) -> int:
    """Time of the first tick edge after ``at_ns``; edges are the multiples of the tick on the machine's clock."""
    tick = tick_ns(k)
    return (at_ns // tick + 1) * tick


def bogomips(lpj: int, hz: int) -> str:
    """BogoMIPS as printed, by the kernel's integer divisions."""
    return f"{lpj // (500_000 // hz)}.{lpj // (5000 // hz) % 100:02}"


def calibrate_delay(k: Kernel) -> None:
    """Calibrate the boot CPU and print its line. Source: init/calibrate.c:calibrate_delay() @ v6.12"""
    clock = k.machine.clock
    k.wait(clock.process(calibrate_delay_on(k, 0, k.machine.boot_cpu)))


def calibrate_delay_on(k: Kernel, nr: int, cpu: CPU) -> Generator[simpy.Event, None, None]:
    """Set ``k.cpus.lpj[nr]``. Only the first CPU's result is printed.

    Source: init/calibrate.c:calibrate_delay() @ v6.12
    """
    maps = k.cpus
    preset = k.cmdline.get_int("lpj") or k.release.facts.preset_lpj
    known = calibrate_delay_is_known(k, nr)
    if nr in maps.lpj:
        lpj, text = maps.lpj[nr], f"{SKIPPED} already calibrated this CPU"
    elif preset:
        lpj, text = preset, f"{SKIPPED} preset value.. "
    elif not maps.delay_printed and maps.tsc.lpj_fine:
        lpj, text = maps.tsc.lpj_fine, f"{SKIPPED}, value calculated using timer frequency.. "
    elif known:
        lpj, text = known, ""
    elif maps.boot.has("tsc") and maps.tsc.unstable != NO_TSC_KHZ:
        lpj = yield from calibrate_delay_direct(k, nr, cpu)
        text = "Calibrating delay using timer specific routine.. "
    else:
        lpj = yield from calibrate_delay_converge(k, nr, cpu)
        text = "Calibrating delay loop... "
    if not maps.delay_printed:
        hz = k.config.number("CONFIG_HZ")
        k.printk(f"{text}{bogomips(lpj, hz)} BogoMIPS (lpj={lpj})")
        maps.delay_printed = True
    maps.lpj[nr] = lpj


def calibrate_delay_is_known(k: Kernel, nr: int) -> int:
    """lpj that can be taken over from another CPU, 0 if none can.

    The rule "cpu0" takes CPU 0's whenever the TSC is constant and trusted; the rule "package" only that of a CPU of
    the same package. Source: arch/x86/kernel/tsc.c:calibrate_delay_is_known() @ v6.1 and v6.5
    """
    maps = k.cpus
    if not maps.boot.has("constant_tsc"):
        return 0
    if k.behaviour.delay_reuse == "cpu0" and not maps.tsc.unstable:
        return maps.lpj.get(0, 0)
    return _package_lpj(maps, nr)


def _package_lpj(maps: CpuMaps, nr: int) -> int:
    if nr not in maps.ids:
        return 0
    sibling = maps.any_sibling(nr)
    return maps.lpj.get(sibling, 0) if sibling is not None else 0


def calibrate_delay_direct(k: Kernel, nr: int, cpu: CPU) -> Generator[simpy.Event, None, int]:
    """Count TSC cycles between tick edges, five times over; the mean rate per jiffy.

    A try begins at the second edge after its start and ends HZ/100 ticks later. The reads before and after an edge are
    1 ns apart, the resolution of the machine's clock; with reads that tight no try is ever thrown out.
    Source: init/calibrate.c:calibrate_delay_direct() @ v6.12
    """
    clock = k.machine.clock
    ticks = max(1, k.config.number("CONFIG_HZ") // 100)
    started, since = clock.now, k.point() if nr == 0 else None
    rates = []
    for _ in range(MAX_DIRECT_CALIBRATION_RETRIES):
        first_edge = next_tick(k, clock.now) + tick_ns(k)
        yield clock.timeout(first_edge - 1 - clock.now)
        before = cpu.rdtsc()
        yield clock.timeout(1 + ticks * tick_ns(k))
        rates.append(cycles_between(before, cpu.rdtsc()) // ticks)
    _book(k, nr, started, since)
    return sum(rates) // len(rates)


def calibrate_delay_converge(k: Kernel, nr: int, cpu: CPU) -> Generator[simpy.Event, None, int]:
    """The classic way, for a CPU without a counter: how many turns of the delay loop last a tick.

    First ever longer delays until a tick has passed, then halving steps between what was too short and too long, each
    begun at a tick edge. A turn of the loop is a cycle. Source: init/calibrate.c:calibrate_delay_converge() @ v6.12
    """
    clock, tick = k.machine.clock, tick_ns(k)
    khz = cpu.tsc.khz
    started, since = clock.now, k.point() if nr == 0 else None

    def delay(loops: int) -> simpy.Event:
        return clock.timeout(loops * 1_000_000 // khz)

    yield clock.timeout(next_tick(k, clock.now) - clock.now)
    jiffy = clock.now // tick
    lpj, trials, band, trial_in_band = FIRST_LPJ, 0, 0, 0
    while clock.now // tick == jiffy:
        trial_in_band += 1
        if trial_in_band == 1 << band:
            band, trial_in_band = band + 1, 0
        yield delay(lpj * band)
        trials += band
    base, step_base = lpj * (trials - band), lpj * band
    while True:
        lpj, step = base, step_base
        limit = lpj >> LPS_PREC
        while step > limit:
            lpj += step
            yield clock.timeout(next_tick(k, clock.now) - clock.now)
            jiffy = clock.now // tick
            yield delay(lpj)
            if clock.now // tick != jiffy:
                lpj -= step
            step >>= 1
        if lpj + step * 2 != base + step_base * 2:
            break
        base, step_base = lpj, step_base << 2
    _book(k, nr, started, since)
    return lpj


def _book(k: Kernel, nr: int, started: int, since: Point | None) -> None:
    # All of it is between ticks, so the boot CPU's own shifts what comes after.
    spent = k.machine.clock.now - started
    k.book_span(nr, "delay_calibration_ns", spent, started, spent)
    if since is not None:
        k.turn("tick", since)


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    setup_param("lpj=", read_by=calibrate_delay_on),
)
