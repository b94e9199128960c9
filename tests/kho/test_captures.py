"""Kernels with Kexec HandOver, captured: what they set aside, what they handed over, and what the next one kept."""

from __future__ import annotations

import lzma
import re
from functools import cache
from pathlib import Path

import pytest

from minikern.describe.presets import load_machine
from minikern.kho import retrieve_files
from minikern.lab.run import Boot, boot
from minikern.state.kho_abi import SCRATCH
from minikern.state.memblock import Flags, Memblock, MemblockType, merge
from tests.support import CAPTURES, captured_folders

HANDING = [name for name in captured_folders() if (CAPTURES / name / "kho/out/scratch_phys").is_file()]
HANDED = [name for name in HANDING if (CAPTURES / name / "kho/in/fdt").is_file()]
_RESERVED = re.compile(r"reserved\[0x\w+\]\s*\[0x(\w+)-0x(\w+)\], .* flags: 0x(\w+)")
_STEP = re.compile(r"(__memblock_reserve|memblock_phys_free): \[0x(\w+)-0x(\w+)\](?: nid=(-?\d+) flags=(\w+))?")

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(not HANDING, reason="no captures with Kexec HandOver beside the checkout"),
]


def logs_flags(name: str) -> bool:
    return "__memblock_reserve: [" in (CAPTURES / name / "dmesg.txt").read_text(errors="replace")


@cache
def booted(name: str) -> Boot:
    return boot(load_machine(str(CAPTURES / name)))


@pytest.mark.parametrize("name", HANDING)
def test_scratch_areas(name: str) -> None:
    kernel = booted(name).kernel
    columns = [(CAPTURES / name / "kho/out" / column).read_text().split() for column in ("scratch_phys", "scratch_len")]
    real = [(int(phys, 16), int(size, 16)) for phys, size in zip(*columns, strict=True)]
    assert [tuple(area) for area in kernel.kho.scratch] == real
    array = kernel.machine.bus.read_bytes(kernel.kho.scratch_phys, len(real) * SCRATCH.size)
    assert list(SCRATCH.iter_unpack(array)) == real


def reservations(path: Path) -> MemblockType:
    """What a log with ``memblock=debug`` says is reserved when Kexec HandOver's turn comes."""
    reserved, listed = MemblockType("reserved"), 0
    for line in path.read_text(errors="replace").splitlines():
        listed += "MEMBLOCK configuration" in line
        if listed == 1 and (found := _RESERVED.search(line)):
            start, end = int(found[1], 16), int(found[2], 16) + 1
            reserved.add_range(start, end - start, -1, int(found[3], 16))
        elif listed and ("kho_memory_init" in line or "kho_preserved_memory" in line):
            break
        elif listed and (found := _STEP.search(line)):
            start, end = int(found[2], 16), int(found[3], 16) + 1
            if found[1] == "memblock_phys_free":
                reserved.remove_range(start, end - start)
            else:
                reserved.add_range(start, end - start, int(found[4]), int(found[5], 16))
    return reserved


@pytest.mark.parametrize("name", [name for name in captured_folders() if logs_flags(name)])
def test_every_byte_the_kernel_reserves_for_itself(name: str) -> None:
    kernel = booted(name).kernel
    kept = Flags.RSRV_KERN | Flags.HUGETLB
    logged = reservations(CAPTURES / name / "dmesg.txt").regions
    real = [region._replace(flags=region.flags & kept) for region in logged]
    memblock = Memblock()
    memblock.reserved.regions = list(kernel.memblock.reserved.regions)
    if kernel.kho.incoming is None:
        memblock.phys_free(kernel.kho.scratch_phys, SCRATCH.size * len(kernel.kho.scratch))
        for area in kernel.kho.scratch:
            memblock.phys_free(area.addr, area.size)
    else:
        taken = blocks_of(name)
        memblock.reserved.regions = [
            region for region in memblock.reserved.regions
            if not any(phys <= region.base < phys + (4096 << order) for phys, order in taken)
        ]  # fmt: skip
    ours = [region._replace(nid=-1, flags=region.flags & kept) for region in memblock.reserved_regions()]
    assert merge(ours) == merge(region._replace(nid=-1) for region in real)


def blocks_of(name: str) -> list[tuple[int, int]]:
    text = lzma.decompress((CAPTURES / name / "../kho-ram/preserved-blocks.txt.xz").read_bytes()).decode()
    rows = [line.split() for line in text.splitlines() if not line.startswith("#")]
    return [(int(phys, 16), int(order)) for _, phys, order in rows]


@pytest.mark.parametrize("name", HANDED)
def test_preserved_blocks_are_found_in_the_order_of_the_walk(name: str) -> None:
    kernel = booted(name).kernel
    real = blocks_of(name)
    assert kernel.kho.incoming is not None
    kept = [
        (blocks.phys + i * (4096 << blocks.order), blocks.order)
        for blocks in kernel.kho.incoming.blocks for i in range(blocks.count)
    ]  # fmt: skip
    freed = [block for block in real if block not in set(kept)]
    assert len(freed) <= 1, "only the orchestrator's header has been read and freed"
    assert kept == [block for block in real if block not in freed]


@pytest.mark.parametrize("name", HANDED)
def test_memory_comes_from_scratch_only(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    plain = Memblock.find_in_range

    def watched(self: Memblock, start: int, end: int, size: int, align: int, nid: int = -1) -> int | None:
        place = plain(self, start, end, size, align, nid)
        if place is not None:
            inside = [region for region in self.memory.regions if region.base <= place and place + size <= region.end]
            assert inside, f"{place:#x} is no memory"
            assert inside[0].flags & Flags.KHO_SCRATCH, f"{size} bytes at {place:#x} are not scratch"
            asked.append(place)
        return place

    monkeypatch.setattr(Memblock, "find_in_range", watched)
    boot(load_machine(str(CAPTURES / name)))
    assert len(asked) > 50


@pytest.mark.parametrize("name", [name for name in HANDED if (CAPTURES / name / "luo-get.txt").is_file()])
def test_a_real_kernels_memory_file_comes_back(name: str) -> None:
    kernel = boot(load_machine(str(CAPTURES / name))).kernel
    rows = lzma.decompress(next((CAPTURES / name / "../kho-ram").glob("memfd-*-folios.txt.xz")).read_bytes()).decode()
    real = [int(line.split()[1], 16) for line in rows.splitlines() if not line.startswith("#")]
    sessions = retrieve_files.incoming_sessions(kernel)
    assert list(sessions) == ["vm0"]
    assert {token: file.compatible for token, file in sessions["vm0"].items()} == {7: "memfd-v2"}
    assert len(real) == 16384
