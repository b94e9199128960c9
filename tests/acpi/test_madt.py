from __future__ import annotations

from typing import Any

import pytest

from hw.acpi import layout, static
from hw.acpi.layout import TableIds, sdt
from hw.acpi.spec import AcpiSpec, IoApicSpec, LapicNmi, Override
from hw.bus import Bus
from hw.spec import CpuSpec, NodeMemory
from minikern.acpi.srat import SratCpu, SratMemory, parse_slit, parse_srat
from minikern.smp.interrupt_mode import apic_set_verbosity
from minikern.smp.io_apic import isa_routes, setup_io_apic_irqs
from minikern.smp.madt import acpi_boot_init
from minikern.state.acpi import AcpiState, Table
from tests.acpi.support import FakeIoApic, SmallKernel, small_kernel


def kernel(madt: bytes, cmdline: str = "", ioapics: int = 2, **behaviour: Any) -> SmallKernel:
    bus = Bus()
    for number in range(ioapics):
        bus.map_mmio(0xFEC0_0000 + 0x1000 * number, 0x1000, FakeIoApic(0x20, 24 if number == 0 else 8))
    k = small_kernel(bus, cmdline, **behaviour)
    k.acpi = AcpiState(tables=[Table("APIC", 0x1000, len(madt), madt)])
    return k


def raw_madt(*entries: bytes) -> bytes:
    fixed = layout.MADT.pack(lapic_address=0xFEE0_0000)[36:]
    return sdt("APIC", 4, fixed + b"".join(entries), TableIds())


def lapic(uid: int, apic_id: int, flags: int = 1) -> bytes:
    return layout.MADT_LAPIC.pack(type=0, length=8, uid=uid, apic_id=apic_id, flags=flags)


def x2apic(uid: int, apic_id: int, flags: int = 1) -> bytes:
    return layout.MADT_X2APIC.pack(type=9, length=16, uid=uid, apic_id=apic_id, flags=flags)


def test_lines_and_registration() -> None:
    spec = AcpiSpec(
        ioapics=[IoApicSpec(8), IoApicSpec(9, 0xFEC0_1000, 24)],
        overrides=[Override(0, 2), Override(9, 9, 0xD), Override(5, 5, 0xF)],
        lapic_nmis=[LapicNmi(0, 5, 1), LapicNmi(0xFFFF_FFFF, 5, 1, x2apic=True)],
    )
    k = kernel(static.madt(spec, CpuSpec(count=2, cores=2).topology()))
    acpi_boot_init(k)
    assert k.lines == [
        "ACPI: X2APIC_NMI (uid[0xffffffff] high edge lint[0x1])",
        "ACPI: LAPIC_NMI (acpi_id[0x00] high edge lint[0x1])",
        "IOAPIC[0]: apic_id 8, version 32, address 0xfec00000, GSI 0-23",
        "IOAPIC[1]: apic_id 9, version 32, address 0xfec01000, GSI 24-31",
        "ACPI: INT_SRC_OVR (bus 0 bus_irq 0 global_irq 2 dfl dfl)",
        "ACPI: INT_SRC_OVR (bus 0 bus_irq 9 global_irq 9 high level)",
        "ACPI: INT_SRC_OVR (bus 0 bus_irq 5 global_irq 5 low level)",
        "ACPI: Using ACPI (MADT) for SMP configuration information",
    ]
    assert k.acpi.lapics == [(0, 0, True, False), (1, 1, True, False)]
    assert k.acpi.gsi_top == 32


def test_x2apic_entries_below_255_are_duplicates() -> None:
    k = kernel(raw_madt(lapic(0, 0), x2apic(0, 0), x2apic(1, 0x100), x2apic(2, 0xFFFF_FFFF), lapic(3, 0xFF)))
    acpi_boot_init(k)
    assert [entry.apic_id for entry in k.acpi.lapics] == [0, 0x100]


def test_only_x2apic_entries() -> None:
    k = kernel(raw_madt(x2apic(0, 0), x2apic(1, 2, 2)))
    acpi_boot_init(k)
    assert [(entry.apic_id, entry.enabled, entry.online_capable) for entry in k.acpi.lapics] == [
        (0, True, False),
        (2, False, True),
    ]


@pytest.mark.parametrize("broken", [b"\x07\x00", b"\x00\x01", b"\x00\x04\x00\x00", lapic(2, 2)[:5]])
def test_broken_entries_end_the_walk(broken: bytes) -> None:
    k = kernel(raw_madt(lapic(0, 0), broken))
    acpi_boot_init(k)
    assert [entry.apic_id for entry in k.acpi.lapics] == [0]
    assert any("Invalid zero length" in line or "rest of the table ignored" in line for line in k.lines)


def test_unknown_entries_are_skipped() -> None:
    k = kernel(raw_madt(b"\x7f\x06abcd", lapic(0, 3)))
    acpi_boot_init(k)
    assert k.acpi.lapics[0].apic_id == 3


def test_noapic() -> None:
    spec = AcpiSpec()
    k = kernel(static.madt(spec, CpuSpec(count=1).topology()), "noapic")
    acpi_boot_init(k)
    assert not k.acpi.have_ioapic
    assert k.lines[-2:] == [
        "ACPI: Skipping IOAPIC probe due to 'noapic' option.",
        "ACPI: Using ACPI for processor (LAPIC) configuration information",
    ]


def test_no_madt() -> None:
    k = kernel(b"")
    k.acpi.tables.clear()
    acpi_boot_init(k)
    assert k.lines == []


def test_ioapic_that_is_not_there_and_duplicate_ids() -> None:
    spec = AcpiSpec(ioapics=[IoApicSpec(3), IoApicSpec(3, 0xFEC0_1000, 24)])
    k = kernel(static.madt(spec, CpuSpec(count=1).topology()))
    acpi_boot_init(k)
    assert [entry.id for entry in k.acpi.ioapics] == [3, 0]
    k = kernel(static.madt(spec, CpuSpec(count=1).topology()), ioapics=0)
    k.machine.bus.map_mmio(0xFEC0_0000, 0x2000, FakeIoApic(0xFFFF_FFFF, 0x10000))
    acpi_boot_init(k)
    assert any("registers return all ones, skipping!" in line for line in k.lines)


def test_isa_routes() -> None:
    spec = AcpiSpec()
    k = kernel(static.madt(spec, CpuSpec(count=1).topology()))
    apic_set_verbosity(k, "verbose")
    acpi_boot_init(k)
    routes = isa_routes(k.acpi)
    assert routes[2].irq == 0 and routes[9].level and 0 not in routes
    assert sorted(route.irq for route in routes.values()) == [irq for irq in range(16) if irq != 2]
    setup_io_apic_irqs(k)
    assert "IOAPIC[0]: Preconfigured routing entry (0-9 -> IRQ 9 Level:1 ActiveLow:0)" in k.lines
    assert "apic 0 pin 23 not connected" in k.lines


def test_wording_of_older_kernels() -> None:
    """As boot logs of 5.4 and 5.10 have them."""
    nmi = LapicNmi(1, 0xF, 0xCC)
    spec = AcpiSpec(overrides=[Override(0, 2), Override(9, 9, 0xD)], lapic_nmis=[nmi])
    old = {"madt_lines": "bare", "ioapic_entry_lines": "Set", "ioapic_lines": "init"}
    k = kernel(static.madt(spec, CpuSpec(count=1).topology()), **old)
    apic_set_verbosity(k, "debug")
    acpi_boot_init(k)
    assert k.lines[:3] == [
        "ACPI: Local APIC address 0xfee00000",
        "ACPI: LAPIC_NMI (acpi_id[0x01] low level lint[0xcc])",
        "ACPI: NMI not connected to LINT 1!",
    ]
    assert k.lines[-3:] == [
        "ACPI: IRQ0 used by override.",
        "ACPI: IRQ9 used by override.",
        "Using ACPI (MADT) for SMP configuration information",
    ]
    k.cpus.apic_id, k.cpus.apic.driver = {0: 0x12}, "physical flat"
    setup_io_apic_irqs(k)
    assert "IOAPIC[0]: Set routing entry (0-2 -> 0x30 -> IRQ 0 Mode:0 Active:0 Dest:18)" in k.lines
    assert "IOAPIC[0]: Set routing entry (0-9 -> 0xef -> IRQ 9 Mode:1 Active:0 Dest:18)" in k.lines


def test_srat_round_trip() -> None:
    ids = TableIds()
    memory = [(0, NodeMemory(0, 1 << 31)), (0x1234, NodeMemory(1 << 32, 1 << 33, hotplug=True))]
    table = static.srat([(0, 0), (0x1234, 1), (1, 0x1FF)], memory, ids)
    assert parse_srat(table) == [
        SratCpu(0, 0, True, False),
        SratCpu(0x1234, 1, True, False),
        SratCpu(1, 0x1FF, True, True),
        SratMemory(0, 0, 1 << 31, True, False, False),
        SratMemory(0x1234, 1 << 32, 1 << 33, True, True, False),
    ]


def test_old_srat_has_narrow_domains() -> None:
    table = bytearray(static.srat([(0x1234, 1)], [], TableIds()))
    table[8] = 1
    assert parse_srat(bytes(table)) == [SratCpu(0x34, 1, True, False)]


@pytest.mark.parametrize("cut", [0, 10, 48, 50, 60])
def test_cut_srat(cut: int) -> None:
    table = static.srat([(0, 0), (1, 1)], [(0, NodeMemory(0, 4096))], TableIds())
    assert len(parse_srat(table[:cut])) < 3


def test_slit() -> None:
    table = static.slit([[10, 21], [22, 10]], TableIds())
    assert parse_slit(table) == [[10, 21], [22, 10]]
    assert parse_slit(table[:-1]) is None
    assert parse_slit(table[:36] + b"\xff" * 8 + table[44:]) is None
    assert parse_slit(b"") is None
