"""Sleep states, GPEs and tables loaded by methods: read from a log, and shown again by its boot."""

from __future__ import annotations

from pathlib import Path

import pytest

from hw.acpi.spec import InterruptLink
from minikern.describe.dmesg_namespace import interrupt_links
from minikern.describe.presets import load_machine
from minikern.lab.run import boot
from tests.describe.test_dmesg_iommu import HEAD

TABLES = """\
ACPI: OEM1 0x000000003FFFC000 000200 (v02 HOUSE  CPU EIST 00003000 HSE  00000001)
ACPI: OEM4 0x000000003FFFC400 000200 (v02 HOUSE  CPU  CST 00003000 HSE  00000001)
"""
SHOWN = """\
ACPI: 1 ACPI AML tables successfully acquired and loaded
ACPI: Dynamic OEM Table Load:
ACPI: Dynamic OEM Table Load:
ACPI: Dynamic OEM Table Load:
ACPI: SSDT 0xFFFF9C6241187A00 00018A (v02 HOUSE  ApCst    00003000 HSE  00000001)
ACPI: Interpreter enabled
ACPI: PM: (supports S0 S4 S5)
ACPI: Enabled 7 GPEs in block 00 to 3F
"""


def again(folder: Path, text: str) -> list[str]:
    path = folder / "dmesg.txt"
    path.write_text(text)
    return [line.text for line in boot(load_machine(str(path))).kernel.log.lines]


@pytest.mark.parametrize("release", ["6.12.1", "5.4.0", "6.1.0"])
def test_what_the_log_shows_comes_again(tmp_path: Path, release: str) -> None:
    head = HEAD.format(table="BGRT").replace("6.12.1", release)
    lines = again(tmp_path, head.replace("smpboot:", TABLES + "smpboot:") + SHOWN)
    first = lines.index("ACPI: 1 ACPI AML tables successfully acquired and loaded")
    assert [line.split(" 0x")[0] for line in lines[first : first + 6]] == [
        line.split(" 0x")[0] for line in SHOWN.splitlines()[:6]
    ]
    assert lines[first + 4].endswith("00018A (v02 HOUSE  ApCst    00003000 HSE  00000001)")
    assert not [line for line in lines if "ACPI Error" in line or "ACPI BIOS" in line]
    for line in SHOWN.splitlines()[6:]:
        assert line in lines


def test_loads_without_room_for_them_are_left_out(tmp_path: Path) -> None:
    head = HEAD.format(table="BGRT").replace("smpboot:", TABLES + "smpboot:")
    lines = again(tmp_path, head + SHOWN.replace("00018A", "0FFFFF"))
    assert "ACPI: Interpreter enabled" in lines
    assert not [line for line in lines if "ACPI Error" in line or "ACPI BIOS" in line]


@pytest.mark.parametrize("cut", range(0, len(SHOWN), 41))
def test_torn_lines(tmp_path: Path, cut: int) -> None:
    lines = again(tmp_path, HEAD.format(table="BGRT") + SHOWN[:cut])
    assert "ACPI: Interpreter enabled" in lines


def test_absurd_figures_are_bounded(tmp_path: Path) -> None:
    loads = "".join(line + "\n" for line in SHOWN.splitlines()[3:5])
    text = "ACPI: Enabled 999 GPEs in block 00 to 0F\n" + loads * 2000
    assert "ACPI: Enabled 16 GPEs in block 00 to 0F" in again(tmp_path, HEAD.format(table="BGRT") + text)


OLD_LINKS = """\
ACPI: PCI Interrupt Link [LNKA] (IRQs 3 4 5 6 10 *11 12 14 15)
ACPI: PCI Interrupt Link [LNKB] (IRQs 3 4 5 6 10 11 12 14 15) *0, disabled.
ACPI: PCI Interrupt Link [GSIA] (IRQs *16)
"""
NEW_LINKS = """\
ACPI: PCI: Interrupt link LNKA configured for IRQ 11
ACPI: PCI: Interrupt link LNKB configured for IRQ 0
ACPI: PCI: Interrupt link LNKB disabled
ACPI: PCI: Interrupt link GSIA configured for IRQ 16
"""


@pytest.mark.parametrize(("release", "shown"), [("5.10.1", OLD_LINKS), ("5.13.1", NEW_LINKS), ("6.12.1", NEW_LINKS)])
def test_interrupt_links_come_again(tmp_path: Path, release: str, shown: str) -> None:
    head = HEAD.format(table="BGRT").replace("6.12.1", release)
    lines = again(tmp_path, head + shown)
    first = lines.index(shown.splitlines()[0])
    assert lines[first : first + len(shown.splitlines())] == shown.splitlines()
    assert lines[first - 1].startswith(("ACPI: PCI Root Bridge", "pci_bus ", "pci ", "PCI host bridge"))
    assert not [line for line in lines if "ACPI Error" in line or "ACPI BIOS" in line]


@pytest.mark.parametrize(
    ("line", "links"),
    [
        ("ACPI: PCI: Interrupt link LNKA configured for IRQ 99999", []),  # no interrupt has such a number
        ("ACPI: PCI Interrupt Link [LNK] (IRQs 3)", []),
        ("ACPI: PCI Interrupt Link [LNKA] (IRQs", []),
        ("ACPI: PCI Interrupt Link [LNKA] (IRQs *70000)", []),
        ("ACPI: PCI Interrupt Link [LNKA] (IRQs 20 *21)", [InterruptLink("LNKA", [20, 21], 21)]),
    ],
)
def test_odd_interrupt_links(line: str, links: list[InterruptLink]) -> None:
    assert interrupt_links([line, line]) == links
