"""AMD's IOMMUs remap interrupts for CPUs whose APIC ids do not fit the old ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from minikern.describe.log_facts import differences
from minikern.describe.presets import load_machine
from minikern.lab.run import boot

CPUS = 260
LOG = f"""\
Linux version 6.12.1 (a@b) #1 SMP
BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable
BIOS-e820: [mem 0x0000000000100000-0x000000007fffffff] usable
BIOS-e820: [mem 0x00000000fd000000-0x00000000fd01ffff] ACPI data
x2apic: enabled by BIOS, switching to x2apic ops
last_pfn = 0xfd020 max_arch_pfn = 0x400000000
ACPI: RSDP 0x00000000000F5A20 000024 (v02 TEST  )
ACPI: XSDT 0x00000000FD001000 000044 (v01 TEST   TEST     00000001      01000013)
ACPI: FACP 0x00000000FD002000 000114 (v06 TEST   TEST     00000001 TEST 00000001)
ACPI: DSDT 0x00000000FD003000 001000 (v02 TEST   TEST     00000002 INTL 20200925)
ACPI: FACS 0x00000000FD008000 000040
ACPI: APIC 0x00000000FD00A000 002800 (v04 TEST   TEST     00000001 TEST 00000001)
ACPI: IVRS 0x00000000FD009000 000100 (v02 TEST   TEST     00000001 TEST 00000001)
CPU topo: Max. logical packages:   1
CPU topo: Max. threads per core:   1
CPU topo: Allowing {CPUS} present CPUs plus 0 hotplug CPUs
smpboot: CPU0: AMD EPYC 9754 (family: 0x19, model: 0xa0, stepping: 0x2)
smp: Brought up 1 node, {CPUS} CPUs
"""


def lines(folder: Path, text: str) -> tuple[list[str], dict[str, str]]:
    path = folder / "dmesg.txt"
    path.write_text(text)
    spec = load_machine(str(path))
    return [line.text for line in boot(spec).kernel.log.lines], spec.told


def test_cpus_with_large_ids_come_up(tmp_path: Path) -> None:
    found, told = lines(tmp_path, LOG + "AMD-Vi: X2APIC enabled\n")
    assert f"smp: Brought up 1 node, {CPUS} CPUs" in found
    assert differences(told, found) == []


@pytest.mark.parametrize("words", ["amd_iommu=off", "intremap=off"])
def test_without_remapping_they_do_not_and_that_is_said(tmp_path: Path, words: str) -> None:
    text = LOG.replace("BIOS-e820", f"Command line: {words}\nBIOS-e820", 1) + "AMD-Vi: X2APIC enabled\n"
    found, told = lines(tmp_path, text)
    assert "x2apic: IRQ remapping doesn't support X2APIC mode" in found
    assert differences(told, found) == [f"CPUs 255 (log: {CPUS})"]
