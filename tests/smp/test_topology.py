"""Enumeration: CPU numbers, places, limits and their lines."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.spec import CpuSpec
from minikern.init.params import parse_early_param
from minikern.smp.cpuinfo import cpu_info_text, decode_signature, early_cpu_init, identify_cpu
from minikern.smp.topology import Shifts, detect_shifts, get_count_order, topology_init
from minikern.state.acpi import LapicEntry
from tests.smp.harness import Board, fadt_bytes, make_kernel, texts

DATA = Path(__file__).parent / "data"
SMP8 = CpuSpec(count=8, sockets=2, cores=2, threads=2)


def captured(name: str, prefix: str) -> list[str]:
    lines = (DATA / f"{name}.txt").read_text().splitlines()
    return [line for line in lines if line.startswith(prefix)]


def topo(spec: CpuSpec, append: str = "", **options):
    k = make_kernel(spec, append, **options)
    parse_early_param(k)
    topology_init(k)
    return k


@pytest.mark.parametrize(
    ("spec", "capture"),
    [
        (SMP8, "q35-numa2-smp8-612"),
        (CpuSpec(count=2, sockets=1, cores=2), "q35-6g-hotplug-612"),
    ],
)
def test_topology_lines_of_captures(spec: CpuSpec, capture: str) -> None:
    assert texts(topo(spec)) == captured(capture, "CPU topo:")


@pytest.mark.parametrize(("count", "capture"), [(8, "q35-numa2-smp8"), (2, "q35-2cpu-2g"), (1, "pc-1cpu-512m")])
def test_old_line_of_captures(count: int, capture: str) -> None:
    k = topo(CpuSpec(count=count), release="debian-6.1")
    assert texts(k) == captured(capture, "smpboot: Allowing")


def test_cpus_are_numbered_in_madt_order_with_the_boot_cpu_first() -> None:
    k = make_kernel(SMP8)
    entries = [LapicEntry(apic_id, n, True, True) for n, apic_id in enumerate([6, 4, 2, 0, 7, 5, 3, 1])]
    k.acpi.lapics = entries
    maps = topology_init(k)
    assert list(maps.apic_id.values()) == [0, 6, 4, 2, 7, 5, 3, 1]
    assert maps.node == {0: 0, 1: 1, 2: 1, 3: 0, 4: 1, 5: 1, 6: 0, 7: 0}
    assert [maps.is_primary_thread(cpu) for cpu in maps.possible] == [True] * 4 + [False] * 4


def test_duplicate_and_unusable_entries_are_passed_over() -> None:
    k = make_kernel(SMP8)
    k.acpi.lapics = [
        LapicEntry(0, 0, True, True),
        LapicEntry(2, 1, True, True),
        LapicEntry(2, 2, True, True),
        LapicEntry(3, 3, False, False),
    ]
    assert list(topology_init(k).apic_id.values()) == [0, 2]


SLOTS = [LapicEntry(0, 0, True, True), LapicEntry(4, 1, False, True), LapicEntry(1, 2, False, False)]


def test_hotplug_slots_become_possible() -> None:
    k = make_kernel(SMP8)
    k.acpi.lapics = SLOTS
    maps = topology_init(k)
    assert (maps.possible, maps.present) == ([0, 1], [0])
    assert texts(k)[0] == "CPU topo: Max. logical packages:   2"
    assert texts(k)[-1] == "CPU topo: Allowing 1 present CPUs plus 1 hotplug CPUs"
    old = make_kernel(SMP8, release="debian-6.1")
    old.acpi.lapics = SLOTS
    assert topology_init(old).possible == [0, 1]
    assert texts(old) == ["smpboot: Allowing 2 CPUs, 1 hotplug CPUs"]


@pytest.mark.parametrize(("vendor", "possible"), [(b"", 1), (b"TCGTCGTCGTCG", 1), (b"KVMKVMKVM\0\0\0", 3)])
def test_before_acpi_6_3_disabled_entries_are_slots_in_guests_only(vendor: bytes, possible: int) -> None:
    k = make_kernel(SMP8)
    k.acpi.lapics = SLOTS
    k.acpi.table = {"FACP": fadt_bytes(3, 0)}.get
    cpu = k.machine.boot_cpu
    if vendor:
        leaf1 = cpu.cpuid(1)
        cpu._cpuid[1, 0] = leaf1._replace(ecx=leaf1.ecx | 1 << 31)
        ebx, ecx, edx = (int.from_bytes(vendor[at : at + 4], "little") for at in (0, 4, 8))
        cpu._cpuid[0x40000000, 0] = leaf1._replace(eax=0x40000000, ebx=ebx, ecx=ecx, edx=edx)
    early_cpu_init(k)
    assert len(topology_init(k).possible) == possible


def test_slots_beyond_the_limit_are_rejected() -> None:
    k = topo(SMP8, "nr_cpus=1", lapics=SLOTS)
    assert k.cpus.possible == [0]
    assert texts(k)[0] == "CPU topo: CPU limit of 1 reached. Ignoring further CPUs"
    assert texts(k)[-1] == "CPU topo: Rejected CPUs 1"


@pytest.mark.parametrize(
    ("append", "possible", "lines"),
    [
        ("nr_cpus=4", 4, ["CPU topo: CPU limit of 4 reached.", "CPU topo: Rejected CPUs 4"]),
        ("nr_cpus=4 possible_cpus=3", 3, ["CPU topo: Limiting to 3 possible CPUs"]),
        ("noapic", 8, ["CPU topo: Allowing 8 present CPUs plus 0"]),
        ("nolapic", 1, ["CPU topo: Limiting to 1 possible CPUs", "CPU topo: Max. logical packages:   1"]),
        ("possible_cpus=2", 2, ["CPU topo: Limiting to 2 possible CPUs"]),
        ("possible_cpus=-3", 8, []),
        ("nosmp", 1, ["CPU topo: Limiting to 1 possible CPUs", "CPU topo: Allowing 1 present"]),
        ("maxcpus=0", 1, ["CPU topo: Limiting to 1 possible CPUs"]),
        ("maxcpus=3", 8, ["CPU topo: Allowing 8 present CPUs plus 0"]),
        ("nr_cpus=0", 8, []),
        ("nr_cpus=99999", 8, []),
    ],
)
def test_limits_new(append: str, possible: int, lines: list[str]) -> None:
    k = topo(SMP8, append)
    assert len(k.cpus.possible) == possible
    for line in lines:
        assert any(text.startswith(line) for text in texts(k)), (line, texts(k))


@pytest.mark.parametrize(
    ("append", "possible", "line"),
    [
        ("nr_cpus=6", 6, "APIC: NR_CPUS/possible_cpus limit of 6 reached. Processor 7/0x7 ignored."),
        ("possible_cpus=2", 2, "smpboot: Allowing 2 CPUs, 0 hotplug CPUs"),
        ("possible_cpus=10", 10, "smpboot: Allowing 10 CPUs, 2 hotplug CPUs"),
        ("nosmp", 1, "smpboot: 8 Processors exceeds max_cpus limit of 0"),
    ],
)
def test_limits_old(append: str, possible: int, line: str) -> None:
    k = topo(SMP8, append, release="debian-6.1")
    assert len(k.cpus.possible) == possible
    assert line in texts(k)


def test_old_kernels_keep_a_slot_for_a_boot_cpu_listed_late() -> None:
    lapics = [LapicEntry(apic_id, n, True, True) for n, apic_id in enumerate([1, 2, 0])]
    k = topo(SMP8, "nr_cpus=2", release="debian-6.1", lapics=lapics)
    assert list(k.cpus.apic_id.values()) == [0, 1]
    assert texts(k)[0] == (
        "APIC: NR_CPUS/possible_cpus limit of 2 almost reached. Keeping one slot for boot cpu. "
        " Processor 1/0x2 ignored."
    )


def test_large_apic_ids_need_x2apic() -> None:
    spec = CpuSpec(count=4)
    k = make_kernel(spec)
    k.acpi.lapics = [LapicEntry(0, 0, True, True), LapicEntry(300, 1, True, True)]
    assert topology_init(k).present == [0]
    assert "ACPI: x2apic entry ignored" in texts(k)


def test_cpus_without_a_node_are_dealt_round_robin() -> None:
    k = make_kernel(SMP8)
    k.numa = SimpleNamespace(apic_to_node=lambda apic_id: -1)  # type: ignore[assignment]
    assert topology_init(k).node == {cpu: cpu % 2 for cpu in range(8)}


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(1, 9), st.integers(1, 2), st.sampled_from(["GenuineIntel", "AuthenticAMD"]))
def test_places_agree_with_the_machine(sockets: int, cores: int, threads: int, vendor: str) -> None:
    family = 6 if vendor == "GenuineIntel" else 0x19
    spec = CpuSpec(
        count=sockets * cores * threads, sockets=sockets, cores=cores, threads=threads, vendor=vendor, family=family
    )
    maps = topo(spec).cpus
    for cpu, place in enumerate(spec.topology()):
        ours = maps.ids[cpu]
        assert (ours.package, ours.core, ours.thread) == (place.package, place.core, place.thread)
    if threads > 1:
        assert maps.topo.threads_per_core >= threads


class FakeCpu:
    """CPUID by a table."""

    def __init__(self, leaves: dict[tuple[int, int], tuple[int, int, int, int]]) -> None:
        self.leaves = leaves

    def cpuid(self, leaf: int, subleaf: int = 0) -> SimpleNamespace:
        eax, ebx, ecx, edx = self.leaves.get((leaf, subleaf), (0, 0, 0, 0))
        return SimpleNamespace(eax=eax, ebx=ebx, ecx=ecx, edx=edx)


@pytest.mark.parametrize(
    ("leaves", "expected"),
    [
        ({(0, 0): (1, 0, 0, 0), (1, 0): (0, 1 << 16, 0, 0)}, Shifts(0, 0, 0)),
        ({(0, 0): (4, 0, 0, 0), (1, 0): (0, 8 << 16, 0, 1 << 28), (4, 0): (3 << 26, 0, 0, 0)}, Shifts(1, 3, 3)),
        ({(0, 0): (1, 0x68747541, 0, 0), (0x80000000, 0): (0x80000008,) * 4, (0x80000008, 0): (0, 0, 0x3007, 0)},
         Shifts(0, 3, 3)),
        ({(0, 0): (0x1F, 0, 0, 0), (0x1F, 0): (1, 2, 0x100, 0), (0x1F, 1): (4, 8, 0x201, 0),
          (0x1F, 2): (6, 32, 0x502, 0)}, Shifts(1, 4, 6)),
        ({(0, 0): (0x1F, 0, 0, 0), (0x1F, 0): (1, 2, 0x100, 0), (0x1F, 1): (3, 8, 0x201, 0),
          (0x1F, 2): (4, 16, 0x302, 0)}, Shifts(1, 4, 4)),
    ],
)  # fmt: skip
def test_field_widths(leaves: dict, expected: Shifts) -> None:
    assert detect_shifts(FakeCpu(leaves)) == expected  # type: ignore[arg-type]


def test_count_order() -> None:
    assert [get_count_order(n) for n in (0, 1, 2, 3, 4, 5, 64, 65)] == [0, 0, 1, 2, 2, 3, 6, 7]


@pytest.mark.parametrize(
    ("signature", "expected"), [(0x50654, (6, 0x55, 4)), (0x60FB1, (0xF, 0x6B, 1)), (0xA20F10, (0x19, 0x21, 0))]
)
def test_signatures(signature: int, expected: tuple[int, int, int]) -> None:
    assert decode_signature(signature) == expected


@pytest.mark.parametrize(
    ("vendor", "family", "model", "stepping", "name", "capture"),
    [
        ("GenuineIntel", 6, 0x55, 4, "Intel Xeon Processor (Skylake)", "q35-numa2-smp8"),
        ("AuthenticAMD", 0xF, 0x6B, 1, "QEMU TCG CPU version 2.5+", "q35-2cpu-2g"),
    ],
)
def test_cpu0_line(vendor: str, family: int, model: int, stepping: int, name: str, capture: str) -> None:
    spec = CpuSpec(count=1, vendor=vendor, family=family, model=model, stepping=stepping, model_name=name)
    text = cpu_info_text(identify_cpu(Board(spec).boot_cpu))
    assert f"smpboot: CPU0: {text}" in captured(capture, "smpboot: CPU0")


def test_cpu_without_a_name() -> None:
    info = identify_cpu(Board(CpuSpec(count=1, model_name="")).boot_cpu)
    assert cpu_info_text(info).startswith("Intel 686 (family: 0x6,")


def test_the_command_line_word_wins_last() -> None:
    assert topo(SMP8, "maxcpus=3 maxcpus=5").cpus.setup_max_cpus == 5
