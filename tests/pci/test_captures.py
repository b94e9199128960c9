"""An extract of a captured machine: its configuration space under a real kernel, against the captured log.

Whole captures are held against their logs in tests/test_captures.py.
"""

from __future__ import annotations

import re
from functools import cache

import pytest

from hw.pci.spec import HostBridgeSpec, WindowSpec
from minikern.describe.pci_capture import pci_from_capture
from tests.pci.small import ROOT, SmallKernel

SAMPLE = ROOT / "tests" / "pci" / "data" / "q35-pci-iommu"
OSC_GRANTED = 0x1E  # everything but native hot-plug and LTR, as QEMU grants
PCI = r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.\d"
CLASSES = {
    "host": r"^(PCI host bridge|pci_bus .*root bus)",
    "devices": rf"^pci {PCI}: (\[|reg 0x|BAR \d|ROM \[|PCI bridge| *bridge window|supports D|PME#|quirk: )",
    "groups": rf"^pci {PCI}: Adding to iommu group",
    "display": rf"^(vgaarb|pci {PCI}: (vgaarb|Video))",
}


def log() -> list[str]:
    """The captured log without its time stamps."""
    text = (SAMPLE / "dmesg.txt").read_text("utf-8", "replace")
    return [re.sub(r"^\[ *[0-9.]+\](?:\[[^\]]*\])? ?", "", line).rstrip() for line in text.splitlines()]


def windows() -> list[WindowSpec]:
    """Root bus windows as the log shows them: the extract has no AML."""
    pattern = r"pci_bus 0000:00: root bus resource \[(io|mem) +0x([0-9a-f]+)-0x([0-9a-f]+) window\]"
    found = [match for line in log() if (match := re.match(pattern, line))]
    return [WindowSpec(one[1], int(one[2], 16), int(one[3], 16)) for one in found]  # type: ignore[arg-type]


@cache
def booted() -> SmallKernel:
    spec = pci_from_capture(SAMPLE)
    spec.host_bridges = [HostBridgeSpec(0, 0xFF, windows=windows(), osc=OSC_GRANTED)]
    append = (SAMPLE / "kernel-cmdline.txt").read_text().strip()
    return SmallKernel(spec, append, "debian-6.1").boot()


@pytest.mark.parametrize("name", CLASSES)
def test_log_is_the_real_one(name: str) -> None:
    real = [line for line in log() if re.search(CLASSES[name], line)]
    assert booted().class_lines(CLASSES[name]) == real


def test_sample_ends_with_the_captured_windows() -> None:
    """What the emulated kernel wrote to the bridges is what the real one had written."""
    for function in booted().topology.functions():
        if function.config.is_bridge:
            real = (SAMPLE / "pci" / "config" / f"{function.address}.bin").read_bytes()
            assert function.config.data[0x18:0x34] == real[0x18:0x34], str(function.address)
