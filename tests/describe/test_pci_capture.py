from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hw.acpi.layout import TableIds
from hw.acpi.static import dmar
from hw.bus import Bus
from hw.errors import InputError
from hw.pci.host import attach_pci
from hw.pci.spec import DrhdSpec, check_pci
from minikern.describe.pci_capture import pci_from_capture

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "tests" / "pci" / "data" / "q35-pci-iommu"
CAPTURES = ROOT.parent / "shared" / "captures"


def test_sample() -> None:
    spec = pci_from_capture(SAMPLE)
    check_pci(spec, "sample")
    functions = {function.bdf: function for function in spec.functions}
    assert len(functions) == 29
    assert (spec.ecam_base, spec.ecam_start_bus, spec.ecam_end_bus) == (0xB000_0000, 0, 255)
    nvme = functions["0000:03:00.0"]
    assert [(bar.index, bar.type, bar.size) for bar in nvme.bars] == [(0, "mem64", 0x4000)]
    assert functions["0000:06:02.0"].rom_size == 0x40000
    assert len(spec.drhd) == 1 and spec.drhd[0].base == 0xFED9_0000 and not spec.drhd[0].include_all
    assert len(spec.drhd[0].scopes) == 19 and spec.dmar_address_width == 39
    attach_pci(Bus(), spec)


def test_windows_the_kernel_opened_are_closed_again() -> None:
    functions = {function.bdf: function.raw for function in pci_from_capture(SAMPLE).functions}
    opened_by_kernel = {bdf for bdf, raw in functions.items() if raw[0x0E] & 0x7F == 1 and raw[0x1C] & 0xF0 == 0xF0}
    assert opened_by_kernel == {"0000:00:04.0", "0000:01:00.0", "0000:02:00.0", "0000:02:01.0"}


def test_lspci_text_serves_when_there_are_no_binaries(tmp_path: Path) -> None:
    source = CAPTURES / "q35-pci-iommu"
    if not source.is_dir():
        pytest.skip("no captures beside the project")
    (tmp_path / "pci").mkdir()
    for name in ("lspci-xxxx.txt", "resources.txt"):
        shutil.copy(source / "pci" / name, tmp_path / "pci" / name)
    from_text, from_bytes = pci_from_capture(tmp_path), pci_from_capture(source)
    assert [(f.bdf, f.bars, f.rom_size, f.raw) for f in from_text.functions] == [
        (f.bdf, f.bars, f.rom_size, f.raw) for f in from_bytes.functions
    ]


def test_empty_folder_has_no_pci(tmp_path: Path) -> None:
    spec = pci_from_capture(tmp_path)
    assert spec.functions == [] and spec.drhd == [] and spec.ecam_base is None and spec.root_buses() == []


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("pci/config/0000:00:00.0.bin", b"x" * 10, "10 bytes"),
        ("pci/config/rubbish.bin", b"x" * 64, "not a PCI address"),
        ("pci/resources.txt", b"0x0 0x0 0x0\n", "before any"),
        ("pci/resources.txt", b"== 0000:00:00.0\n0x0 zero 0x0\n", "hexadecimal"),
        ("acpi/MCFG.dat", b"MCFG", "expected an ACPI table"),
    ],
)
def test_damaged_folder(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    with pytest.raises(InputError, match=words):
        pci_from_capture(tmp_path)


def test_registers_of_remapping_units_come_from_the_log(tmp_path: Path) -> None:
    """No file of a folder holds them; a unit the log does not name keeps the defaults, as does all after damage."""
    source = tmp_path / "machine"
    (source / "acpi").mkdir(parents=True)
    (source / "pci").mkdir()
    units = [DrhdSpec(base=0xFED90000), DrhdSpec(base=0xFED91000, include_all=True)]
    (source / "acpi" / "DMAR.dat").write_bytes(dmar(units, TableIds()))
    line = "DMAR: dmar0: reg_base_addr fed90000 ver 1:2 cap d2008c22260206 ecap f00f4a"
    first, second = pci_from_capture(source, f"some line\n{line}\nanother").drhd
    assert (first.version, first.cap, first.ecap) == (0x12, 0xD2008C22260206, 0xF00F4A)
    assert (second.version, second.cap, second.ecap) == (0x10, units[1].cap, units[1].ecap)
    for damaged in (line.replace("cap d", "cap x"), line[:-6], line + " " + "f" * 40, line.replace("1:2", "1:22")):
        assert pci_from_capture(source, damaged).drhd[0].cap == units[0].cap
