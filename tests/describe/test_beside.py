"""An ACPI dump, an lspci dump and a configuration beside a log."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hw.errors import InputError
from hw.pci.spec import BarSpec, PciFunctionSpec
from minikern.describe.acpidump import DumpedTable, write_acpidump
from minikern.describe.beside import Beside, lay_over
from minikern.describe.case import Case
from minikern.describe.pci_sizes import told_sizes, with_sizes
from minikern.describe.presets import load_machine, load_preset
from minikern.lab.run import boot
from minikern.report.dmesg import format_dmesg
from minikern.report.machine_files import dump_machine


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("laptop")
    done = boot(load_preset("laptop"), release="debian-6.12")
    dump_machine(done, made)
    (made / "log.txt").write_text(format_dmesg(done.kernel))
    return made


@pytest.fixture
def spec(folder: Path) -> Case:
    return load_machine(str(folder / "log.txt"))


def test_tables_take_the_logged_places(folder: Path, spec: Case) -> None:
    places = {table.signature: table.address for table in spec.acpi.raw}
    lay_over(spec, Beside(acpi=str(folder)))
    madt = next(table for table in spec.acpi.raw if table.signature == "APIC")
    assert madt.data == (folder / "acpi/APIC.dat").read_bytes()
    assert {table.signature: table.address for table in spec.acpi.raw} == places
    again = load_machine(str(folder / "log.txt"))
    lay_over(again, Beside(acpi=str(folder / "acpidump.txt")))
    assert [table.data for table in again.acpi.raw] == [table.data for table in spec.acpi.raw]


def test_functions_of_a_dump_without_sizes_have_the_logs(folder: Path, spec: Case) -> None:
    logged = {one.bdf: one.bars for one in spec.pci.functions}
    lay_over(spec, Beside(pci=str(folder / "pci/lspci-xxxx.txt")))
    sizes = {one.bdf: [(bar.index, bar.size) for bar in one.bars] for one in spec.pci.functions}
    assert any(sizes.values())
    for bdf, bars in logged.items():
        assert [(bar.index, bar.size) for bar in bars if bar.size] == sizes[bdf] or not bars
    lines = [line.text for line in boot(spec).kernel.log.lines]
    assert not any("can't size" in line for line in lines)


def test_a_configuration_is_the_kernels(spec: Case, tmp_path: Path) -> None:
    (tmp_path / "config").write_text("CONFIG_NR_CPUS=64\n# CONFIG_MPTCP is not set\n")
    lay_over(spec, Beside(config=str(tmp_path / "config")))
    lines = [line.text for line in boot(spec).kernel.log.lines]
    assert any(line.startswith("setup_percpu: NR_CPUS:64 ") for line in lines)


def test_other_machines_and_no_files_are_refused(folder: Path, spec: Case, tmp_path: Path) -> None:
    other = tmp_path / "acpidump.txt"
    other.write_text(
        write_acpidump([DumpedTable(name, 0, name.encode().ljust(300, b"\0")) for name in ("FACP", "DSDT")])
    )
    dump = tmp_path / "lspci.txt"
    dump.write_text(
        "7f:1f.7 Class 0600: 8086:29c0\n" + "".join(f"{at:02x}: {'11 ' * 15}11\n" for at in range(0, 64, 16))
    )
    empty = tmp_path / "empty"
    empty.write_text("nothing\n")
    os.mkfifo(tmp_path / "pipe")
    wrong = {
        "tables of another machine": Beside(acpi=str(other)), "functions of another machine": Beside(pci=str(dump)),
        "no table FACP": Beside(acpi=str(tmp_path)), "no CONFIG_ lines": Beside(config=str(empty)),
        "no function with its bytes": Beside(pci=str(empty)), "no such file": Beside(pci=str(tmp_path / "none")),
        "neither a file nor a folder": Beside(config=str(tmp_path / "pipe")),
    }  # fmt: skip
    for message, files in wrong.items():
        with pytest.raises(InputError, match=message):
            lay_over(spec, files)


def test_sizes() -> None:
    text = (
        "00:02.0 VGA\n\tRegion 0: Memory at fd000000 (32-bit, prefetchable) [size=16M]\n\tI/O ports at 6080 [size=64]\n"
    )
    assert told_sizes(text) == {0xFD000000: 16 << 20, 0x6080: 64}
    raw = bytearray(64)
    raw[0x0B] = 2
    raw[0x10:0x14] = (0xFD000008).to_bytes(4, "little")
    raw[0x14:0x18] = (0x6081).to_bytes(4, "little")
    raw[0x18:0x20] = (0x38_0000_0004).to_bytes(8, "little")
    raw[0x30:0x34] = (0xFEB80000).to_bytes(4, "little")
    function = PciFunctionSpec("0000:00:02.0", raw=bytes(raw))
    told = with_sizes(function, None, told_sizes(text))
    assert [(bar.index, bar.type, bar.size) for bar in told.bars] == [
        (0, "mem32", 16 << 20), (1, "io", 64), (2, "mem64", 16 << 10)
    ]  # fmt: skip
    assert told.rom_size == 64 << 10
    logged = PciFunctionSpec("0000:00:02.0", bars=[BarSpec(1, "io", 0x100)])
    assert with_sizes(function, logged, {}).bars[1].size == 0x80  # more does not go with the address
