"""ECAM windows: whom they are reserved by, early and late."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from minikern.pci import ecam
from minikern.pci.ecam import bios_year, pci_mmcfg_init
from tests.support import behaviour_of


class E820Entry(NamedTuple):
    addr: int
    size: int
    type: int


BASE, MIB = 0xB000_0000, 1 << 20
WINDOW = "[mem 0xb0000000-0xbfffffff]"


def kernel(reserved: list[tuple[int, int]], words: str = "ecam", date: str = "04/01/2014") -> Any:
    lines: list[str] = []
    dmi = [f"DMI: Maker Board, BIOS 1.0 {date}"] if date else []
    return SimpleNamespace(
        lines=lines,
        printk=lambda text, level=None: lines.append(text),
        behaviour=behaviour_of("debian-6.12", pci_ecam_lines=words, pci_ecam_trusted=words == "ecam"),
        acpi=SimpleNamespace(mcfg=[(BASE, 0, 0, 0xFF)]),
        e820=SimpleNamespace(table=[E820Entry(start, size, 2) for start, size in reserved]),
        machine=SimpleNamespace(spec=SimpleNamespace(dmi=["SMBIOS 2.8 present.", *dmi])),
        pci=SimpleNamespace(ecam=None),
    )


def test_whole_window_in_the_memory_map() -> None:
    k = kernel([(BASE, 128 * MIB), (BASE + 128 * MIB, 128 * MIB)])
    assert [item.end_bus for item in pci_mmcfg_init(k, True, early=True)] == [0xFF]
    assert k.lines[1] == f"PCI: ECAM {WINDOW} reserved as E820 entry"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("ecam", "PCI: ECAM [mem 0xb0000000-0xb3ffffff] (base 0xb0000000) for 0000 [bus00-3f] (size reduced!)"),
        (
            "mmconfig",
            "PCI: MMCONFIG for 0000 [bus00-3f] at [mem 0xb0000000-0xb3ffffff] (base 0xb0000000) (size reduced!)",
        ),
    ],
)
def test_window_shrinks_to_what_is_reserved(words: str, line: str) -> None:
    k = kernel([(BASE, 100 * MIB)], words)
    assert [item.end_bus for item in pci_mmcfg_init(k, True, early=True)] == [0x3F]
    assert k.lines[-1] == line


@pytest.mark.parametrize("size", [0, 15 * MIB])
def test_too_little_reserved(size: int) -> None:
    k = kernel([(BASE, size)] if size else [])
    assert pci_mmcfg_init(k, True, early=True) == []
    assert k.lines[-1] == f"PCI: not using ECAM ({WINDOW} not reserved)"
    old = kernel([], "mmconfig")
    assert pci_mmcfg_init(old, True, early=True) == [] and old.lines[-1] == "PCI: not using MMCONFIG"


def test_newer_firmware_is_believed() -> None:
    k = kernel([], date="02/06/2016")
    assert len(pci_mmcfg_init(k, True, early=True)) == 1 and len(k.lines) == 1


def test_without_ports_there_is_nothing_else() -> None:
    assert len(pci_mmcfg_init(kernel([]), False, early=True)) == 1


@pytest.mark.parametrize(("found", "count"), [(True, 1), (False, 0)])
def test_late_the_motherboard_resources_decide(found: bool, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ecam, "_acpi_reserved", lambda k, start, end: found)
    k = kernel([])
    assert len(pci_mmcfg_init(k, True, early=False)) == count
    text = f"PCI: ECAM {WINDOW} reserved as ACPI motherboard resource"
    assert (text in k.lines) is found


@pytest.mark.parametrize(("date", "year"), [("04/01/2014", 2014), ("", 0), ("unknown", 0)])
def test_bios_year(date: str, year: int) -> None:
    assert bios_year(kernel([], date=date)) == year
