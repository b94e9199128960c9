from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from hw.acpi import layout, static
from hw.acpi.layout import TableIds
from hw.acpi.spec import AcpiSpec, IoApicSpec, LapicNmi
from hw.acpi.tables import build_tables
from hw.errors import InputError
from hw.machine import Machine
from hw.spec import CpuSpec, MachineSpec
from tests.acpi.described import server
from tests.naive_acpi import checksum_ok

IDS = TableIds()


def built() -> list[tuple[int, bytes]]:
    spec, parts = server()
    return build_tables(spec, **parts)


def test_every_table_is_sound_and_in_its_place() -> None:
    end = 0
    for address, data in built()[1:]:
        assert address % 64 == 0
        assert address >= end
        end = address + len(data)
        assert int.from_bytes(data[4:8], "little") == len(data)
        if data[:4] != b"FACS":
            assert checksum_ok(data), data[:4]


def test_root_points_at_the_tables() -> None:
    placed = dict(built())
    rsdp = placed[0xF5A00]
    assert checksum_ok(rsdp[:20]) and checksum_ok(rsdp)
    xsdt = placed[layout.RSDP.get(rsdp, "xsdt")]
    entries = [int.from_bytes(xsdt[at : at + 8], "little") for at in range(36, len(xsdt), 8)]
    names = [placed[entry][:4].decode() for entry in entries]
    assert names == ["FACP", "APIC", "SRAT", "SLIT", "MCFG", "HPET", "DMAR", *["SSDT"] * 5, "OEM1", "OEM4"]
    fadt = placed[entries[0]]
    assert placed[layout.FADT_V6.get(fadt, "x_dsdt")][:4] == b"DSDT"
    assert placed[layout.FADT_V6.get(fadt, "x_facs")][:4] == b"FACS"


def test_old_firmware_has_rsdt_and_short_tables() -> None:
    cpus = CpuSpec(count=1).topology()
    spec = AcpiSpec(base=0x1000_0000, size=0x10000, rsdp_revision=0, fadt_revision=1, hpet_address=0)
    placed = build_tables(spec, cpus)
    names = {data[:4] for _, data in placed}
    assert b"RSDT" in names and b"XSDT" not in names and b"HPET" not in names
    assert len(placed[0][1]) == 20
    assert next(len(data) for _, data in placed if data[:4] == b"FACP") == 0x74


def test_region_too_small() -> None:
    spec, parts = server()
    spec.size = 0x2000
    with pytest.raises(InputError, match=r"table \w{4} \(\d+ bytes\) does not fit .* are needed"):
        build_tables(spec, **parts)


def test_no_region() -> None:
    with pytest.raises(InputError, match="no place for the tables"):
        build_tables(AcpiSpec())


def test_no_acpi() -> None:
    assert build_tables(AcpiSpec(enabled=False)) == []


def test_large_apic_ids_take_the_x2apic_form() -> None:
    cpus = CpuSpec(count=300, sockets=1, cores=300).topology()
    ioapics = [IoApicSpec(), IoApicSpec(9, 0xFEC0_1000, 24)]
    spec = AcpiSpec(lapic_nmis=[LapicNmi(0xFFFF_FFFF, x2apic=True)], ioapics=ioapics)
    data = static.madt(spec, cpus)
    kinds = []
    offset = 44
    while offset < len(data):
        kinds.append(data[offset])
        offset += data[offset + 1]
    assert kinds == [0] * 255 + [9] * 45 + [1, 1, 2, 2, 10]


def test_hotplug_slots_are_disabled_and_online_capable() -> None:
    data = static.madt(AcpiSpec(hotplug_cpus=2), CpuSpec(count=2, cores=2).topology())
    flags = [layout.MADT_LAPIC.get(data, "flags", 44 + 8 * number) for number in range(4)]
    assert flags == [1, 1, 2, 2]


def test_same_spec_gives_same_bytes() -> None:
    assert built() == built()


@pytest.mark.oracle
@pytest.mark.skipif(shutil.which("iasl") is None, reason="iasl (acpica-tools) is not installed")
def test_iasl_disassembles_every_table(tmp_path: Path) -> None:
    files = []
    for number, (_, data) in enumerate(built()[1:]):
        path = tmp_path / f"{number:02d}{data[:4].decode().lower()}.dat"
        path.write_bytes(data)
        files.append(path)
    for path in files:
        run = subprocess.run(["iasl", "-d", path.name], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        said = run.stdout + run.stderr
        assert run.returncode == 0, said
        assert not re.search(r"error|warning|\*\*\*\*", said, re.IGNORECASE), said
        text = path.with_suffix(".dsl").read_text()
        assert "Invalid" not in text and "Incorrect checksum" not in text and "Unknown" not in text, path


@pytest.mark.oracle
@pytest.mark.skipif(shutil.which("acpiexec") is None, reason="acpiexec (acpica-tools) is not installed")
def test_acpiexec_loads_the_aml(tmp_path: Path) -> None:
    names = []
    for number, (_, data) in enumerate(built()):
        if data[:4] in (b"DSDT", b"SSDT"):
            (tmp_path / f"{number:02d}.dat").write_bytes(data)
            names.append(f"{number:02d}.dat")
    run = subprocess.run(["acpiexec", "-b", "quit", *names], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    said = run.stdout + run.stderr
    assert "6 ACPI AML tables successfully acquired and loaded" in said
    assert "ACPI Error" not in said and "AE_" not in said, said[-2000:]


def test_ids_that_fit_the_short_form_are_not_lost_beside_numbers_that_do_not() -> None:
    """Linux passes over long entries of ids below 255 if there is any short one."""
    places = CpuSpec(count=384, sockets=2, cores=96, threads=2, enumeration="threads-last").topology()
    data = static.madt(AcpiSpec(), places)
    kinds, at = Counter(), layout.MADT.size
    while at < len(data):
        kinds[data[at]] += 1
        at += data[at + 1]
    assert (kinds[0], kinds[9]) == (0, 384)
    assert static.madt(AcpiSpec(), places[:254])[layout.MADT.size] == 0


def test_a_large_machine_takes_more_memory_for_its_tables() -> None:
    spec = MachineSpec("big", CpuSpec(count=2048, sockets=2, threads=2), memory="8G", acpi=AcpiSpec(aml="server"))
    machine = Machine.power_on(spec)
    tables = [entry for entry in machine.spec.e820 if entry.type == 3]
    assert machine.spec.acpi.size > 1 << 20 and tables[0].start == machine.spec.acpi.base
    ram = [entry for entry in machine.spec.e820 if entry.type == 1]
    assert all(entry.end <= tables[0].start or entry.start >= tables[0].end for entry in ram)
