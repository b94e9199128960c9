"""Small early allocations: their sizes, and that a real kernel's log of all reservations is met page by page."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from minikern.core.config import Config
from minikern.describe.presets import load_machine
from minikern.lab.run import boot
from minikern.mm.early import early_allocs
from minikern.mm.early.percpu import AllocInfo
from tests.support import behaviour_of

CAPTURES = Path(__file__).parents[3] / "../shared/captures"
LINE = re.compile(r"memblock_(reserve|free|phys_free): \[0x(\w+)-0x(\w+)\]")


def logs_reservations(folder: Path) -> bool:
    return "memblock_reserve: [" in (folder / "dmesg.txt").read_text(errors="replace")


FOLDERS = [path.parent for path in sorted(CAPTURES.rglob("dmesg.txt")) if logs_reservations(path.parent)]


class Sizes:
    """A memblock that only notes what is asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def alloc(self, size: int, align: int) -> int:
        self.asked.append(size)
        return 0


def kernel(cpus: int, nodes: int = 1, **behaviour: object) -> Any:
    return SimpleNamespace(
        memblock=Sizes(),
        cpus=SimpleNamespace(nr_cpu_ids=cpus, possible=list(range(cpus))),
        numa=SimpleNamespace(nr_node_ids=lambda: nodes),
        behaviour=behaviour_of("debian-6.1", **behaviour),
        config=Config({}),
    )


@pytest.mark.parametrize(("chunk_bytes", "chunk"), [(136, 144), (192, 200)])
def test_the_first_chunk_of_two_cpus(chunk_bytes: int, chunk: int) -> None:
    k = kernel(2, pcpu_chunk_bytes=chunk_bytes)
    info = AllocInfo(217088, 8192, 28672, 1 << 20, 2 << 20, [[0, 1]])
    early_allocs.pcpu_setup_first_chunk(k, info)
    assert k.memblock.asked == [8, 8, 8, 16, 352, chunk, 256, 264, 64, chunk, 896, 904, 224]


def test_masks_grow_with_cpus_and_nodes() -> None:
    k = kernel(65, nodes=3, smp_scheme="split")
    early_allocs.setup_cpu_masks(k)
    assert k.memblock.asked == [16] * 7, "a variant's bring-up is not the kernel's build"
    later = kernel(64, nodes=3, smp_cpu_masks=1)
    early_allocs.setup_cpu_masks(later)
    assert later.memblock.asked == [8] * 4


@pytest.mark.parametrize(("cpus", "tables"), [(1, 3), (8, 3), (9, 4), (18, 5), (4500, 3 + 1 + 518)])
def test_tables_of_the_cpu_entry_areas(cpus: int, tables: int) -> None:
    k = kernel(cpus)
    early_allocs.trap_init(k)
    assert k.memblock.asked == [4096] * tables


@pytest.mark.parametrize(("cpus", "tables"), [(1, 3), (2, 5), (3, 7), (4, 9)])
def test_cpu_entry_areas_at_random(cpus: int, tables: int) -> None:
    k = kernel(cpus)
    k.behaviour = behaviour_of("debian-6.12", cea_random=True)
    k.boot_params = SimpleNamespace(page=bytes(0x211) + bytes([0x81 | early_allocs.KASLR_FLAG]))
    early_allocs.trap_init(k)
    assert k.memblock.asked == [4096] * tables
    k.boot_params.page = bytes(4096)
    k.memblock.asked.clear()
    early_allocs.trap_init(k)
    assert k.memblock.asked == [4096] * 3


@pytest.mark.skipif(not FOLDERS, reason="no shared/captures beside the checkout")
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: str(path.name))
def test_a_logged_boot_reserves_the_same_pages(folder: Path) -> None:
    held: set[int] = set()
    for line in (folder / "dmesg.txt").read_text(errors="replace").splitlines():
        match = LINE.search(line)
        if match:
            # Pages that are held in part are held; what is given back in part stays.
            start, end = int(match[2], 16), int(match[3], 16) + 1
            if match[1] == "reserve":
                held.update(range(start >> 12, -(-end >> 12)))
            elif start % 4096 == 0 and end % 4096 == 0:
                held.difference_update(range(start >> 12, end >> 12))
        elif "freeing early" in line or "Memory: " in line:
            break
    k = boot(load_machine(str(folder))).kernel
    ours: set[int] = set()
    for region in k.memblock.reserved_regions():
        ours.update(range(region.base >> 12, -(-region.end >> 12)))
    assert len(held) > 1000
    assert held - ours == set()
