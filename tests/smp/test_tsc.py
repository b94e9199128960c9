"""TSC frequency, clock sources, TSC_ADJUST and the synchronisation test."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from hw.spec import CpuSpec
from minikern.core.kernel import Kernel
from minikern.smp import clocksource, tsc
from minikern.smp.topology import topology_init
from minikern.smp.tsc_sync import Reading, check_tsc_warp, signed_difference
from tests import naive_smp
from tests.smp.harness import Board, make_kernel, run, smp_ms, texts

ONE = CpuSpec(count=1, tsc_khz=2_445_414)
TWO_SOCKETS = CpuSpec(count=4, sockets=2, cores=2, tsc_khz=2_100_000)
OLD_AMD_FEATURES = ["fpu", "tsc", "msr", "apic", "ht", "nx", "lm"]


@pytest.mark.parametrize("khz", [1_000_000, 2_000_000, 2_445_414, 3_700_123])
def test_quick_calibration_is_the_polling_loop(khz: int) -> None:
    spec = CpuSpec(count=1, tsc_khz=khz)
    slow = naive_smp.quick_pit(make_kernel(spec))
    k = make_kernel(spec)
    assert tsc.tsc_early_init(k)
    assert (k.cpus.tsc.tsc_khz, k.machine.clock.now) == slow
    assert abs(k.cpus.tsc.tsc_khz - khz) < khz / 2000
    assert 5e6 < k.machine.clock.now < 50e6
    assert k.log.clock_zero_ns == k.machine.clock.now


def slow_ports(k: Kernel, ns: float) -> None:
    k._costs["pit_port_access"] = replace(k._costs["pit_port_access"], ns=ns)


def test_quick_calibration_gives_up_on_slow_ports() -> None:
    k = make_kernel(ONE)
    slow_ports(k, 8000.0)
    assert not tsc.tsc_early_init(k)
    assert texts(k) == []
    assert k.log.clock_zero_ns is None


def late(hpet: bool, pit: bool = True, port_ns: float = 8000.0, pm_timer: bool = True):
    k = make_kernel(ONE, board=Board(ONE, hpet=hpet, pit=pit))
    if not pm_timer:
        k.acpi.fadt.pm_timer_port = 0
    slow_ports(k, port_ns)
    tsc.tsc_early_init(k)
    topology_init(k)
    clocksource.hpet_enable(k)
    at = len(k.log.lines)
    tsc.tsc_init(k)
    return k, texts(k)[at:]


@pytest.mark.parametrize(("hpet", "name"), [(True, "HPET"), (False, "PMTIMER")])
def test_late_calibration_by_reference(hpet: bool, name: str) -> None:
    k, lines = late(hpet, port_ns=20000.0)  # 500 polls in 10 ms: too coarse for the PIT
    assert lines[:2] == ["tsc: Unable to calibrate against PIT", f"tsc: using {name} reference calibration"]
    assert lines[2].startswith("tsc: Detected 2445.4") and lines[3].startswith("clocksource: tsc-early:")
    assert k.log.clock_zero_ns is not None


def test_late_calibration_matches() -> None:
    k, lines = late(True)
    assert lines[0] == "tsc: PIT calibration matches HPET. 1 loops"
    assert abs(k.cpus.tsc.tsc_khz - 2_445_414) < 500


def test_late_calibration_without_anything() -> None:
    _, lines = late(False, pit=False, pm_timer=False)
    assert lines == [
        "tsc: Unable to calibrate against PIT",
        "tsc: No reference (HPET/PMTIMER) available",
        "tsc: Marking TSC unstable due to could not calculate TSC khz",
    ]


def test_no_pit_at_all_says_so() -> None:
    k = make_kernel(ONE, board=Board(ONE, pit=False))
    assert not tsc.tsc_early_init(k)
    assert texts(k) == ["tsc: Fast TSC calibration failed"]


def test_frequency_from_cpuid() -> None:
    k = make_kernel(CpuSpec(count=1, tsc_khz=2_073_049, crystal_hz=25_000_000))
    assert tsc.tsc_early_init(k)
    state = k.cpus.tsc
    assert (state.tsc_khz, state.known_freq, state.lapic_timer_period) == (2_073_049, True, 100_000)
    assert texts(k) == ["tsc: Detected 2073.000 MHz processor", "tsc: Detected 2073.049 MHz TSC"]
    assert k.machine.clock.now == 0


def test_tsc_early_khz() -> None:
    k = make_kernel(ONE, "tsc_early_khz=2445000")
    tsc.tsc_early_init(k)
    assert k.cpus.tsc.tsc_khz == 2_445_000
    assert "tsc: Detected 2445.000 MHz TSC" in texts(k)


@pytest.mark.parametrize("value", ["18446744073709551615$", "4294967296", "x", "2445000k"])
def test_tsc_early_khz_is_a_number_of_32_bits(value: str) -> None:
    plain, odd = make_kernel(ONE, ""), make_kernel(ONE, f"tsc_early_khz={value}")
    for k in (plain, odd):
        tsc.tsc_early_init(k)
    assert odd.cpus.tsc.tsc_khz == plain.cpus.tsc.tsc_khz


def test_unstable_by_parameter_and_by_kind() -> None:
    k = run(ONE, "tsc=unstable")
    said = [line for line in texts(k) if line.startswith("tsc: ")]
    assert "Detected" in said[1] and said[2] == "tsc: Marking TSC unstable due to boot parameter"  # a setup parameter
    assert not any("tsc-early" in line for line in texts(k))
    amd = CpuSpec(count=2, cores=2, vendor="AuthenticAMD", family=0xF, model=0x6B, features=OLD_AMD_FEATURES)
    old, new = run(amd, release="debian-6.1"), run(amd)
    assert "tsc: Marking TSC unstable due to TSCs unsynchronized" in texts(old)
    assert not any("unstable" in line for line in texts(new))  # one package


def line_of(start: str, lines: list[str]) -> str:
    return next(line for line in lines if line.startswith(start))


def test_clocksource_lines_of_captures() -> None:
    full = "mask: 0xffffffffffffffff"
    assert clocksource.tsc_line("tsc-early", 2_445_414) == (
        f"clocksource: tsc-early: {full} max_cycles: 0x233fcc80cb3, max_idle_ns: 440795247651 ns"
    )
    assert clocksource.tsc_line("tsc", 2_445_403).endswith("max_cycles: 0x233fc2307a6, max_idle_ns: 440795300981 ns")
    assert clocksource.refined_jiffies_line(250).endswith("max_idle_ns: 7645519600211568 ns")
    assert clocksource.jiffies_line(250).endswith("max_idle_ns: 7645041785100000 ns")
    assert clocksource.acpi_pm_line().endswith("mask: 0xffffff max_cycles: 0xffffff, max_idle_ns: 2085701024 ns")
    hpet = clocksource.update_freq(100_000_000, 1, 0xFFFFFFFF)
    assert clocksource.clocksource_line("hpet", 0xFFFFFFFF, hpet).endswith("max_idle_ns: 19112604467 ns")


@settings(max_examples=60)
@given(st.integers(1_000, 10**9), st.integers(1, 600))
def test_mult_shift_is_accurate_and_does_not_overflow(hz: int, seconds: int) -> None:
    mult, shift = clocksource.clocks_calc_mult_shift(hz, 10**9, seconds)
    assert abs((hz * mult >> shift) - 10**9) <= 10**9 / 1000 + 2 or mult < 1000
    assert hz * seconds * mult < 1 << 65


@settings(max_examples=80, deadline=None)
@given(
    ahead=st.integers(-3000, 3000) | st.integers(-(1 << 40), 1 << 40),
    drift=st.integers(-2000, 2000),
    handoff_ns=st.integers(10, 500),
    khz=st.integers(1_000_000, 4_000_000),
)
def test_warps_are_what_two_loops_under_a_lock_see(ahead: int, drift: int, handoff_ns: int, khz: int) -> None:
    duration_ns, start = 100_000, (1 << 64) - 1000  # the counters wrap on the way
    cycles = khz * duration_ns // 1_000_000
    before = Reading(start, (start + ahead) % (1 << 64))
    after = Reading((start + cycles) % (1 << 64), (start + ahead + cycles + drift) % (1 << 64))
    seen = check_tsc_warp(before, after, duration_ns, handoff_ns)
    slow = naive_smp.warps(cycles, ahead, cycles + drift, duration_ns, handoff_ns)
    if abs(ahead) < 1 << 36:
        assert tuple(seen) == slow
    else:
        assert seen.number > 0 and seen.random == slow[2] == 0
        assert (seen.seen_by_target > 0) == (slow[3] > 0)
        # The loops look at the end every 8 turns only, so the drift goes on for up to 9 turns after it.
        drifted = abs(drift) * (duration_ns + 18 * handoff_ns) // duration_ns
        assert abs(seen.maximum - slow[0]) <= drifted + 3


CROSSING = [(-50_000, 100_000, True), (-50_000, 0, False), (0, 9000, False)]


@pytest.mark.parametrize(("ahead", "drift", "random"), CROSSING)
def test_only_counters_that_cross_warp_randomly(ahead: int, drift: int, random: bool) -> None:
    cycles, ns = 42_000_000, 20_000_000
    warps = check_tsc_warp(Reading(0, ahead % (1 << 64)), Reading(cycles, cycles + ahead + drift), ns, 100)
    assert warps.number and bool(warps.random) == random


def test_signed_difference_wraps() -> None:
    assert signed_difference(5, (1 << 64) - 5) == 10
    assert signed_difference((1 << 64) - 5, 5) == -10


def test_one_20_ms_test_a_further_socket_with_tsc_adjust() -> None:
    k = run(TWO_SOCKETS)
    assert k.ledger.count("tsc_sync_ms") == 20


def test_every_cpu_is_tested_without_tsc_adjust() -> None:
    spec = CpuSpec(count=4, sockets=2, cores=2, tsc_khz=2_100_000, tsc_adjust=False)
    assert run(spec).ledger.count("tsc_sync_ms") == 2 + 20 + 2
    assert run(spec, "tsc=reliable").ledger.count("tsc_sync_ms") == 0


def test_a_skewed_socket_is_compensated() -> None:
    board = Board(TWO_SOCKETS, tsc_offset={2: 3000, 3: 3000})
    k = run(TWO_SOCKETS, board=board)
    assert any(line.startswith("TSC ADJUST compensate: CPU2 observed -") for line in texts(k))
    assert k.ledger.count("tsc_sync_ms") == 40
    difference = signed_difference(k.cpus.hardware[2].rdtsc(), k.cpus.hardware[0].rdtsc())
    assert abs(difference) <= 210  # below the hand-over, 100 ns, no warp can be seen
    assert k.cpus.tsc.adjust[3].adjusted == k.cpus.tsc.adjust[2].adjusted
    assert not k.cpus.tsc.unstable


def test_a_skew_behind_is_seen_by_the_target() -> None:
    board = Board(TWO_SOCKETS, tsc_offset={0: 9000, 1: 9000})
    lines = texts(run(TWO_SOCKETS, board=board))
    assert "TSC ADJUST compensate: CPU2 observed 8790 warp. Adjust: 8790" in lines


def test_a_skew_that_cannot_be_compensated_ends_the_tsc() -> None:
    spec = CpuSpec(count=4, sockets=2, cores=2, tsc_khz=2_100_000, tsc_adjust=False)
    board = Board(spec, tsc_offset={1: -5000})
    k = run(spec, board=board)
    at = texts(k).index("TSC synchronization [CPU#0 -> CPU#1]:")
    assert texts(k)[at + 1 : at + 3] == [
        "Measured 4790 cycles TSC warp between CPUs, turning off TSC clock.",
        "tsc: Marking TSC unstable due to check_tsc_sync_source failed",
    ]
    assert k.ledger.count("tsc_sync_ms") == 2  # the others need no test any more
    assert len(k.cpus.online) == 4


def test_boot_cpu_adjust_is_forced_to_zero() -> None:
    board = Board(ONE, adjust={0: -77 % (1 << 64)})
    k = run(ONE, board=board)
    assert "[Firmware Bug]: TSC ADJUST: CPU0: -77 force to 0" in texts(k)
    assert board.boot_cpu.rdmsr(0x3B) == 0


def test_adjust_differing_within_a_socket_is_fixed_and_told_once() -> None:
    spec = CpuSpec(count=4, cores=4)
    board = Board(spec, adjust={1: 500, 2: 600})
    k = run(spec, board=board)
    assert texts(k).count("[Firmware Bug]: TSC ADJUST differs within socket(s), fixing all errors") == 1
    assert [cpu.rdmsr(0x3B) for cpu in board.cpus] == [0] * 4


def test_sync_test_shows_in_the_time() -> None:
    assert smp_ms(run(TWO_SOCKETS)) - smp_ms(run(TWO_SOCKETS, "tsc=reliable")) > 8
