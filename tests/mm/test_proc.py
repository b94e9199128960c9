"""The /proc views: Linux's formats, sums that agree, and the captured machines' own figures."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hw.presets import load_machine, load_preset
from minikern.lab.run import boot
from minikern.report import proc

CAPTURES = Path(__file__).parents[2] / "../shared/captures"
FOLDERS = sorted(path.parent for path in CAPTURES.glob("*/zoneinfo.txt"))
FIELDS = re.compile(r"\s+(spanned|present) +(\d+)$")


@pytest.fixture(scope="module")
def kernel() -> Any:
    return boot(load_preset("tiny"), append="hugepagesz=2M hugepages=3").kernel


def test_buddyinfo(kernel: Any) -> None:
    lines = proc.buddyinfo(kernel).splitlines()
    assert all(re.fullmatch(r"Node \d+, zone +\w+( +\d+){11} ", line) for line in lines)
    assert lines[0].startswith("Node 0, zone      DMA ")
    free = sum(int(cell) << order for line in lines for order, cell in enumerate(line.split()[4:]))
    assert free == kernel.page_alloc.nr_free_pages()


def test_pagetypeinfo_adds_up_to_buddyinfo(kernel: Any) -> None:
    text = proc.pagetypeinfo(kernel)
    assert text.startswith("Page block order: 9\nPages per block:  512\n\nFree pages count per migrate type at order  ")
    rows = [line.split() for line in text.splitlines() if ", type" in line]
    for line in proc.buddyinfo(kernel).splitlines():
        zone, counts = line.split()[3], [int(cell) for cell in line.split()[4:]]
        by_type = [[int(cell) for cell in row[6:]] for row in rows if row[3].rstrip(",") == zone]
        assert [sum(column) for column in zip(*by_type, strict=True)] == counts
    blocks = [line.split()[4:] for line in text.splitlines() if re.match(r"Node \d+, zone +\w+ +\d", line)]
    assert sum(int(cell) for row in blocks for cell in row) == 256 // 2


def test_meminfo(kernel: Any) -> None:
    rows = dict(re.findall(r"^(\w+): +(\d+)", proc.meminfo(kernel), re.MULTILINE))
    assert int(rows["MemTotal"]) == kernel.page_alloc.totalram_pages * 4
    assert int(rows["MemFree"]) == kernel.page_alloc.nr_free_pages() * 4
    assert int(rows["MemAvailable"]) <= int(rows["MemFree"])
    assert rows["HugePages_Total"] == "3"
    assert rows["Hugepagesize"] == "2048"
    assert rows["Hugetlb"] == str(3 * 2048)


def test_kpageflags_agrees_with_the_counts(kernel: Any) -> None:
    file = io.BytesIO()
    size = proc.write_kpageflags(kernel, file)
    flags = np.frombuffer(file.getvalue(), dtype="<u8")
    assert size == len(flags) * 8
    assert len(flags) % (1 << 15) == 0
    assert int((flags & proc.KPF_BUDDY != 0).sum()) == kernel.page_alloc.nr_free_pages()
    assert int((flags & proc.KPF_HUGE != 0).sum()) == 3 * 512
    assert int((flags & proc.KPF_COMPOUND_HEAD != 0).sum()) == 3
    assert flags[0] == proc.KPF_RESERVED
    for pfn in (0, 5, 0x1000, 0x8000):
        word = int(flags[pfn])
        assert bool(word & proc.KPF_NOPAGE) == (not kernel.vmemmap.pfn_valid(pfn))


def test_watermarks_of_a_small_machine() -> None:
    # 256 MiB are too little for transparent huge pages, so the square root rules.
    k = boot(load_preset("tiny")).kernel
    managed = proc.nr_free_buffer_pages(k)
    assert proc.min_free_pages(k) == int((managed * 4 * 16) ** 0.5) // 4
    for zone in k.nodes[0].zones:
        least, low, high = proc.watermarks(k, zone)
        assert high - low == low - least >= 0


def figures(text: str) -> list[tuple[str, ...]]:
    return [match.groups() for line in text.splitlines() if (match := FIELDS.match(line))]


@pytest.mark.skipif(not FOLDERS, reason="no shared/captures beside the checkout")
@pytest.mark.parametrize("folder", FOLDERS[:4], ids=lambda path: str(path.name))
def test_captured_zones(folder: Path) -> None:
    k = boot(load_machine(str(folder))).kernel
    real = (folder / "zoneinfo.txt").read_text()
    emulated = proc.zoneinfo(k)
    for text in (real, emulated):
        assert "Node 0, zone      DMA\n" in text
    assert figures(real) == figures(emulated)
    heads = [re.findall(r"^Node \d+, zone +\w+", text, re.MULTILINE) for text in (real, emulated)]
    assert heads[0] == heads[1]
