"""The talk's machine: 57 kinds of devices, 306 groups, or 90 with the needed ones only."""

from __future__ import annotations

import tomllib

import pytest

from hw.pci.spec import load_pci
from tests.pci.small import ROOT, SmallKernel

LPC2023 = ROOT / "hw" / "machines" / "lpc2023-pci.toml"
TALK_ALL_MS, TALK_NEEDED_MS = 113.9, 47.5
BETWEEN_MS = 17.7  # other initialisation between the two lines, which the machine's residue accounts for


def boot(append: str) -> SmallKernel:
    return SmallKernel(load_pci(LPC2023), append, "lpc2023").boot()


@pytest.fixture(scope="module")
def everything() -> SmallKernel:
    return boot("intel_iommu=on")


@pytest.fixture(scope="module")
def needed() -> SmallKernel:
    return boot(f"intel_iommu=on pci=probe_only={load_pci(LPC2023).probe_only()}")


def groups(kernel: SmallKernel) -> list[str]:
    return kernel.class_lines("Adding to iommu group")


def test_all_devices(everything: SmallKernel) -> None:
    assert len({(dev.vendor, dev.device) for dev in everything.pci.devices}) == 57
    assert everything.pci.groups == 306
    assert groups(everything)[-1] == "pci 0000:ff:1e.7: Adding to iommu group 305"
    assert len(groups(everything)) == len(everything.pci.devices) == 318


def test_needed_devices(needed: SmallKernel) -> None:
    assert len({(dev.vendor, dev.device) for dev in needed.pci.devices}) == 15
    assert needed.pci.groups == 90
    assert groups(needed)[-1] == "pci 0000:ff:0e.7: Adding to iommu group 89"
    assert needed.pci.skipped + len(needed.pci.devices) == 318


def test_needed_devices_are_reachable(needed: SmallKernel) -> None:
    names = {dev.name for dev in needed.pci.devices}
    assert {"0000:17:00.0", "0000:31:00.0", "0000:31:00.1", "0000:02:00.0"} < names


def test_nothing_conflicts(everything: SmallKernel) -> None:
    assert everything.class_lines(r"^pci 0000:.*(can't|failed|invalid|: assigned)") == []


def test_simulated_time(everything: SmallKernel, needed: SmallKernel) -> None:
    costs = tomllib.loads((ROOT / "hw" / "costs" / "pci.toml").read_text())

    def total_ms(kernel: SmallKernel) -> float:
        found = {kind: count for kind, count in kernel.charged.items() if kind in costs}
        return sum(count * float(costs[kind]["ns"]) for kind, count in found.items()) / 1e6

    assert total_ms(everything) + BETWEEN_MS == pytest.approx(TALK_ALL_MS, rel=0.02)
    assert total_ms(needed) + BETWEEN_MS == pytest.approx(TALK_NEEDED_MS, rel=0.05)


def test_same_log_twice(everything: SmallKernel) -> None:
    assert boot("intel_iommu=on").lines == everything.lines
