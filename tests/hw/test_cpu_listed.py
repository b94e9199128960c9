"""CPUs of a captured machine that were offline when it was captured."""

from __future__ import annotations

from hw.acpi.spec import AcpiSpec
from hw.acpi.static import madt
from hw.cpu_listed import add_listed_cpus, enabled_apic_ids, with_apic_id
from hw.machine import cpuid_tables
from hw.spec import CpuidDump, CpuSpec

FOUR = CpuSpec(count=4, sockets=1, cores=2, threads=2)


def seen(*numbers: int) -> CpuSpec:
    tables = [cpuid_tables(FOUR)[number] for number in numbers]
    dumps = [CpuidDump([(*key, *registers) for key, registers in leaves.items()]) for _, leaves in tables]
    return CpuSpec(count=len(tables), sockets=len(tables), cpuid=dumps, apic_ids=[number for number, _ in tables])


def listing() -> bytes:
    return madt(AcpiSpec(hotplug_cpus=2), FOUR.topology())


def test_offline_siblings_are_there() -> None:
    cpus = seen(0, 2)
    add_listed_cpus(cpus, listing(), "")
    assert cpus.apic_ids == [0, 2, 1, 3] and cpus.count == 4
    assert cpuid_tables(cpus)[2] == cpuid_tables(FOUR)[1]


def test_a_dead_cpu_stays_dead() -> None:
    for line in ("CPU1 failed to report alive state", "smpboot: do_boot_cpu failed(-1) to wakeup CPU#1"):
        cpus = seen(0, 2)
        add_listed_cpus(cpus, listing(), f"smp: Bringing up secondary CPUs ...\n{line}\n")
        assert cpus.apic_ids == [0, 2]


def test_hotplug_slots_and_damage() -> None:
    table = listing()
    assert enabled_apic_ids(table) == [0, 1, 2, 3]
    for end in range(len(table)):
        assert set(enabled_apic_ids(table[:end])) <= {0, 1, 2, 3}
    assert enabled_apic_ids(table[:44] + bytes(64)) == []


def test_leaves_that_carry_the_id() -> None:
    leaves = {(1, 0): (5, 0x01_00_08_00, 6, 7), (0xB, 0): (1, 2, 0x100, 1), (0xB, 2): (0, 0, 2, 1), (0x1F, 0): (0,) * 4}
    own = with_apic_id(leaves, 0x109)
    assert own == {
        (1, 0): (5, 0x09_00_08_00, 6, 7),
        (0xB, 0): (1, 2, 0x100, 0x109),
        (0xB, 2): (0, 0, 2, 0x109),
        (0x1F, 0): (0, 0, 0, 0),
    }
