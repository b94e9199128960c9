"""Figures that must come out to the digit on the talk's machine."""

from __future__ import annotations

import re

import pytest

from minikern.lab.run import Boot
from tests.support import run, texts

pytestmark = pytest.mark.big


@pytest.fixture(scope="module")
def baseline() -> Boot:
    return run("lpc2023", "baseline")


def memory_line(boot: Boot) -> tuple[int, int, int]:
    line = next(line for line in texts(boot) if line.startswith("Memory: "))
    match = re.match(r"Memory: (\d+)K/(\d+)K available .* (\d+)K reserved", line)
    assert match is not None
    return int(match[1]), int(match[2]), int(match[3])


def test_memory_line(baseline: Boot) -> None:
    free, physical, reserved = memory_line(baseline)
    assert physical == 536517308
    assert free == physical - reserved - 256  # 64 page-table pages of the vmalloc area


def test_total_pages(baseline: Boot) -> None:
    assert "Built 2 zonelists, mobility grouping on.  Total pages: 132033393" in texts(baseline)
    assert "Fallback order for Node 1: 1 0 " in texts(baseline)


def test_bogomips(baseline: Boot) -> None:
    assert "smpboot: Total of 128 processors activated (530700.57 BogoMIPS)" in texts(baseline)


def test_hugetlb_lines() -> None:
    lines = texts(run("lpc2023", "hvo-skip"))
    start = lines.index("HugeTLB: registered 1.00 GiB page size, pre-allocated 500 pages")
    assert lines[start + 1 : start + 4] == [
        "HugeTLB: 16380 KiB vmemmap can be freed for a 1.00 GiB page",
        "HugeTLB: registered 2.00 MiB page size, pre-allocated 0 pages",
        "HugeTLB: 28 KiB vmemmap can be freed for a 2.00 MiB page",
    ]
