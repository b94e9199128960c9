"""PCI of real machines' logs, read and enumerated again, held against the logs' own lines."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from hw.errors import InputError
from minikern.describe.dmesg_text import boots, read_log
from minikern.describe.presets import load_machine
from minikern.lab.run import boot
from tests.support import SHARED

PLACE = r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.\d"  # functions of a driver's own domains have five digits
IDENTITY = re.compile(rf"^pci {PLACE}: (\[[0-9a-f]{{4}}:[0-9a-f]{{4}}\] type 0\d class 0x[0-9a-f]{{6}})")
SIZED = re.compile(
    rf"^pci {PLACE}: (?:(?:reg 0x\w+:|(?:VF )?BAR \d|ROM) \[.*\]$|supports D|PME#|enabling Ext|.*PCIe bandwidth)"
)
GROUP = re.compile(r"^\w+ \S+: Adding to iommu group \d+$")
LEAST = {"identity": 0.94, "sized": 0.97, "group": 0.99}
LOGS = ("dmesg", "timed")


def logs() -> list[Path]:
    found = [path for name in LOGS for path in sorted((SHARED / "corpora" / name).glob("*.log.gz"))]
    return found or [Path("none")]


@cache
def pair(path: Path) -> tuple[list[str], list[str]]:
    """The real log's lines and those of its machine's boot."""
    if not path.is_file():
        pytest.skip("no shared/corpora beside the checkout")
    real = [line.rstrip() for line in boots(read_log(path))[0]]
    try:
        done = boot(load_machine(str(path)))
    except InputError as error:
        pytest.skip(f"refused: {error}")
    return real, [line.text.rstrip() for line in done.kernel.log.lines]


def score(real: list[str], emulated: list[str]) -> float:
    if not real and not emulated:
        return 1.0
    matcher = difflib.SequenceMatcher(a=real, b=emulated, autojunk=False)
    return sum(block.size for block in matcher.get_matching_blocks()) / max(len(real), len(emulated))


@pytest.mark.parametrize("path", logs(), ids=lambda path: path.name.split(".")[0])
def test_the_same_functions_are_found(path: Path) -> None:
    real, emulated = pair(path)
    if any(line.startswith("PCI: Discovered peer bus") for line in real):
        pytest.skip("buses that ACPI does not name are not scanned")
    sides = [[match[0] for line in side if (match := IDENTITY.match(line))] for side in (real, emulated)]
    identity = [[line.split(" PCIe")[0].split(" conventional")[0] for line in side] for side in sides]
    assert score(*identity) >= LEAST["identity"]


@pytest.mark.parametrize("path", logs(), ids=lambda path: path.name.split(".")[0])
def test_nobody_gets_a_function_of_another_machine(path: Path) -> None:
    real, emulated = pair(path)
    told = Counter(match[1] for line in real if (match := IDENTITY.match(line)))
    made = Counter(match[1] for line in emulated if (match := IDENTITY.match(line)))
    assert not made - told


@pytest.mark.parametrize("path", logs(), ids=lambda path: path.name.split(".")[0])
def test_groups_come_out_equal(path: Path) -> None:
    real, emulated = pair(path)
    groups = [line for line in real if GROUP.match(line)]
    if not groups:
        pytest.skip("the log lists no groups")
    if any(line.startswith("platform ") for line in groups):
        pytest.skip("groups of devices that are not PCI come before")
    assert [line for line in emulated if GROUP.match(line)] == groups


def test_addresses_sizes_and_capabilities_over_all_logs() -> None:
    matched = whole = 0
    for path in logs():
        real, emulated = pair(path)
        if ("reg 0x" in "".join(real)) != ("reg 0x" in "".join(emulated)):
            continue  # emulated in the words of a neighbouring release
        sides = [[line for line in side if SIZED.match(line)] for side in (real, emulated)]
        most = max(map(len, sides))
        matched += round(score(*sides) * most)
        whole += most
    assert matched / whole >= LEAST["sized"]
