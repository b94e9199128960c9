"""PCI read out of a boot log: booted again, the kernel enumerates the same and writes the same lines."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from minikern.describe.presets import load_machine
from minikern.lab.run import boot
from minikern.report.dmesg import format_dmesg
from tests.support import run, texts

PCI_LINE = re.compile(r"pci \S+: |pci_bus |PCI host bridge|ACPI: PCI Root Bridge|acpi PNP0A")
LOG = """\
Linux version 6.12.1 (build@host) (gcc) #1 SMP
Command line: ro
BIOS-provided physical RAM map:
BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable
BIOS-e820: [mem 0x0000000000100000-0x000000003ffdffff] usable
BIOS-e820: [mem 0x000000003ffe0000-0x000000003fffffff] ACPI data
smpboot: Allowing 2 CPUs, 0 hotplug CPUs
"""
FUNCTIONS = """\
ACPI: PCI Root Bridge [PC00] (domain 0000 [bus 00-16])
acpi PNP0A08:00: _OSC: OS supports [ASPM ClockPM Segments MSI HPX-Type3]
acpi PNP0A08:00: _OSC: not requesting OS control; OS requires [ExtendedConfig ASPM ClockPM MSI]
acpi PNP0A08:00: fail to add MMCONFIG information, can't access extended configuration space under this bridge
PCI host bridge to bus 0000:00
pci_bus 0000:00: root bus resource [io  0x0000-0x0cf7 window]
pci_bus 0000:00: root bus resource [mem 0x90000000-0x9fffffff window]
pci_bus 0000:00: root bus resource [bus 00-16]
pci 0000:00:00.0: [8086:2020] type 00 class 0x060000 conventional PCI endpoint
pci 0000:00:1c.0: [8086:a190] type 01 class 0x060400 PCIe Root Port
pci 0000:00:1c.0: PCI bridge to [bus 01-02]
pci 0000:00:1c.0:   bridge window [mem 0x92000000-0x920fffff]
pci 0000:00:1c.0: PME# supported from D0 D3hot D3cold
pci 0000:01:00.0: [14e4:165f] type 00 class 0x020000 PCIe Endpoint
pci 0000:01:00.0: BAR 0 [mem 0x92030000-0x9203ffff 64bit]
pci 0000:01:00.0: enabling Extended Tags
pci 0000:00:1c.0: PCI bridge to [bus 01-02]
"""


def pci_lines(lines: list[str]) -> list[str]:
    return [line for line in lines if PCI_LINE.match(line)]


def read_back(folder: Path, text: str) -> tuple[list[str], list[str]]:
    """(the log's lines, notes) of the machine that ``text`` tells of."""
    path = folder / "dmesg.txt"
    path.write_text(text)
    spec = load_machine(str(path))
    return [line.text for line in boot(spec).kernel.log.lines], spec.notes


@pytest.mark.parametrize("release", ["debian-6.1", "debian-6.12"])
@pytest.mark.parametrize("machine", ["laptop", "lpc2023"])
def test_a_log_of_our_own_boots_as_it_was(tmp_path: Path, machine: str, release: str) -> None:
    first = run(machine, release=release)
    expected = pci_lines(texts(first))
    assert len(expected) > 30
    again, notes = read_back(tmp_path, format_dmesg(first.kernel))
    assert pci_lines(again) == expected
    assert any("PCI functions on" in note for note in notes)


def test_lines_of_a_log_come_again(tmp_path: Path) -> None:
    again, notes = read_back(tmp_path, LOG + FUNCTIONS)
    assert pci_lines(again)[: FUNCTIONS.count("\n")] == FUNCTIONS.splitlines()
    assert "read: 3 PCI functions on 1 root buses" in notes


def test_a_log_without_functions_gets_none(tmp_path: Path) -> None:
    again, notes = read_back(tmp_path, LOG)
    assert not [line for line in again if line.startswith("pci ")]
    assert "assumed: no PCI functions, as the log has no lines of any" in notes


def test_a_log_without_addresses_keeps_the_functions(tmp_path: Path) -> None:
    kept = [line for line in FUNCTIONS.splitlines() if "BAR" not in line and "window" not in line]
    again, notes = read_back(tmp_path, LOG + "\n".join(kept))
    assert len([line for line in again if "] type 0" in line]) == 3
    assert "assumed: PCI functions without addresses, as the log has no lines of them" in notes


def test_functions_no_bridge_leads_to_are_left_out(tmp_path: Path) -> None:
    lost = [line for line in FUNCTIONS.splitlines() if "PCI bridge to" not in line]
    again, notes = read_back(tmp_path, LOG + "\n".join(lost))
    assert not [line for line in again if line.startswith("pci 0000:01:00.0")]
    assert any(note.startswith("assumed: 1 logged PCI functions left out") for note in notes)


def test_roots_whose_lines_are_lost_are_where_functions_need_them(tmp_path: Path) -> None:
    lost = [line for line in FUNCTIONS.splitlines() if line.startswith("pci ")]
    again, notes = read_back(tmp_path, LOG + "\n".join(lost))
    assert [line for line in again if "] type 0" in line] == [line for line in lost if "] type 0" in line]
    assert any("PCI host bridges where no bridge leads to" in note for note in notes)


@pytest.mark.parametrize("cut", range(0, len(FUNCTIONS), 97))
def test_a_torn_log_still_boots(tmp_path: Path, cut: int) -> None:
    again, _ = read_back(tmp_path, LOG + FUNCTIONS[:cut])
    assert any(line.startswith("Memory: ") for line in again)


def test_windows_keep_their_order_and_their_borders(tmp_path: Path) -> None:
    windows = """\
pci_bus 0000:00: root bus resource [io  0x0000-0x03af window]
pci_bus 0000:00: root bus resource [mem 0x000a0000-0x000bffff window]
pci_bus 0000:00: root bus resource [mem 0x000c0000-0x000cffff window]
pci_bus 0000:00: root bus resource [mem 0x000d0000-0x000effff window]
pci_bus 0000:00: root bus resource [io  0x0d00-0x3fff window]
pci_bus 0000:00: root bus resource [mem 0x90000000-0x9fffffff window]
pci_bus 0000:00: root bus resource [bus 00-16]
"""
    log = LOG + "\n".join(line for line in FUNCTIONS.splitlines() if "root bus resource" not in line) + "\n" + windows
    again, _ = read_back(tmp_path, log)
    assert [line for line in again if "root bus resource" in line] == windows.splitlines()
