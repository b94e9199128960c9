from __future__ import annotations

import re
from pathlib import Path

import pytest

from minikern.core.config import Config
from minikern.core.release import load_release, release_for_version
from minikern.describe.pci_capture import pci_from_capture
from tests.pci.fakes import CAPTURES, ROOT, FakeKernel, dmesg, windows_from_log

SAMPLE = ROOT / "tests" / "pci" / "data" / "q35-pci-iommu"
PCI = r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.\d"
CLASSES = {
    "host": r"^(ACPI: PCI Root Bridge|acpi PNP0A0[38]|PCI host bridge|pci_bus |PCI: )",
    "devices": rf"^pci {PCI}: (\[|reg 0x|BAR \d|ROM \[|PCI bridge| *bridge window|supports D|PME#|quirk: )",
    "groups": rf"^pci {PCI}: Adding to iommu group",
    "iommu": r"^(iommu: |DMAR: (?!VT-d Scalable))",
    "display": rf"^(vgaarb|pci {PCI}: (vgaarb|Video))",
}


def folders() -> list[Path]:
    """The sample, and every capture beside the project (kexec: both boots)."""
    found = [SAMPLE]
    if CAPTURES.is_dir():
        found += sorted(path.parent for path in CAPTURES.glob("**/dmesg.txt"))
    return found


def booted(folder: Path, log: list[str]) -> FakeKernel:
    # the sample's log is an extract
    version = next((line for line in log if line.startswith("Linux version ")), "6.1.0")
    release = release_for_version(version) or ""
    command_line = (folder / "kernel-cmdline.txt").read_text().strip()
    kernel = FakeKernel(pci_from_capture(folder), command_line, release)
    kernel.config = Config(load_release(release).config)
    hid = next((line.split()[1][:7] for line in log if line.startswith("acpi PNP0A0")), "PNP0A08")
    for root in kernel.acpi.pci_roots:
        root.windows, root.hid = windows_from_log(log), hid
    if (folder / "acpi" / "DMAR.dat").is_file():
        kernel.tables["DMAR"] = (folder / "acpi" / "DMAR.dat").read_bytes()
    if any("Unknown NUMA node" in line for line in log):
        kernel.nodes = [None, None]
    return kernel.boot()


@pytest.mark.parametrize("folder", folders(), ids=lambda path: "/".join(path.parts[-2:]))
def test_log_is_the_real_one(folder: Path) -> None:
    log = dmesg(folder)
    kernel = booted(folder, log)
    for name, pattern in CLASSES.items():
        real = [line.rstrip() for line in log if re.search(pattern, line)]
        assert kernel.class_lines(pattern) == real, name


def test_sample_ends_with_the_captured_windows() -> None:
    """What the emulated kernel wrote to the bridges is what the real one had written."""
    kernel = booted(SAMPLE, dmesg(SAMPLE))
    for function in kernel.topology.functions():
        if function.config.is_bridge:
            real = (SAMPLE / "pci" / "config" / f"{function.address}.bin").read_bytes()
            assert function.config.data[0x18:0x34] == real[0x18:0x34], str(function.address)
