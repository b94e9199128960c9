"""Bring-up: lines, order, both schemes, failures, costs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.cpu import RunState
from hw.cpuid import DEFAULT_FEATURES
from hw.errors import MachineStopped
from hw.spec import CpuSpec
from minikern.core.kernel import Kernel
from minikern.mm.page.mmzone import Pglist
from minikern.smp.states import TABLES, by_kind
from minikern.smp.trampoline import install_trampoline
from minikern.state.acpi import LapicEntry
from tests import naive_smp
from tests.smp.harness import LPC2023_COSTS, Board, boot, final_state, make_kernel, run, smp_ms, texts

DATA = Path(__file__).parent / "data"
URL = "See https://www.kernel.org/doc/html/latest/admin-guide/hw-vuln/"
SMT_LINES = [
    f"MDS CPU bug present and SMT on, data leak possible. {URL}mds.html for more details.",
    f"MMIO Stale Data CPU bug present and SMT on, data leak possible. {URL}processor_mmio_stale_data.html"
    " for more details.",
]
SKYLAKE_FEATURES = ["fpu", "tsc", "msr", "apic", "ht", "nx", "lm", "constant_tsc"]
SMP8 = CpuSpec(
    count=8, sockets=2, cores=2, threads=2, model=0x55, stepping=4, model_name="Intel Xeon Processor (Skylake)",
    features=SKYLAKE_FEATURES, tsc_khz=2_445_414,
)  # fmt: skip
TALK = CpuSpec(count=128, sockets=2, cores=32, threads=2, tsc_khz=2_073_049, enumeration="threads-last")
PUBLISHED = CpuSpec(count=112, sockets=2, cores=28, threads=2, enumeration="threads-last")
FOUR = CpuSpec(count=4, cores=4)


def smp_lines(lines: list[str]) -> list[str]:
    kept = re.compile(
        r"smpboot: (Allowing|Max|CPU|Total)|CPU topo|smp: |(smpboot: )?x86: B|\.\.\.\. node| +#"
        r"|(MDS|MMIO Stale Data) CPU bug"
    )
    return [re.sub(r"\(\d+\.\d+ Bogo", "(N Bogo", line.rstrip()) for line in lines if kept.match(line)]


def captured(name: str) -> list[str]:
    return smp_lines((DATA / f"{name}.txt").read_text().splitlines())


@pytest.mark.parametrize(
    ("capture", "release", "spec"),
    [
        ("q35-numa2-smp8", "debian-6.1", SMP8),
        ("q35-numa2-smp8-612", "debian-6.12", SMP8),
        ("q35-2cpu-2g", "debian-6.1", CpuSpec(
            count=2, cores=2, vendor="AuthenticAMD", family=0xF, model=0x6B, stepping=1,
            model_name="QEMU TCG CPU version 2.5+", features=SKYLAKE_FEATURES[:-1])),
        ("q35-6g-hotplug-612", "debian-6.12", CpuSpec(
            count=2, cores=2, vendor="AuthenticAMD", family=0xF, model=0x6B, stepping=1,
            model_name="QEMU TCG CPU version 2.5+", features=SKYLAKE_FEATURES[:-1])),
        ("pc-1cpu-512m", "debian-6.1", CpuSpec(
            count=1, vendor="AuthenticAMD", family=0xF, model=0x6B, stepping=1,
            model_name="QEMU Virtual CPU version 2.5+", features=SKYLAKE_FEATURES[:-1])),
    ],
)  # fmt: skip
def test_lines_of_captures(capture: str, release: str, spec: CpuSpec) -> None:
    k = run(spec, release=release)
    assert smp_lines(texts(k)) == captured(capture)


def node_lines(k: Kernel) -> list[str]:
    return [line for line in texts(k) if line.startswith("....")]


def test_padding_for_128_cpus() -> None:
    lines = node_lines(run(TALK, "maxcpus=128", behaviour={"delay_reuse": "cpu0"}))
    spans = [(0, range(1, 32)), (1, range(32, 64)), (0, range(64, 96)), (1, range(96, 128))]
    assert lines == [
        naive_smp.list_line(node, 2, list(cpus), 128, first=number == 0) for number, (node, cpus) in enumerate(spans)
    ]
    assert lines[0].startswith(".... node  #0, CPUs:          #1   #2   #3")
    assert lines[1].startswith(".... node  #1, CPUs:    #32  #33")


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 2), st.sampled_from(["debian-6.1", "debian-6.12"]))
def test_list_lines_by_columns(sockets: int, cores: int, threads: int, release: str) -> None:
    count = sockets * cores * threads
    k = run(CpuSpec(count=count, sockets=sockets, cores=cores, threads=threads), release=release)
    assert k.cpus.online == list(range(count))
    first = True
    for line in node_lines(k):
        cpus = [int(number) for number in re.findall(r" #(\d+)", line.partition("CPUs:")[2])]
        node = k.cpus.node[cpus[0]]
        assert line == naive_smp.list_line(node, sockets, cpus, count, first)
        first = False


@pytest.mark.parametrize("spec", [SMP8, TALK, FOUR, CpuSpec(count=24, sockets=3, cores=4, threads=2, x2apic=True)])
def test_the_order_of_starting_leaves_no_trace(spec: CpuSpec) -> None:
    old = run(spec, release="debian-6.1")
    parallel = run(spec)
    serial = run(spec, "cpuhp.parallel=0")
    assert final_state(parallel) == final_state(serial) == final_state(old)
    assert set(parallel.cpus.state.values()) == {"ONLINE"}
    assert all(cpu.state is RunState.HALTED for nr, cpu in parallel.cpus.hardware.items() if nr)


def test_parallel_starts_first_threads_first() -> None:
    order = [int(n) for line in node_lines(run(SMP8)) for n in re.findall(r" #(\d+)", line.partition("CPUs:")[2])]
    assert order == [2, 4, 6, 1, 3, 5, 7]


def test_same_machine_same_log() -> None:
    def log() -> list[tuple[int, str]]:
        return [(line.at_ns, line.text) for line in run(TALK, release="lpc2023", costs=LPC2023_COSTS).log.lines]

    assert log() == log()


@pytest.mark.parametrize(
    ("append", "behaviour", "ms", "tolerance"),
    [
        ("", {"smp_scheme": "serial-old", "delay_reuse": "package"}, 912.1, 0.08),
        ("", {"smp_scheme": "serial-old", "delay_reuse": "cpu0"}, 785.96, 0.08),
        ("", {}, 84.3, 0.05),
        ("tsc=reliable", {}, 64.2, 0.05),
    ],
)
def test_published_measurements(append: str, behaviour: dict[str, str], ms: float, tolerance: float) -> None:
    assert smp_ms(run(PUBLISHED, append, behaviour=behaviour)) == pytest.approx(ms, rel=tolerance)


def test_serial_figures_of_the_talk() -> None:
    k = run(TALK, release="lpc2023", costs=LPC2023_COSTS)
    assert smp_ms(k) == pytest.approx(1700, rel=0.08)
    assert k.ledger.count("tsc_sync_ms") == 20
    assert 76e6 < k.ledger.total_ns("delay_calibration_ns") <= 80e6
    start = {n: k.log.find(f".... node  #{n}") for n in (0, 1)}
    assert start[0] is not None and start[1] is not None
    assert (start[1].at_ns - start[0].at_ns) / 31e6 == pytest.approx(12.67, rel=0.02)


def test_parallel_figure_of_the_talk_follows_from_the_same_costs() -> None:
    behaviour = {"smp_scheme": "split", "delay_reuse": "cpu0"}
    k = run(TALK, release="lpc2023", costs=LPC2023_COSTS, behaviour=behaviour)
    assert smp_ms(k) == pytest.approx(60, rel=0.15)


def test_what_is_booked_on_the_boot_cpu_is_the_time_that_passed() -> None:
    k = run(TALK)
    zero = [entry for entry in k.ledger.entries() if entry.cpu == 0 and entry.phase == "smp"]
    assert sum(entry.total_ns for entry in zero) == pytest.approx(smp_ms(k) * 1e6, abs=2000)


def test_a_thousand_cpus_in_parallel() -> None:
    spec = CpuSpec(count=1024, sockets=8, cores=64, threads=2, x2apic=True)
    k = make_kernel(spec)
    boot(k)
    assert len(k.cpus.online) == 1024
    assert node_lines(k)[0].startswith(".... node  #0, CPUs:            #2    #4")


@pytest.mark.parametrize("release", ["debian-6.1", "debian-6.12"])
@pytest.mark.parametrize(
    ("append", "online"),
    [
        ("maxcpus=1", [0]),
        ("maxcpus=3", [0, 1, 2]),
        ("nr_cpus=2", [0, 1]),
        ("maxcpus=0", [0]),
        ("nosmp", [0]),
        ("maxcpus=100", [0, 1, 2, 3]),
    ],
)
def test_limits(release: str, append: str, online: list[int]) -> None:
    k = run(FOUR, append, release=release)
    assert k.cpus.online == online
    assert ("smpboot: SMP disabled" in texts(k)) == (append in ("maxcpus=0", "nosmp"))
    plural = "s" if len(online) > 1 else ""
    assert f"smp: Brought up 1 node, {len(online)} CPU{plural}" in texts(k)


def test_maxcpus_counts_first_threads_before_siblings() -> None:
    assert run(SMP8, "maxcpus=2").cpus.online == [0, 2]
    assert run(SMP8, "maxcpus=5").cpus.online == [0, 1, 2, 4, 6]


@pytest.mark.parametrize("release", ["debian-6.1", "debian-6.12"])
@pytest.mark.parametrize("word", ["nosmt", "nosmt=force"])
def test_nosmt_boots_siblings_once_and_drops_them(release: str, word: str) -> None:
    k = run(SMP8, word, release=release)
    assert k.cpus.online == [0, 2, 4, 6]
    assert k.cpus.booted_once == set(range(8))
    line = "SMT: Force disabled" if word.endswith("force") else "SMT: disabled"
    assert next(text for text in texts(k) if "microcode" not in text) == line
    assert not set(SMT_LINES) & set(texts(k))


@pytest.mark.parametrize("release", ["debian-6.1", "debian-6.12"])
def test_dead_cpu_times_out_and_the_others_go_on(release: str) -> None:
    k = run(FOUR, release=release, board=Board(FOUR, dead={2: True}))
    assert k.cpus.online == [0, 1, 3]
    expected = {
        "debian-6.1": "smpboot: do_boot_cpu failed(-1) to wakeup CPU#2",
        "debian-6.12": "CPU2 failed to report alive state",
    }
    assert expected[release] in texts(k)
    assert 10_000 < smp_ms(k) < 10_100
    assert k.cpus.state[2] == "OFFLINE"


@pytest.mark.parametrize("release", ["debian-6.1", "debian-6.12"])
def test_listed_cpu_that_is_not_there(release: str) -> None:
    k = make_kernel(FOUR, release=release)
    k.acpi.lapics = [*k.acpi.lapics, LapicEntry(0x40, 9, True, True)]
    boot(k)
    assert k.cpus.online == [0, 1, 2, 3]
    assert "smpboot: APIC delivery error (4)" in texts(k)
    assert "smpboot: do_boot_cpu failed(4) to wakeup CPU#4" in texts(k)
    assert smp_ms(k) < 100


def test_lost_sipi() -> None:
    """A CPU started at a page that holds no code shuts down and is never seen."""
    k = make_kernel(FOUR)
    install = k.machine.install_code
    k.machine.install_code = lambda address, entry: install(address + 0x1000, entry)  # type: ignore[method-assign]
    boot(k)
    assert k.cpus.online == [0]
    assert [text for text in texts(k) if "alive" in text] == [
        f"CPU{cpu} failed to report alive state" for cpu in (1, 2, 3)
    ]


def test_started_cpu_that_nobody_listed_parks() -> None:
    k = make_kernel(FOUR)
    k.acpi.lapics = k.acpi.lapics[:3]
    boot(k)
    stranger = k.machine.cpus[3]
    stranger.startup(k.real_mode_base >> 12)
    k.machine.clock.advance(50_000_000)
    assert stranger.state is RunState.HALTED
    assert k.cpus.online == [0, 1, 2]
    assert 3 not in k.cpus.hardware


def test_wakeup_delays() -> None:
    def spent(spec: CpuSpec, append: str = "") -> float:
        return run(spec, append, release="debian-6.1").ledger.total_ns("udelay_us") / 1e6

    two = CpuSpec(count=2, cores=2)
    p4 = CpuSpec(count=2, cores=2, family=0xF, model=6)
    assert spent(two) == 0.04
    assert spent(p4) == 11.0
    assert spent(two, "cpu_init_udelay=10000") == 11.0
    assert spent(p4, "cpu_init_udelay=0") == 0.04
    assert spent(two, "cpu_init_udelay=-1") == spent(two, "")


@pytest.mark.parametrize(("features", "ms"), [(SKYLAKE_FEATURES, 100), ([*SKYLAKE_FEATURES, "tsc_deadline_timer"], 0)])
def test_apic_timer_calibration(features: list[str], ms: int) -> None:
    k = run(CpuSpec(count=1, features=features))
    assert ms <= k.ledger.total_ns("lapic_calibration_ns") / 1e6 <= ms + 4


def test_microcode_is_loaded_once_a_core() -> None:
    k = run(SMP8)
    assert (k.ledger.count("microcode_load"), k.ledger.count("microcode_check")) == (4, 4)
    assert run(SMP8, "dis_ucode_ldr").ledger.count("microcode_load") == 0


def test_first_sibling_pays_for_the_static_key_once() -> None:
    assert run(SMP8).ledger.count("first_sibling_static_key") == 1
    assert run(FOUR).ledger.count("first_sibling_static_key") == 0


def test_converted_packages_are_told_by_old_kernels() -> None:
    k = make_kernel(SMP8, release="debian-6.1")
    k.acpi.lapics = k.acpi.lapics[:1] + k.acpi.lapics[4:]
    boot(k)
    assert "smpboot: CPU 1 Converting physical 0 to logical die 1" in texts(k)
    assert not any("Converting" in line for line in texts(run(SMP8)))


def test_trampoline_must_be_reachable() -> None:
    k = make_kernel(FOUR)
    k.real_mode_base = 0
    with pytest.raises(MachineStopped, match="trampoline was not allocated"):
        install_trampoline(k, lambda nr, cpu: iter(()))  # type: ignore[arg-type, return-value]
    for base in (0x99800, 0x100000):
        k.real_mode_base = base
        with pytest.raises(ValueError, match="below 1 MiB"):
            install_trampoline(k, lambda nr, cpu: iter(()))  # type: ignore[arg-type, return-value]


def test_state_tables() -> None:
    for table in TABLES.values():
        names = table.names()
        assert len(set(names)) == len(names)
        assert names[0] == "OFFLINE" and names[-1] == "ONLINE"
        assert table.position("BRINGUP_CPU") < table.position("AP_ONLINE") < table.position("AP_ACTIVE")
        for section in (table.prepare, table.starting, table.online):
            assert sum(count for _, count in by_kind(section)) == sum(bool(state.kind) for state in section)
    assert "BP_KICK_AP" in TABLES["split"].names()
    assert "BP_KICK_AP" not in TABLES["serial-old"].names()


def test_every_kind_charged_is_declared() -> None:
    k = run(SMP8, release="debian-6.1", board=Board(SMP8, hpet=True))
    for entry in k.ledger.entries():
        assert k.unit_ns(entry.kind) >= 0


@pytest.mark.parametrize(("word", "release"), [("masked", "debian-6.1"), ("Masked", "debian-6.12")])
def test_with_verbose_apics_each_cpu_tells_of_its_pin(word: str, release: str) -> None:
    """As in logs of 5.10 and 6.0, where that splits the list of CPUs, and of 6.14, where CPUs are listed before."""
    lines = texts(run(FOUR, "apic=debug", release=release))
    assert [line for line in lines if "ExtINT" in line] == [f"{word} ExtINT on CPU#{cpu}" for cpu in (1, 2, 3)]
    assert (" #2" in lines) == (word == "masked")


def test_only_nodes_with_memory_or_cpus_are_brought_up() -> None:
    k = make_kernel(FOUR)
    k.nodes = [Pglist(0, 0, 0, []), Pglist(1, 0, 0, [])]
    assert "smp: Brought up 1 node, 4 CPUs" in texts(boot(k))


def test_a_model_name_keeps_the_blanks_within() -> None:
    k = make_kernel(CpuSpec(count=1, model_name="  Intel(R) CPU           X5650  @ 2.67GHz"))
    assert k.cpus.boot.model_name == "Intel(R) CPU           X5650  @ 2.67GHz"


@pytest.mark.parametrize(
    ("known", "warned"),
    [((), []), (("mds",), ["MDS"]), (("mds", "taa", "mmio_stale"), ["MDS", "TAA", "MMIO Stale Data"])],
)
def test_flaws_are_warned_about_once_a_kernel_knows_them(known: tuple[str, ...], warned: list[str]) -> None:
    spec = CpuSpec(count=2, threads=2, model=0x55, features=[*DEFAULT_FEATURES, "rtm"])
    behaviour = {f"{name}_known": name in known for name in ("mds", "taa", "mmio_stale")}
    lines = texts(boot(make_kernel(spec, behaviour=behaviour)))
    assert [line.split(" CPU bug")[0] for line in lines if "SMT on" in line] == warned
