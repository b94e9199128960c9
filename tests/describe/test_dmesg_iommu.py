"""IOMMU groups and remapping units out of a log: the tables made from it bring the same groups about."""

from __future__ import annotations

from pathlib import Path

import pytest

from hw.pci.spec import Address, DeviceScope
from minikern.describe.dmesg_groups import logged_groups
from minikern.describe.presets import load_machine
from minikern.lab.run import boot

HEAD = """\
Linux version 6.12.1 (build@host) (gcc) #1 SMP
Command line: ro
BIOS-provided physical RAM map:
BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable
BIOS-e820: [mem 0x0000000000100000-0x000000003ffdffff] usable
BIOS-e820: [mem 0x000000003ffe0000-0x000000003fffffff] ACPI data
BIOS-e820: [mem 0x0000000080000000-0x000000008fffffff] reserved
ACPI: RSDP 0x00000000000F0490 000024 (v02 HOUSE )
ACPI: XSDT 0x000000003FFE0000 00005C (v01 HOUSE  BOARD    00000001 HSE  00000001)
ACPI: FACP 0x000000003FFE1000 000114 (v06 HOUSE  BOARD    00000001 HSE  00000001)
ACPI: DSDT 0x000000003FFE2000 00F000 (v02 HOUSE  BOARD    00000001 HSE  00000001)
ACPI: FACS 0x000000003FFF8000 000040
ACPI: APIC 0x000000003FFF9000 000100 (v04 HOUSE  BOARD    00000001 HSE  00000001)
ACPI: MCFG 0x000000003FFFA000 00003C (v01 HOUSE  BOARD    00000001 HSE  00000001)
ACPI: {table} 0x000000003FFFB000 000400 (v01 HOUSE  BOARD    00000001 HSE  00000001)
smpboot: Allowing 2 CPUs, 0 hotplug CPUs
PCI: ECAM [mem 0x80000000-0x8fffffff] (base 0x80000000) for domain 0000 [bus 00-ff]
"""
ROOTS = """\
ACPI: PCI Root Bridge [PC00] (domain 0000 [bus 00-3f])
PCI host bridge to bus 0000:00
pci_bus 0000:00: root bus resource [mem 0x90000000-0x9fffffff window]
{first}ACPI: PCI Root Bridge [PC01] (domain 0000 [bus 40-7f])
PCI host bridge to bus 0000:40
pci_bus 0000:40: root bus resource [mem 0xa0000000-0xafffffff window]
{second}"""
UNITS = """\
DMAR: Host address width 46
DMAR: DRHD base: 0x000000affff000 flags: 0x0
DMAR: dmar0: reg_base_addr affff000 ver 1:0 cap 8d2078c106f0466 ecap f020df
DMAR: DRHD base: 0x0000009ffff000 flags: 0x1
DMAR: dmar1: reg_base_addr 9ffff000 ver 1:0 cap 8d2078c106f0466 ecap f020df
DMAR: RMRR base: 0x0000003e000000 end: 0x0000003e002fff
DMAR: ATSR flags: 0x0
DMAR-IR: IOAPIC id 8 under DRHD base  0x9ffff000 IOMMU 1
DMAR-IR: HPET id 0 under DRHD base 0x9ffff000
DMAR-IR: Queued invalidation will be enabled to support x2apic and Intr-remapping.
DMAR-IR: Enabled IRQ remapping in x2apic mode
"""


def functions(vendor: str, *rows: str) -> str:
    """Lines of functions: ``BDF class port text``, and for a bridge ``> BUS`` after them."""
    out = []
    for row in rows:
        head, _, bus = row.partition(" > ")
        bdf, code, port = head.split(maxsplit=2)
        kind = 1 if bus else 0
        out.append(f"pci 0000:{bdf}: [{vendor}:0001] type {kind:02} class 0x{code} {port}\n")
        if bus:
            out.append(f"pci 0000:{bdf}: PCI bridge to [bus {bus}]\n")
    return "".join(out)


def again(folder: Path, text: str) -> list[str]:
    path = folder / "dmesg.txt"
    path.write_text(text)
    return [line.text for line in boot(load_machine(str(path))).kernel.log.lines]


def grouped(lines: list[str]) -> list[str]:
    return [line for line in lines if "iommu group" in line]


def log_of_groups(*pairs: str) -> str:
    return "".join(
        f"pci 0000:{bdf}: Adding to iommu group {group}\n" for bdf, group in (pair.split() for pair in pairs)
    )


INTEL = ROOTS.format(
    first=functions(
        "8086",
        "00:00.0 060000 conventional PCI endpoint",
        "00:1c.0 060400 PCIe Root Port > 01",
        "00:1c.1 060400 PCIe Root Port > 02",
        "01:00.0 020000 PCIe Endpoint",
        "01:00.1 020000 PCIe Endpoint",
        "02:00.0 010802 PCIe Endpoint",
    ),
    second=functions("8086", "40:00.0 060400 PCIe Root Port > 41", "40:05.0 088000 conventional PCI endpoint")
    + functions("15b3", "41:00.0 020000 PCIe Endpoint"),
)
TRANSLATED = "DMAR: Intel(R) Virtualization Technology for Directed I/O\n"


@pytest.mark.parametrize(
    "groups",
    [
        ("40:00.0 0", "41:00.0 1", "00:00.0 2", "00:1c.0 3", "00:1c.1 4", "01:00.0 5", "01:00.1 6", "02:00.0 7",
         "40:05.0 8"),
        ("40:00.0 0", "41:00.0 0", "00:00.0 1", "00:1c.0 2", "00:1c.1 2", "01:00.0 2", "01:00.1 2", "02:00.0 2",
         "40:05.0 3"),
        ("40:00.0 0", "41:00.0 1", "00:00.0 2", "00:1c.0 3", "00:1c.1 4", "01:00.0 5", "01:00.1 5", "02:00.0 6",
         "40:05.0 7"),
    ],
    ids=["all-isolate", "ports-do-not", "functions-do-not"],
)  # fmt: skip
def test_groups_of_remapping_units_come_again(tmp_path: Path, groups: tuple[str, ...]) -> None:
    expected = log_of_groups(*groups)
    lines = again(tmp_path, HEAD.format(table="DMAR") + UNITS + INTEL + expected + TRANSLATED)
    assert grouped(lines) == expected.splitlines()
    told = [line for line in lines if line.startswith("DMAR")]
    assert told[: UNITS.count("\n")] == UNITS.splitlines()


def test_scopes_are_the_walk_of_the_unit(tmp_path: Path) -> None:
    groups = log_of_groups("40:00.0 0", "41:00.0 1", "00:00.0 2", "00:1c.0 3", "40:05.0 4")
    path = tmp_path / "dmesg.txt"
    path.write_text(HEAD.format(table="DMAR") + UNITS + INTEL + groups)
    explicit, rest = load_machine(str(path)).pci.drhd
    assert explicit.scopes == [DeviceScope(2, 0x40, [(0, 0)])], "the bridge, which has the device behind it with it"
    assert rest.include_all and [scope.type for scope in rest.scopes] == [3, 4]


@pytest.mark.parametrize(
    "groups",
    [
        ("40:00.3 0", "40:01.1 1", "41:00.0 2", "00:01.0 3", "00:01.1 4", "01:00.0 5", "01:00.1 6"),
        ("40:00.3 0", "40:01.1 1", "41:00.0 1", "00:01.0 2", "00:01.1 2", "01:00.0 2", "01:00.1 2"),
    ],
    ids=["ports-isolate", "ports-do-not"],
)
def test_groups_of_amd_come_again(tmp_path: Path, groups: tuple[str, ...]) -> None:
    roots = ROOTS.format(
        first=functions(
            "1022",
            "00:00.2 080600 conventional PCI endpoint",
            "00:00.0 060000 conventional PCI endpoint",
            "00:01.0 060000 conventional PCI endpoint",
            "00:01.1 060400 PCIe Root Port > 01",
            "01:00.0 130000 PCIe Endpoint",
            "01:00.1 108000 PCIe Endpoint",
        ),
        second=functions(
            "1022",
            "40:00.0 060000 conventional PCI endpoint",
            "40:00.2 080600 conventional PCI endpoint",
            "40:00.3 080700 PCIe Root Complex Event Collector",
            "40:01.0 060000 conventional PCI endpoint",
            "40:01.1 060400 PCIe Root Port > 41",
            "41:00.0 010802 PCIe Endpoint",
        ),
    )
    expected = log_of_groups(*groups)
    lines = again(tmp_path, HEAD.format(table="IVRS") + roots + expected)
    assert grouped(lines) == expected.splitlines()


def test_a_log_that_ends_before_dma_says_nothing_of_it(tmp_path: Path) -> None:
    path = tmp_path / "dmesg.txt"
    for text, told in ((UNITS, None), (UNITS + TRANSLATED, True), (UNITS + "PCI: CLS 64 bytes, default 64\n", False)):
        path.write_text(HEAD.format(table="DMAR") + text)
        facts = load_machine(str(path)).kernel
        assert facts is not None and facts.intel_iommu is told


def test_units_at_impossible_places_are_no_devices(tmp_path: Path) -> None:
    units = UNITS.replace("affff000", "00000800")
    lines = again(tmp_path, HEAD.format(table="DMAR") + units + INTEL)
    assert [line for line in lines if line.startswith("DMAR: DRHD")] == [
        "DMAR: DRHD base: 0x0000009ffff000 flags: 0x1"
    ]


def test_both_wordings_of_groups() -> None:
    lines = ["pci 0000:00:1c.0: Adding to iommu group 3", "iommu: Adding device 0000:00:1d.0 to group 4", "group 5"]
    assert logged_groups(lines) == {Address(0, 0, 0xE0): 3, Address(0, 0, 0xE8): 4}


def test_ports_that_isolate_by_the_chipsets_registers_come_again(tmp_path: Path) -> None:
    pci = ROOTS.format(
        first=functions("8086", "00:00.0 060000 conventional PCI endpoint")
        + "pci 0000:00:1c.0: [8086:9c90] type 01 class 0x060400\n"
        "pci 0000:00:1c.0: Enabling MPC IRBNCE\n"
        "pci 0000:00:1c.0: Intel PCH root port ACS workaround enabled\n"
        "pci 0000:00:1c.3: [8086:9c96] type 01 class 0x060400\n"
        "pci 0000:00:1c.3: Intel PCH root port ACS workaround enabled\n"
        "pci 0000:00:1f.0: [8086:9cc3] type 00 class 0x060100\n"
        + functions("8086", "01:00.0 020000 PCIe Endpoint")
        + "pci 0000:00:1c.0: PCI bridge to [bus 01]\n"
        + functions("8086", "02:00.0 020000 PCIe Endpoint")
        + "pci 0000:00:1c.3: PCI bridge to [bus 02]\n",
        second="",
    )
    order = ("00:00.0", "00:1c.0", "00:1c.3", "00:1f.0", "01:00.0", "02:00.0")
    expected = log_of_groups(*(f"{bdf} {number}" for number, bdf in enumerate(order)))
    lines = again(tmp_path, HEAD.format(table="DMAR") + UNITS + pci + expected + TRANSLATED)
    assert grouped(lines) == expected.splitlines()
    assert [line for line in lines if "MPC" in line or "workaround" in line] == [
        line for line in pci.splitlines() if "MPC" in line or "workaround" in line
    ]
