from __future__ import annotations

from types import SimpleNamespace

import pytest

from hw.pci.spec import HostBridgeSpec, PciFunctionSpec, PciSpec
from tests.pci.fakes import FakeKernel, Osc


def kernel(append: str = "", ecam: bool = True) -> FakeKernel:
    function = PciFunctionSpec(bdf="00:00.0", id="8086:29c0", class_code=0x060000)
    bridge = HostBridgeSpec(first_bus=0, last_bus=0xFF)
    base = 0xB000_0000 if ecam else None
    return FakeKernel(PciSpec(ecam_base=base, host_bridges=[bridge], functions=[function]), append)


def osc_lines(k: FakeKernel) -> list[str]:
    return [line.removeprefix("acpi PNP0A08:00: ") for line in k.boot().class_lines("^acpi ")]


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
    k = kernel()
    k.acpi.interpreter = Osc(granted)
    assert osc_lines(k) == [SUPPORTS, *lines]


def test_no_method() -> None:
    k = kernel()
    k.acpi.pci_roots[0].osc = False
    assert osc_lines(k) == [SUPPORTS, "_OSC: platform retains control of PCIe features (AE_NOT_FOUND)"]


def test_method_that_answers_rubbish() -> None:
    k = kernel()
    k.acpi.interpreter = SimpleNamespace(evaluate=lambda node, name, args: 7)
    assert osc_lines(k) == [SUPPORTS, "_OSC: platform retains control of PCIe features (AE_ERROR)"]


def test_no_aspm_in_the_fadt() -> None:
    k = kernel()
    k.acpi.fadt = SimpleNamespace(no_aspm=True)
    assert osc_lines(k)[-1] == "FADT indicates ASPM is unsupported, using BIOS configuration"


def test_without_ecam_nothing_is_asked() -> None:
    assert osc_lines(kernel(ecam=False)) == [
        "_OSC: OS supports [ASPM ClockPM Segments MSI HPX-Type3]",
        "_OSC: not requesting OS control; OS requires [ExtendedConfig ASPM ClockPM MSI]",
        "fail to add MMCONFIG information, can't access extended configuration space under this bridge",
    ]


def test_nommconf_says_so() -> None:
    assert osc_lines(kernel("pci=nommconf"))[-1].startswith("MMCONFIG is disabled, can't access")
