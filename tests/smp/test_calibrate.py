"""loops_per_jiffy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.spec import CpuSpec
from minikern.core.config import Config
from minikern.smp.calibrate import bogomips, calibrate_delay_converge
from minikern.smp.cpuinfo import early_cpu_init
from tests import naive_smp
from tests.smp.harness import boot, make_kernel, run, texts

TWO_SOCKETS = CpuSpec(count=4, sockets=2, cores=2, tsc_khz=2_073_049, crystal_hz=25_000_000)
FREQUENCY = "Calibrating delay loop (skipped), value calculated using timer frequency.. "


@given(st.integers(1, 1 << 40), st.sampled_from([100, 250, 1000]))
def test_bogomips_truncates(lpj: int, hz: int) -> None:
    exact = naive_smp.bogomips(lpj, hz)
    whole, _, part = bogomips(lpj, hz).partition(".")
    assert int(whole) == int(exact)
    assert int(part) == int(exact * 100) % 100


@pytest.mark.parametrize(("khz", "text"), [(2_445_414, "4890.82 BogoMIPS (lpj=9781656)")])
def test_boot_cpu_line_of_a_capture(khz: int, text: str) -> None:
    k = run(CpuSpec(count=1, tsc_khz=khz), f"tsc_early_khz={khz}")
    assert FREQUENCY + text in texts(k)


def test_preset() -> None:
    k = run(TWO_SOCKETS, "lpj=4000000")
    assert "Calibrating delay loop (skipped) preset value.. 2000.00 BogoMIPS (lpj=4000000)" in texts(k)
    assert set(k.cpus.lpj.values()) == {4_000_000}


@pytest.mark.parametrize(("hz", "ms"), [(100, 150), (250, 80), (1000, 60)])
def test_direct_calibration_by_hz(hz: int, ms: int) -> None:
    k = make_kernel(TWO_SOCKETS, release="lpc2023")
    k.config = Config({**k.config, "CONFIG_HZ": hz})
    boot(k)
    spent = k.ledger.total_ns("delay_calibration_ns") / 1e6
    assert ms - 1000 / hz <= spent <= ms
    assert k.ledger.count("delay_calibration_ns") == k.ledger.total_ns("delay_calibration_ns")


def test_package_rule_calibrates_once_a_further_socket() -> None:
    k = run(TWO_SOCKETS, release="lpc2023")
    fine = 2_073_049 * 4
    assert k.cpus.lpj == {0: fine, 1: fine, 2: fine + 1, 3: fine + 1}


def test_cpu0_rule_never_calibrates() -> None:
    k = run(TWO_SOCKETS)
    assert k.ledger.count("delay_calibration_ns") == 0
    assert len(set(k.cpus.lpj.values())) == 1


def test_cpu0_rule_needs_a_stable_tsc() -> None:
    k = run(TWO_SOCKETS, "tsc=unstable")
    assert 60e6 < k.ledger.total_ns("delay_calibration_ns") <= 80e6  # socket 1 only: the package rule holds


def test_without_constant_tsc_every_cpu_calibrates() -> None:
    features = ["fpu", "tsc", "msr", "apic", "ht", "lm"]
    spec = CpuSpec(count=3, cores=3, vendor="AuthenticAMD", family=0xF, model=0x6B, features=features)
    assert 2 * 76e6 < run(spec).ledger.total_ns("delay_calibration_ns") <= 2 * 80e6


def test_total_line_of_the_talk() -> None:
    spec = CpuSpec(
        count=128, sockets=2, cores=32, threads=2, tsc_khz=2_073_049, crystal_hz=25_000_000, enumeration="threads-last"
    )
    k = run(spec, release="lpc2023")
    assert texts(k)[-1] == "smpboot: Total of 128 processors activated (530700.57 BogoMIPS)"


def test_without_a_counter_the_delay_loop_is_measured_against_ticks() -> None:
    k = make_kernel(CpuSpec(count=1, sockets=1, tsc_khz=2_000_000))
    early_cpu_init(k)
    clock = k.machine.clock
    found: list[int] = []

    def run():
        found.append((yield from calibrate_delay_converge(k, 0, k.machine.boot_cpu)))

    started = clock.now
    clock.wait(clock.process(run()))
    exact = 2_000_000 * 1000 // 250
    assert exact * (1 - 1 / 256) <= found[0] <= exact
    assert clock.now - started < 2 * 4_000_000 * 20  # a tick to find the range, two for each halving
