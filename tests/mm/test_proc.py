"""The /proc views: Linux's formats, sums that agree, and the captured machines' own figures."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minikern.describe.presets import load_machine, load_preset
from minikern.lab.run import boot
from minikern.mm.buddy.watermarks import watermarks
from minikern.report import proc
from minikern.verify.page_check import check_memmap

CAPTURES = Path(__file__).parents[2] / "../shared/captures"
# what a kernel says of itself just before it hands over is kept in folders without a zero page
FOLDERS = sorted(path.parent for path in CAPTURES.rglob("boot_params.bin"))


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


def test_kpageflags_of_pages_that_hold_the_memory_map() -> None:
    kernel = boot(load_preset("tiny"), release="debian-6.1").kernel
    flags = np.concatenate(list(proc.kpageflags(kernel)))
    assert kernel.vmemmap.bootmem_registered
    for _, sections, phys in kernel.vmemmap.memmaps:
        frames = flags[phys >> 12 : (phys >> 12) + 512 * sections]
        assert (frames == proc.KPF_RESERVED | proc.KPF_PRIVATE).all()


@pytest.mark.skipif(shutil.which("page-types") is None, reason="no page-types on this computer: built from tools/mm")
def test_page_types_reads_kpageflags(kernel: Any, tmp_path: Path) -> None:
    with (tmp_path / "flags").open("wb") as file:
        proc.write_kpageflags(kernel, file)
    command = ["page-types", "-r", "-F", str(tmp_path / "flags")]
    table = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    counts = {row[-1]: int(row[1]) for line in table.splitlines()[1:] if len(row := line.split()) > 4}
    assert counts["buddy"] == kernel.page_alloc.nr_free_pages()
    assert (counts["compound_head,huge"], counts["compound_tail,huge"]) == (3, 3 * 511)
    total = next(line.split() for line in table.splitlines() if "total" in line)
    assert int(total[1]) == kernel.vmemmap.total


def test_watermarks_of_a_small_machine() -> None:
    # 256 MiB are too little for transparent huge pages, so the square root rules.
    k = boot(load_preset("tiny")).kernel
    given_back = sum(int(kib) for kib in re.findall(r"Freeing (?!SMP).* memory: (\d+)K", log_text(k))) // 4
    managed = k.page_alloc.totalram_pages - given_back
    assert k.page_alloc.min_free_kbytes == int((managed * 4 * 16) ** 0.5)
    for zone in k.nodes[0].zones:
        least, low, high, promo = watermarks(k, zone)
        assert promo - high == high - low == low - least >= 0


def log_text(kernel: Any) -> str:
    return "\n".join(line.text for line in kernel.log.lines)


# captured machines

ZONE_FIELDS = ("min", "low", "high", "spanned", "present", "managed", "cma")


def zones_of(text: str) -> dict[str, dict[str, Any]]:
    """The fields of a zoneinfo text that follow from booting."""
    found: dict[str, dict[str, Any]] = {}
    for block in re.split(r"(?=^Node \d+, zone)", text, flags=re.MULTILINE)[1:]:
        name = block.splitlines()[0]
        found[name] = {field: int(value) for field in ZONE_FIELDS if (value := _value(field, block))}
        found[name]["protection"] = re.findall(r"protection: \((.*)\)", block)
        found[name]["start_pfn"] = re.findall(r"start_pfn: +(\d+)", block)
    return found


def _value(field: str, block: str) -> str:
    match = re.search(rf"^        {field} +(\d+)$", block, re.MULTILINE)
    return match[1] if match else ""


def meminfo_of(text: str) -> dict[str, str]:
    return {name: value for name, value in re.findall(r"^(\w+): +(\d+)", text, re.MULTILINE) if _booted(name)}


def _booted(name: str) -> bool:
    return name in ("MemTotal", "VmallocTotal") or name.startswith("Huge")


def pageblocks_of(text: str) -> dict[str, int]:
    """Pageblocks of each zone. Their types change while a system runs, their number does not."""
    rows = re.findall(r"^(Node \d+, zone +\w+) +((?:\d+ +)+)$", text, re.MULTILINE)
    return {name: sum(map(int, cells.split())) for name, cells in rows}


def shape_of(text: str) -> list[str]:
    """The lines with every number replaced by its width."""
    return [re.sub(r" *\d+", lambda match: f"<{len(match[0])}>", line) for line in text.splitlines()]


def efi(folder: Path) -> bool:
    return "efi: EFI v" in (folder / "dmesg.txt").read_text(errors="replace")


@pytest.fixture(scope="module", params=FOLDERS, ids=lambda path: f"{path.parent.name}-{path.name}")
def captured(request: pytest.FixtureRequest) -> tuple[Path, Any]:
    return request.param, boot(load_machine(str(request.param))).kernel


def test_captured_zones(captured: tuple[Path, Any]) -> None:
    folder, kernel = captured
    real = zones_of((folder / "zoneinfo.txt").read_text())
    emulated = zones_of(proc.zoneinfo(kernel))
    if efi(folder):  # which memory the firmware's boot services held at that time is not in the folder
        for fields in (*real.values(), *emulated.values()):
            del fields["protection"]
    assert emulated == real


def test_captured_meminfo(captured: tuple[Path, Any]) -> None:
    folder, kernel = captured
    assert meminfo_of(proc.meminfo(kernel)) == meminfo_of((folder / "meminfo.txt").read_text())


def test_captured_pageblocks(captured: tuple[Path, Any]) -> None:
    folder, kernel = captured
    path = folder / "pagetypeinfo.txt"
    if not path.exists():
        pytest.skip("no pagetypeinfo.txt in the folder")
    real, emulated = path.read_text(), proc.pagetypeinfo(kernel)
    assert pageblocks_of(emulated) == pageblocks_of(real)
    assert shape_of(emulated) == shape_of(real)


def test_captured_buddyinfo_has_the_same_form_and_agrees_with_zoneinfo(captured: tuple[Path, Any]) -> None:
    folder, kernel = captured
    emulated = proc.buddyinfo(kernel)
    assert shape_of(emulated) == shape_of((folder / "buddyinfo.txt").read_text())
    free = [int(value) for value in re.findall(r"pages free +(\d+)\n", proc.zoneinfo(kernel)) if value != "0"]
    rows = [[int(cell) for cell in line.split()[4:]] for line in emulated.splitlines()]
    assert [sum(count << order for order, count in enumerate(row)) for row in rows] == free


@pytest.mark.big
def test_captured_pages_are_right_after_memory_was_given_back(captured: tuple[Path, Any]) -> None:
    found = check_memmap(captured[1])
    assert found.ok, found.message
