"""Captured machines boot, and their logs are the judges."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from minikern.describe.presets import load_machine
from minikern.lab.run import boot
from minikern.report.dmesg import format_dmesg
from tests.support import CAPTURES, captured_folders, class_lines

CLASSES = (
    "e820", "numa", "zones", "zonelists", "nosave", "acpi-tables", "madt", "smp", "hash", "memory", "swiotlb",
    "hugetlb", "memblock-size", "aml", "pci-host", "pci", "iommu", "initmem",
)  # fmt: skip

# What no byte of the folder says: UEFI memory descriptors, from which Linux reserves boot services memory early.
UNKNOWABLE = {("q35-ovmf", "numa"), ("q35-ovmf", "zonelists")}

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(not captured_folders(), reason="no shared/captures beside the checkout"),
]


@pytest.mark.parametrize("name", captured_folders())
def test_log_equals_the_real_one(name: str, tmp_path: Path) -> None:
    folder = CAPTURES / name
    emulated = format_dmesg(boot(load_machine(str(folder))).kernel)
    real = (folder / "dmesg.txt").read_text(errors="replace")
    for kind in CLASSES:
        if (name, kind) not in UNKNOWABLE:
            assert class_lines(emulated, kind, tmp_path) == class_lines(real, kind, tmp_path), kind


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    source = CAPTURES / captured_folders()[0]
    return Path(shutil.copytree(source, tmp_path / "machine", copy_function=shutil.copyfile))


def test_the_log_is_no_script(copy: Path) -> None:
    """Without the folder's other lines, the boot is the same: only table addresses and the TSC rate come from it."""
    before = format_dmesg(boot(load_machine(str(copy))).kernel)
    kept = (
        "ACPI: ", "tsc: Detected", "SMBIOS", "DMI:", "IOAPIC", "Linux version", "found SMP MP-table",
        "clocksource: hpet",
    )  # fmt: skip
    log = copy / "dmesg.txt"
    lines = [line for line in log.read_text(errors="replace").splitlines() if any(word in line for word in kept)]
    log.write_text("\n".join(lines) + "\n")
    assert format_dmesg(boot(load_machine(str(copy))).kernel) == before


def test_a_changed_map_changes_the_log(copy: Path) -> None:
    page = bytearray((copy / "boot_params.bin").read_bytes())
    count = page[0x1E8]
    for index in range(count):
        at = 0x2D0 + 20 * index
        size = int.from_bytes(page[at + 8 : at + 16], "little")
        if page[at + 16] == 1 and size > 256 << 20:
            page[at + 8 : at + 16] = (size - (64 << 20)).to_bytes(8, "little")
            page[0x218:0x220] = bytes(8)  # the initrd lay in what is gone now
            changed = int.from_bytes(page[at : at + 8], "little") + size - (64 << 20)
    (copy / "boot_params.bin").write_bytes(page)
    text = format_dmesg(boot(load_machine(str(copy))).kernel)
    assert f"-{changed - 1:#018x}] usable" in text
    assert "Run /init" in text
