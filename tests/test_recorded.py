"""Recorded boots: the emulated log against the real one, line by line and in both directions."""

from __future__ import annotations

from pathlib import Path

import pytest

from minikern.describe.presets import load_machine
from minikern.lab.run import boot
from minikern.report import proc
from minikern.report.dmesg import format_dmesg
from tests.recorded import FOLDERS, Differences, compare, zones


@pytest.mark.parametrize("folder", sorted(FOLDERS.iterdir()), ids=lambda folder: str(folder.name))
def test_boot_equals_the_recorded_one(folder: Path) -> None:
    kernel = boot(load_machine(str(folder))).kernel
    assert compare(format_dmesg(kernel), (folder / "dmesg.txt").read_text()) == Differences([], [], [])
    assert zones(proc.zoneinfo(kernel)) == zones((folder / "zoneinfo.txt").read_text())


def test_zone_fields_are_read() -> None:
    text = "Node 0, zone      DMA\n  pages free 1\n        min      86\n        protection: (0, 1)\n  start_pfn: 1\n"
    assert zones(text) == {"Node 0, zone      DMA": {"min": "86", "protection": "(0, 1)", "start_pfn": "1"}}


def test_differences_are_found() -> None:
    real = "[    0.000000] a 1\n[    0.000000] b 2\nb 3\n[    0.000000] never ours\n[    0.100000] Run /init\nx"
    assert compare("a 1\nb 2\nb 3\nRun /init", real) == Differences([], [], [])
    assert compare("a 1\nb 2\nRun /init", real) == Differences([], ["b 3"], [])
    assert compare("a 1\nb 2\nb 3\nc\nRun /init", real) == Differences(["c"], [], [])
    assert compare("a 1\nb 3\nb 2\nRun /init", real) == Differences([], [], ["b 3", "b 2"])
