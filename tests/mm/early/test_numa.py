"""Nodes: pretended ones, ones without memory or CPUs, kernels without NUMA, movable zones, trimmed memory."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.errors import MachineStopped
from hw.spec import MemoryRange
from minikern.core.build_facts import with_kernel_facts
from minikern.core.config import Config
from minikern.core.kernel_facts import KernelFacts
from minikern.core.release import load_release
from minikern.describe.adjust import Adjustments, adjust
from minikern.describe.presets import load_preset
from minikern.lab.run import boot
from minikern.mm.early.mtrr import Mtrr, write_back_ranges
from minikern.mm.early.numa_emulation import Block, split_nodes
from minikern.state.memblock import Memblock
from minikern.state.totals import PageTotals

MIB, GIB = 1 << 20, 1 << 30


def lines(append: str = "", memory: str = "", numa: tuple[str, ...] = (), release: str = "") -> list[str]:
    spec = load_preset("tiny")
    adjust(spec, Adjustments(memory=memory, numa=numa))
    k = boot(spec, append=append, release=release).kernel
    k.memblock.check()
    k.page_alloc.check()
    return [line.text for line in k.log.lines]


def test_fake_nodes_by_count() -> None:
    log = lines("numa=fake=4", "4G")
    assert [line for line in log if line.startswith("Faking node")] == [
        "Faking node 0 at [mem 0x0000000000001000-0x0000000040000fff] (1024MB)",
        "Faking node 1 at [mem 0x0000000040001000-0x00000000ffffffff] (3071MB)",
        "Faking node 2 at [mem 0x0000000100000000-0x000000013fffffff] (1024MB)",
        "Faking node 3 at [mem 0x0000000140000000-0x000000017fffffff] (1024MB)",
    ]
    assert "Initmem setup node 3 [mem 0x0000000140000000-0x000000017fffffff]" in log
    assert "Fallback order for Node 1: 1 2 3 0 " in log


def test_fake_nodes_of_every_real_one() -> None:
    log = lines("numa=fake=2U", numa=("2G,cpus=0", "2G,cpus=1"))
    assert sum(line.startswith("Faking node") for line in log) == 4
    assert "Fallback order for Node 2: 2 3 0 1 " in log  # the other half of the same real node is nearer


@pytest.mark.parametrize(
    ("append", "line"),
    [
        ("numa=fake=2000", "numa=fake=2000 too large, reducing to 1024"),
        ("numa=fake=2000", "Not enough memory for each node.  NUMA emulation disabled."),
        ("numa=fake=8M", "Fake node size 8MB too small, increasing to 32MB"),
        ("numa=off", "NUMA turned off"),
        ("kernelcore=mirror", "The system has no mirror memory, ignore kernelcore=mirror."),
    ],
)
def test_complaints(append: str, line: str) -> None:
    assert line in lines(append, "2G")


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=4),
    st.one_of(st.integers(0, 40).map(str), st.integers(0, 900).map("{}M".format), st.integers(0, 5).map("{}U".format)),
)
def test_fake_nodes_cover_the_real_ones(shape: list[tuple[int, int]], text: str) -> None:
    memblock, blocks, at = Memblock(), [], 0
    for nid, (gap, size) in enumerate(shape):
        start = at + gap * 16 * MIB
        at = start + size * 16 * MIB
        memblock.add(start, at - start)
        blocks.append(Block(start, at, nid))
    said: list[str] = []
    k: Any = SimpleNamespace(
        memblock=memblock, totals=PageTotals(max_pfn=at >> 12), config=Config({"CONFIG_NODES_SHIFT": 6}),
        printk=lambda line, level=6: said.append(line), numa=SimpleNamespace(parsed=set()),
    )  # fmt: skip
    found = split_nodes(k, text, blocks)
    if found is None:
        return
    made, phys_of, _ = found
    assert sum(block.end - block.start for block in made) == sum(block.end - block.start for block in blocks)
    for block in made:
        owner = next(real for real in blocks if real.start <= block.start < real.end)
        assert block.end <= owner.end
        assert phys_of[block.nid] in {real.nid for real in blocks}
    assert len(said) >= len(made)


def test_node_without_memory_by_release() -> None:
    numa = ("2G,cpus=0", "0,cpus=1")
    new = lines(numa=numa)
    assert "Initmem setup node 1 as memoryless" in new
    assert "Fallback order for Node 1: 0 " in new
    assert not any(line.startswith("Initializing node") for line in new)
    middle = lines(numa=numa, release="linux-5.19")
    at = middle.index("Initializing node 1 as memoryless")
    assert middle[at + 1] == "Initmem setup node 1 as memoryless"
    assert "Fallback order for Node 1: 1 0 " in middle
    old = lines(numa=numa, release="linux-5.4")
    at = old.index("Initmem setup node 1 [mem 0x0000000000000000-0x0000000000000000]")
    assert old[at - 1] == "    NODE_DATA(1) on node 0"
    assert not any(line.startswith("Fallback order") for line in old)
    for log in (new, middle, old):
        assert sum(line.startswith("Built 2 zonelists") for line in log) == 1


def test_node_without_cpus() -> None:
    log = lines(numa=("1G,cpus=0-1", "1G", "1G"))
    assert any(line.startswith("Built 3 zonelists") for line in log)
    assert "Fallback order for Node 0: 0 1 2 " in log


@pytest.mark.parametrize("start", [0x1000_0000, 0x2000_0000, 0x104E_9B23_BC])
def test_memory_beyond_the_map_has_no_node(start: int) -> None:
    spec = load_preset("tiny")
    spec.boot.efi_unaccepted = start
    k = boot(spec).kernel
    assert [pglist.nid for pglist in k.nodes] == [0]
    spec.boot.efi_unaccepted_bytes = 1 << 21
    if start > 0x1000_0000:
        with pytest.raises(MachineStopped, match="lies beyond the map"):
            boot(spec)


def test_movable_zone_by_percent() -> None:
    log = lines("movablecore=50%", "4G")
    at = log.index("Movable zone start for each node")
    assert log[at + 1] == "  Node 0: 0x0000000100000000"


def test_memory_limits_add_up() -> None:
    log = lines("mem=3G mem=1G memmap=64M$512M", "4G")
    user = log[log.index("user-defined physical RAM map:") + 1 :]
    assert "user: [mem 0x0000000020000000-0x0000000023ffffff] reserved" in user
    assert "user: [mem 0x0000000024000000-0x000000003fffffff] usable" in user
    assert not any("0x0000000100000000" in line and "usable" in line for line in user)


def test_retyped_memory() -> None:
    log = lines("memmap=16M%0x10000000-1+4", "1G")
    assert "user: [mem 0x0000000010000000-0x0000000010ffffff] ACPI NVS" in log


def test_kernel_facts_of_a_log() -> None:
    release = load_release("debian-6.12")
    assert with_kernel_facts(release, None) is release
    facts = KernelFacts(node_data_bytes=4096, nr_cpus=64, image_kib=[1, 2, 3, 4, 5], image_address=8 * GIB)
    changed = with_kernel_facts(release, facts)
    assert changed.config["CONFIG_NR_CPUS"] == 64
    assert changed.config["CONFIG_NODES_SHIFT"] == 6
    assert changed.image.node_data_bytes == 4096
    assert (changed.image.code_kib, changed.image.bss_kib) == (1, 5)
    assert changed.image.brk_start > changed.image.text_start == 8 * GIB  # laid out anew from the parts
    assert release.config["CONFIG_NR_CPUS"] == 8192


def test_write_back_ranges() -> None:
    registers = [Mtrr(0, 8 * GIB, 6), Mtrr(2 * GIB, 4 * GIB, 0), Mtrr(8 * GIB, 9 * GIB, 6), Mtrr(GIB, GIB + MIB, 1)]
    assert write_back_ranges(registers) == [(0, 2 * GIB), (4 * GIB, 9 * GIB)]


def test_memory_left_uncached_is_lost() -> None:
    spec = load_preset("tiny")
    spec.memory = "2G"
    full = (1 << 46) - 1
    msrs = {"2ff": 0xC00, "fe": 0xD02, "200": 6, "201": full & ~(GIB - 1) | 0x800}
    spec.cpus.msrs = [msrs, msrs]
    log = [line.text for line in boot(spec).kernel.log.lines]
    at = log.index("modified physical RAM map:")
    assert log[at - 3] == "e820: update [mem 0x40000000-0x7fffffff] usable ==> reserved"
    assert log[at - 2] == "WARNING: BIOS bug: CPU MTRRs don't cover all of memory, losing 1023MB of RAM."
    assert "modified: [mem 0x0000000040000000-0x000000007fefffff] reserved" in log


def test_efi_mmio_is_removed() -> None:
    spec = load_preset("tiny")
    spec.boot.efi_mmio = [MemoryRange(0xFF000000, 0x100000000, 2), MemoryRange(0xFEC00000, 0xFEC01000, 2)]
    log = [line.text for line in boot(spec).kernel.log.lines]
    at = log.index("efi: Remove mem00: MMIO range=[0xff000000-0xffffffff] (16MB) from e820 map")
    assert log[at + 1] == "e820: remove [mem 0xff000000-0xffffffff] reserved"
    assert log[at + 2] == "efi: Not removing mem01: MMIO range=[0xfec00000-0xfec00fff] (4KB) from e820 map"
