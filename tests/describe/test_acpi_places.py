"""Tables whose places nobody knows get some, without lying on each other."""

from __future__ import annotations

import itertools
from pathlib import Path

from hw.acpi.spec import AcpiSpec
from hw.spec import MemoryRange
from minikern.describe.acpi_places import madt_ioapics, placed_acpi
from minikern.describe.acpidump import dat_tables
from minikern.describe.capture import spec_from_capture
from minikern.describe.presets import load_preset
from minikern.lab.run import boot
from minikern.report.machine_files import dump_machine

RAM, RESERVED, ACPI_DATA = 1, 2, 3


def dumped(folder: Path) -> Path:
    dump_machine(boot(load_preset("tiny"), release="debian-6.12"), folder)
    return folder


def spans(spec: AcpiSpec) -> list[tuple[int, int]]:
    return sorted((table.address, table.address + len(table.data)) for table in spec.raw)


def test_a_capture_whose_log_has_rotated_keeps_acpi_and_its_cpus(tmp_path: Path) -> None:
    folder = dumped(tmp_path)
    whole = boot(spec_from_capture(folder))
    (folder / "dmesg.txt").unlink()
    spec = spec_from_capture(folder)
    assert any("places of" in note and "as the log does not tell them" in note for note in spec.notes)
    taken = spans(spec.acpi)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(taken))
    done = boot(spec)
    assert len(done.kernel.cpus.online) == len(whole.kernel.cpus.online) == 2
    lines = [
        [line.text for line in one.kernel.log.lines if "APIC[" in line.text or "PCI" in line.text]
        for one in (done, whole)
    ]
    assert lines[0] == lines[1]


def test_without_room_there_is_none(tmp_path: Path) -> None:
    tables = dat_tables(dumped(tmp_path))
    assert placed_acpi(tables, [MemoryRange(0, 1 << 30, RAM)]) is None
    assert placed_acpi(tables, [MemoryRange(1 << 30, (1 << 30) + 64, ACPI_DATA)]) is None
    assert placed_acpi([], [MemoryRange(1 << 30, (1 << 30) + 64, ACPI_DATA)]) is None
    assert dat_tables(tmp_path / "nothing") == []


def test_reserved_memory_beside_the_told_places_is_taken(tmp_path: Path) -> None:
    tables = dat_tables(dumped(tmp_path))
    told = spec_from_capture(tmp_path).acpi
    dsdt = next(table.address for table in told.raw if table.signature == "DSDT")
    spec = placed_acpi(tables, [MemoryRange(dsdt & ~0xFFFF, (dsdt & ~0xFFFF) + (1 << 20), RESERVED)])
    assert spec is not None and next(table.address for table in spec.raw if table.signature == "DSDT") == dsdt


def test_pins_follow_from_the_next_one() -> None:
    def entry(number: int, address: int, base: int) -> bytes:
        return bytes((1, 12, number, 0)) + address.to_bytes(4, "little") + base.to_bytes(4, "little")

    madt = bytes(44) + entry(9, 0xFEC01000, 24) + entry(8, 0xFEC00000, 0) + bytes((1, 1))
    found = madt_ioapics(madt)
    assert [(io.id, io.address, io.gsi_base, io.pins) for io in found] == [
        (8, 0xFEC00000, 0, 24), (9, 0xFEC01000, 24, 24)
    ]  # fmt: skip
    assert madt_ioapics(b"") == []
