"""Broken CPUs: messages and end states; nothing hangs."""

from __future__ import annotations

import os
import random

import pytest

from hw.cpu import RunState
from hw.errors import InputError
from hw.faults import FaultSpec, add_fault, cpu_faults
from hw.spec import CpuSpec
from minikern.core.kernel import Kernel
from minikern.lab.cpu_board import CpuLab, bring_up
from minikern.state.acpi import LapicEntry
from tests.smp.harness import Board, make_kernel
from tests.smp.harness import boot as boot_board

FOUR = CpuSpec(count=4, cores=4)
SMT = CpuSpec(count=4, cores=2, threads=2)
TWO = CpuSpec(count=4, sockets=2, cores=2, tsc_khz=2_100_000)
RELEASES = ["debian-6.1", "debian-6.12"]
FAILED = {
    "debian-6.1": "smpboot: do_boot_cpu failed(-1) to wakeup CPU#2",
    "debian-6.12": "CPU2 failed to report alive state",
}
MS = 1_000_000


def boot(spec: CpuSpec, *faults: str, release: str = "debian-6.12", append: str = "") -> Kernel:
    k = CpuLab(spec, release).boot(append=append, faults=faults_of(*faults), record=True)
    k.cpus.check()
    return k


def faults_of(*options: str) -> FaultSpec:
    faults = FaultSpec()
    for option in options:
        add_fault(faults, option)
    return faults


def texts(k: Kernel) -> list[str]:
    return [line.text for line in k.log.lines]


def smp_ms(k: Kernel) -> float:
    first, last = k.log.find("smp: Bringing up"), k.log.find("smp: Brought up")
    assert first and last
    return (last.at_ns - first.at_ns) / MS


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("fault", ["dead=2", "late=2"])
def test_a_cpu_that_does_not_answer_in_time_is_left_out(release: str, fault: str) -> None:
    k = boot(FOUR, fault, release=release)
    assert [text for text in texts(k) if "fail" in text] == [FAILED[release]]
    assert texts(k)[-1].startswith("smpboot: Total of 3 processors activated")
    assert k.cpus.online == [0, 1, 3]
    assert k.cpus.state[2] == "OFFLINE"
    assert 10_000 < smp_ms(k) < 10_100


@pytest.mark.parametrize("release", RELEASES)
def test_a_late_cpu_waits_for_a_word_that_never_comes(release: str) -> None:
    k = boot(FOUR, "late=3", release=release)
    assert k.cpus.online == [0, 1, 2]
    k.machine.clock.advance(5_000 * MS)
    assert k.machine.cpus[3].state is RunState.RUNNING  # spins on its state word
    assert k.cpus.online == [0, 1, 2]
    assert k.recorder is not None
    assert [mark.name for mark in k.recorder.marks if mark.cpu == 3][-1] == "ALIVE"


def test_in_the_serial_order_a_late_cpu_takes_the_number_of_another() -> None:
    """The control word names CPU 3 when CPU 2 at last looks at it; the real CPU 3 comes second and finds it taken."""
    k = boot(FOUR, "slow=2:10008", "slow=3:60", append="cpuhp.parallel=0")
    assert "CPU2 failed to report alive state" in texts(k)
    assert "[Firmware Bug]: CPU   3: APIC ID mismatch. Firmware: 0x0003 APIC: 0x0002" in texts(k)
    assert k.cpus.online == [0, 1, 3]
    assert k.cpus.hardware[3].index == 2
    k.machine.clock.advance(1_000 * MS)
    assert k.machine.cpus[3].state is RunState.RUNNING


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("append", ["", "cpuhp.parallel=0"])
def test_a_slow_cpu_only_takes_longer(release: str, append: str) -> None:
    healthy = boot(FOUR, release=release, append=append)
    slow = boot(FOUR, "slow=2:500", release=release, append=append)
    assert slow.cpus.online == [0, 1, 2, 3]
    assert texts(slow) == texts(healthy)
    assert 500 - 8 <= smp_ms(slow) - smp_ms(healthy) <= 504


def test_slow_cpus_wait_together_in_parallel_and_one_by_one_otherwise() -> None:
    assert 300 < smp_ms(boot(FOUR, "slow=1-3:300")) < 330
    assert 900 < smp_ms(boot(FOUR, "slow=1-3:300", append="cpuhp.parallel=0")) < 960


def test_listed_twice() -> None:
    new = boot(FOUR, "madt-twice=2")
    assert "CPU topo: Allowing 4 present CPUs plus 0 hotplug CPUs" in texts(new)
    assert new.cpus.online == [0, 1, 2, 3]
    old = boot(FOUR, "madt-twice=2", release="debian-6.1")
    assert "smpboot: Allowing 5 CPUs, 0 hotplug CPUs" in texts(old)
    assert (old.cpus.possible, old.cpus.online) == ([0, 1, 2, 3, 4], [0, 1, 2, 3])


@pytest.mark.parametrize("release", RELEASES)
def test_not_listed(release: str) -> None:
    k = boot(FOUR, "madt-missing=2", release=release)
    assert k.cpus.online == [0, 1, 2]
    assert [k.cpus.hardware[nr].index for nr in k.cpus.online] == [0, 1, 3]
    assert k.machine.cpus[2].state is RunState.WAIT_FOR_SIPI
    assert any("Allowing 3 " in text for text in texts(k))


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("seen", [True, False])
def test_an_id_nobody_has(release: str, seen: bool) -> None:
    """A local APIC that sees nobody take the message says so at once; a hypervisor's does not, and 10 s pass."""
    board = Board(CpuSpec(count=2, cores=2))
    board.apic_bus.reports_unaccepted = seen
    lapics = [LapicEntry(apic_id, apic_id, True, True) for apic_id in (0, 1, 5)]
    k = boot_board(make_kernel(CpuSpec(count=2, cores=2), release=release, lapics=lapics, board=board))
    kicked = ["smpboot: APIC delivery error (4)", "smpboot: do_boot_cpu failed(4) to wakeup CPU#2"]
    failed = [text for text in texts(k) if "fail" in text or "error" in text]
    if seen:  # the newer scheme tries again when the CPU's turn to come online is there
        assert failed == kicked * (1 if release == "debian-6.1" else 2)
    else:
        assert failed == [FAILED[release]]
    assert k.cpus.online == [0, 1] and (smp_ms(k) > 9_900) == (not seen)


def test_boot_cpu_not_listed() -> None:
    new = boot(FOUR, "madt-missing=0")
    at = texts(new).index("CPU topo: Boot CPU APIC ID not the first enumerated APIC ID: 0 != 1")
    assert texts(new)[at + 1] == "CPU topo: [Firmware Bug]: APIC enumeration order not specification compliant"
    assert new.cpus.online == [0, 1, 2, 3]
    old = boot(FOUR, "madt-missing=0", release="debian-6.1")
    assert "smpboot: weird, boot CPU (#0) not listed by the BIOS" in texts(old)
    assert "smpboot: Allowing 3 CPUs, 0 hotplug CPUs" in texts(old)


def test_skew_is_compensated_and_the_package_follows() -> None:
    k = boot(TWO, "tsc-skew=2-3:-9000")
    assert [text for text in texts(k) if "ADJUST" in text] == [
        "TSC ADJUST compensate: CPU2 observed 8790 warp. Adjust: 8790"
    ]
    assert k.cpus.tsc.adjust[3].adjusted == 8790 and not k.cpus.tsc.unstable


def test_drift_outruns_three_compensations() -> None:
    k = boot(TWO, "tsc-drift=2-3:200")
    first = next(at for at, text in enumerate(texts(k)) if "compensate" in text)
    lines = texts(k)[first:]
    assert [line.split(" warp")[0].rsplit(" ", 1)[0] for line in lines[:2]] == [
        "TSC ADJUST compensate: CPU2 observed"
    ] * 2
    assert lines[2] == "TSC synchronization [CPU#0 -> CPU#2]:"
    assert lines[3].startswith("Measured ")
    assert lines[4] == "tsc: Marking TSC unstable due to check_tsc_sync_source failed"
    assert k.cpus.online == [0, 1, 2, 3] and k.ledger.count("tsc_sync_ms") == 60


def test_the_verdict_on_the_tsc_comes_too_late_for_the_cpu_it_is_about() -> None:
    """The newer kernel leaves it to a worker, so CPU 2 still takes over CPU 0's delay calibration, and CPU 3
    CPU 2's.
    """
    k = boot(TWO, "tsc-drift=2-3:200")
    assert k.cpus.tsc.unstable and k.ledger.total_ns("delay_calibration_ns") == 0
    assert k.cpus.lpj[0] == k.cpus.lpj[2] == k.cpus.lpj[3]


def test_counters_that_cross_during_the_test_warp_randomly() -> None:
    healthy = CpuLab(TWO).boot(record=True)
    assert healthy.recorder is not None
    begin = next(span.start_ns for span in healthy.recorder.spans if span.kind == "tsc_sync_ms")
    ppm = 1000
    behind = round((begin + 10 * MS) * 2.1 * ppm / 1e6)  # level with the others in the middle of the 20 ms
    k = boot(TWO, f"tsc-drift=2-3:{ppm}", f"tsc-skew=2-3:{-behind}")
    at = texts(k).index("TSC warped randomly between CPUs")
    assert texts(k)[at - 2] == "TSC synchronization [CPU#0 -> CPU#2]:"
    assert not any("compensate" in text for text in texts(k))  # random warps are not tried again
    assert k.cpus.tsc.unstable == "check_tsc_sync_source failed"


@pytest.mark.parametrize(("append", "lines"), [("tsc=reliable", 0), ("tsc=unstable", 1)])
def test_where_the_sync_test_is_skipped_skew_goes_unseen(append: str, lines: int) -> None:
    k = boot(TWO, "tsc-skew=2-3:-9000", append=append)
    assert not any("warp" in text for text in texts(k))
    assert sum("unstable" in text for text in texts(k)) == lines


@pytest.mark.parametrize("release", RELEASES)
def test_a_sibling_that_needs_microcode_loads_it_itself(release: str) -> None:
    healthy, faulty = boot(SMT, release=release), boot(SMT, "microcode=3", release=release)
    assert (healthy.ledger.count("microcode_load"), faulty.ledger.count("microcode_load")) == (2, 3)
    assert len({cpu.microcode.revision for cpu in faulty.machine.cpus}) == 1
    assert texts(healthy) == texts(faulty)
    assert 6 < smp_ms(faulty) - smp_ms(healthy) < 13


def test_a_sibling_whose_primary_is_dead_loads_for_the_core() -> None:
    k = boot(SMT, "dead=2")
    assert k.cpus.online == [0, 1, 3]
    assert k.ledger.count("microcode_load") == 2  # the boot CPU's and this one
    assert k.machine.cpus[3].microcode.revision == k.machine.boot_cpu.microcode.revision


NO_LISTS = ["dead", "dead=", "dead=1:5", "late=1:2", "odd=1"]
NO_NUMBERS = ["slow=1", "slow=1:x", "slow=1:-5", "slow=1:nan", "tsc-skew=1:1.5"]


@pytest.mark.parametrize("option", NO_LISTS + NO_NUMBERS)
def test_options_that_make_no_sense_are_refused(option: str) -> None:
    with pytest.raises(InputError, match="--fault"):
        faults_of(option)


@pytest.mark.parametrize("option", ["dead=0", "dead=9", "slow=9:1", "madt-twice=9", "dead=x"])
def test_cpus_that_cannot_have_the_fault(option: str) -> None:
    with pytest.raises(InputError, match="faults"):
        CpuLab(FOUR).kernel(faults=faults_of(option))


def test_options_add_up() -> None:
    faults = faults_of("dead=1", "dead=2-3", "slow=1:15", "tsc-skew=1:-7", "tsc-drift=1:0.5")
    assert faults.dead == "1,2-3"
    one = cpu_faults(faults, 4)[1]
    assert (one.dead, one.startup_delay_ns, one.tsc_offset, one.drift_ppb) == (True, 15 * MS, -7, 500)


SPECS = [
    FOUR,
    SMT,
    TWO,
    CpuSpec(count=8, sockets=2, cores=2, threads=2, enumeration="threads-last"),
    CpuSpec(count=6, sockets=3, cores=2, tsc_adjust=False, model=0x55),
    CpuSpec(count=4, cores=2, threads=2, vendor="AuthenticAMD", family=0x17, model=0x31),
    CpuSpec(count=2, cores=2, family=0xF, model=6),
]
APPENDS = [
    "", "cpuhp.parallel=0", "maxcpus=2", "nr_cpus=3", "nosmt", "nosmp", "tsc=reliable", "tsc=unstable", "lpj=4000000",
    "cpu_init_udelay=10000", "dis_ucode_ldr", "possible_cpus=2",
]  # fmt: skip
KINDS = ["dead", "slow", "late", "madt-twice", "madt-missing", "tsc-skew", "tsc-drift", "microcode"]


def random_fault(rng: random.Random, count: int) -> str:
    kind = rng.choice(KINDS)
    first = rng.randrange(1 if kind == "dead" else 0, count)
    cpus = f"{first}-{rng.randrange(first, count)}" if rng.random() < 0.3 else str(first)
    parameter = {
        "slow": lambda: f":{10 ** rng.uniform(-3, 4.3):.3f}",
        "tsc-skew": lambda: f":{rng.choice([-1, 1]) * int(10 ** rng.uniform(0, 18))}",
        "tsc-drift": lambda: f":{rng.choice([-1, 1]) * 10 ** rng.uniform(-3, 5):.3f}",
    }.get(kind, lambda: "")()
    return f"{kind}={cpus}{parameter}"


def test_any_faults_in_any_timing_end_the_boot_in_order() -> None:
    """300 seeds, or as many as MINIKERN_FAULT_SWEEP says: 10000 take half a minute."""
    labs = {(at, release): CpuLab(spec, release) for at, spec in enumerate(SPECS) for release in RELEASES}
    for seed in range(int(os.environ.get("MINIKERN_FAULT_SWEEP", "300"))):
        rng = random.Random(seed)
        lab = labs[rng.choice(sorted(labs))]
        options = [random_fault(rng, lab.spec.count) for _ in range(rng.randint(1, 3))]
        words = " ".join(rng.sample(APPENDS, rng.choice([0, 1, 1, 2])))
        k = lab.kernel(append=words, faults=faults_of(*options), jitter=random.Random(seed))
        what = f"seed {seed}: {options} {words!r} {lab.release.name}"
        try:
            bring_up(k)
            k.cpus.check()
        except Exception as error:
            raise AssertionError(what) from error
        assert texts(k)[-1].startswith(f"smpboot: Total of {len(k.cpus.online)} processors activated"), what
        assert 0 in k.cpus.online, what
        chips = {k.cpus.hardware[nr].index for nr in k.cpus.online}
        assert len(chips) == len(k.cpus.online), what
        assert smp_ms(k) < 21_000 * lab.spec.count, what
        k.machine.clock.advance(30_000 * MS)  # whoever comes late now harms nobody
        k.cpus.check()
