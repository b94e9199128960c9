"""What firmware grants, asked by the real interpreter of real AML."""

from __future__ import annotations

import pytest

from hw.acpi import aml
from hw.acpi.layout import TableIds, sdt
from hw.pci.spec import HostBridgeSpec, PciFunctionSpec, PciSpec
from tests.pci.small import SmallKernel


def osc_lines(append: str = "", ecam: bool = True, osc: int | None = 0x3F, **fields: object) -> list[str]:
    function = PciFunctionSpec(bdf="00:00.0", id="8086:29c0", class_code=0x060000)
    bridge = HostBridgeSpec(first_bus=0, last_bus=0xFF, osc=osc)
    spec = PciSpec(ecam_base=0xE000_0000, host_bridges=[bridge], functions=[function])
    if not ecam:
        fields["tables"] = {"MCFG": sdt("MCFG", 1, bytes(8), TableIds())}  # a table without a window
    k = SmallKernel(spec, append, **fields).boot()  # type: ignore[arg-type]
    return [line.removeprefix("acpi PNP0A08:00: ") for line in k.class_lines("^acpi ")]


SUPPORTS = "_OSC: OS supports [ExtendedConfig ASPM ClockPM Segments MSI HPX-Type3]"


@pytest.mark.parametrize(
    ("granted", "lines"),
    [
        (0x3F, ["_OSC: OS now controls [PCIeHotplug SHPCHotplug PME AER PCIeCapability LTR]"]),
        (0x15, ["_OSC: platform does not support [SHPCHotplug AER LTR]",
                "_OSC: OS now controls [PCIeHotplug PME PCIeCapability]"]),
        (0x0F, ["_OSC: platform does not support [PCIeCapability LTR]",
                "_OSC: not requesting control; platform does not support [PCIeCapability]"]),
    ],
)
def test_what_the_platform_grants(granted: int, lines: list[str]) -> None:
    assert osc_lines(osc=granted) == [SUPPORTS, *lines]


def test_no_method() -> None:
    assert osc_lines(osc=None) == [SUPPORTS, "_OSC: platform retains control of PCIe features (AE_NOT_FOUND)"]


def test_method_that_answers_rubbish() -> None:
    rubbish = aml.scope("\\_SB_.PCI0", [aml.method("_OSC", 4, [aml.return_(aml.integer(7))])])
    found = osc_lines(osc=None, tables={"SSDT": sdt("SSDT", 2, rubbish, TableIds())})
    assert found == [SUPPORTS, "_OSC: platform retains control of PCIe features (AE_ERROR)"]


def test_no_aspm_in_the_fadt() -> None:
    assert osc_lines(boot_arch=1 << 4)[-1] == "FADT indicates ASPM is unsupported, using BIOS configuration"


def test_without_ecam_nothing_is_asked() -> None:
    assert osc_lines(ecam=False) == [
        "_OSC: OS supports [ASPM ClockPM Segments MSI HPX-Type3]",
        "_OSC: not requesting OS control; OS requires [ExtendedConfig ASPM ClockPM MSI]",
        "fail to add MMCONFIG information, can't access extended configuration space under this bridge",
    ]


def test_nommconf_says_so() -> None:
    assert osc_lines("pci=nommconf")[-1].startswith("MMCONFIG is disabled, can't access")
