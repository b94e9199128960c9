"""SRAT and SLIT as the kernel takes them: overlaps, wrong ranges, uncovered RAM, hot-pluggable memory, distances."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from minikern.acpi.srat import SratCpu, SratMemory
from minikern.core.cmdline import CommandLine
from minikern.core.config import Config
from minikern.mm.early import numa
from minikern.state.memblock import Flags, Memblock
from minikern.state.numa import Numa
from minikern.state.totals import PageTotals
from tests.support import behaviour_of

MIB, GIB = 1 << 20, 1 << 30
OLD = {"numa_low": "zero", "numa_min_size": True, "numa_uncovered": "e820", "numa_warning_prefix": "NUMA: "}


def memory(pxm: int, base: int, length: int, hotplug: bool = False, enabled: bool = True) -> SratMemory:
    return SratMemory(pxm, base, length, enabled, hotplug, False)


def run(
    monkeypatch: pytest.MonkeyPatch, *entries: Any, append: str = "", old: bool = False, slit: Any = None
) -> Any:
    memblock = Memblock()
    memblock.add(MIB, 4 * GIB - MIB)
    memblock.reserve(16 * MIB, 64 * MIB)
    tables = {"SRAT": b"srat", "SLIT": b"slit" if slit is not None else None}
    log: list[str] = []
    k = SimpleNamespace(
        cmdline=CommandLine(append), memblock=memblock, totals=PageTotals(max_pfn=4 * GIB >> 12), numa=Numa(),
        config=Config({"CONFIG_NODES_SHIFT": 6, "CONFIG_NUMA": True}),
        behaviour=behaviour_of("debian-6.12", **(OLD if old else {})),
        release=SimpleNamespace(image=SimpleNamespace(node_data_bytes=4096)),
        acpi=SimpleNamespace(table=tables.get), log=log, printk=lambda text, level=6: log.append(text),
    )  # fmt: skip
    memblock.bottom_up = memblock.skip_hotplug = "movable_node" in append
    monkeypatch.setattr(numa, "parse_srat", lambda data: list(entries))
    monkeypatch.setattr(numa, "parse_slit", lambda data: slit)
    numa.numa_init(k)  # type: ignore[arg-type]
    memblock.check()
    assert not memblock.bottom_up
    return k


HALVES = (memory(0, 0, 2 * GIB), memory(1, 2 * GIB, 2 * GIB))


@pytest.mark.parametrize(("old", "prefix"), [(False, ""), (True, "NUMA: ")])
def test_overlap_of_two_nodes_voids_the_table(monkeypatch: pytest.MonkeyPatch, old: bool, prefix: str) -> None:
    k = run(monkeypatch, memory(0, 0, 3 * GIB), memory(1, 2 * GIB, 2 * GIB), old=old)
    first = "0x00000000" if old else "0x00100000"
    assert f"{prefix}node 0 [mem {first}-0xbfffffff] overlaps with node 1 [mem 0x80000000-0xffffffff]" in k.log
    assert k.log[-3:-1] == ["No NUMA configuration found", f"Faking a node at [mem {0:#018x}-{4 * GIB - 1:#018x}]"]
    assert k.numa.parsed == {0}


def test_overlap_of_a_node_with_itself_is_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    k = run(monkeypatch, memory(0, 0, 3 * GIB), memory(0, 2 * GIB, 2 * GIB))
    assert "Warning: node 0 [mem 0x00100000-0xbfffffff] overlaps with itself [mem 0x80000000-0xffffffff]" in k.log
    assert [(block.start, block.end) for block in k.numa.memblks] == [(MIB, 4 * GIB)]


def test_wrong_ranges_are_left_out_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = memory(2, 2**64 - MIB, 2 * MIB), memory(3, 8 * GIB, 0), memory(4, 0, GIB, enabled=False)
    k = run(monkeypatch, *HALVES, *wrong)
    assert any(line.startswith("Warning: invalid memblk node 2 [mem 0xfffffffffff00000-") for line in k.log)
    assert k.numa.parsed == {0, 1, 2, 3}  # nodes all the same, without memory
    assert {region.nid for region in k.memblock.memory_regions()} == {0, 1}
    assert not any("No NUMA" in line for line in k.log)


@pytest.mark.parametrize(
    ("missing", "old", "line"),
    [
        (MIB, False, None),
        (2 * MIB, False, "NUMA: no nodes coverage for 2MB of 4095MB RAM"),
        (MIB, True, "NUMA: nodes only cover 4094MB of your 4095MB e820 RAM. Not used."),
        (MIB - 4096, True, None),
    ],
)
def test_uncovered_memory(monkeypatch: pytest.MonkeyPatch, missing: int, old: bool, line: str | None) -> None:
    k = run(monkeypatch, memory(0, 0, 2 * GIB), memory(1, 2 * GIB, 2 * GIB - missing), old=old)
    assert (line in k.log) if line else not any("cover" in text for text in k.log)
    assert ("No NUMA configuration found" in k.log) == (line is not None)


def test_nodes_without_memory_or_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    k = run(monkeypatch, SratCpu(7, 0, True, False), SratCpu(9, 1, False, False), *HALVES)
    assert k.numa.pxm_to_node == {7: 0, 0: 1, 1: 2}
    assert k.numa.parsed == {0, 1, 2} and k.numa.apicid_to_node == {0: 0}
    assert [line[:12] for line in k.log if line.startswith("NODE_DATA")] == ["NODE_DATA(1)", "NODE_DATA(2)"]


def test_pluggable_memory_without_the_kernel_stays_pluggable(monkeypatch: pytest.MonkeyPatch) -> None:
    k = run(monkeypatch, memory(0, 0, 2 * GIB, hotplug=True), memory(1, 2 * GIB, 2 * GIB, hotplug=True),
            append="movable_node")  # fmt: skip
    flags = {region.nid: region.flags & Flags.HOTPLUG for region in k.memblock.memory_regions()}
    assert flags == {0: 0, 1: Flags.HOTPLUG}
    assert "    NODE_DATA(1) on node 0" in k.log  # nothing of the kernel's goes there


def test_pluggable_address_space_counts_even_if_the_table_is_void(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = (*HALVES, memory(0, 4 * GIB, 60 * GIB, hotplug=True))
    assert run(monkeypatch, *entries).numa.max_possible_pfn == 64 * GIB >> 12
    void = run(monkeypatch, *entries, memory(1, GIB, GIB))
    assert "No NUMA configuration found" in void.log
    assert void.numa.max_possible_pfn == 64 * GIB >> 12
    assert run(monkeypatch, *entries, append="numa=off").numa.max_possible_pfn == 0


@pytest.mark.parametrize(
    ("slit", "distance", "line"),
    [
        ([[10, 21], [21, 10]], [[10, 21], [21, 10]], "NUMA: Initialized distance table, cnt=2"),
        ([[10, 9], [21, 10]], [], "ACPI: SLIT table looks invalid. Not used."),
        ([[11, 21], [21, 10]], [], "ACPI: SLIT table looks invalid. Not used."),
        ([[10]], [[10, 20], [20, 10]], "NUMA: Initialized distance table, cnt=2"),
    ],
)
def test_slit(monkeypatch: pytest.MonkeyPatch, slit: Any, distance: list[list[int]], line: str) -> None:
    k = run(monkeypatch, *HALVES, slit=slit)
    assert k.numa.distance == distance
    assert line in k.log


def test_table_of_a_void_srat_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = run(monkeypatch, *HALVES).memblock.reserved.total()
    void = run(monkeypatch, *HALVES, memory(1, GIB, GIB), slit=[[10, 21], [21, 10]])
    assert void.memblock.reserved.total() == kept - 4096  # one node's data instead of two


@pytest.mark.parametrize("append", ["numa=off", "numa=offline", "numa=noacpi"])
def test_numa_not_wanted(monkeypatch: pytest.MonkeyPatch, append: str) -> None:
    k = run(monkeypatch, *HALVES, append=append)
    assert k.log[0] == ("No NUMA configuration found" if "noacpi" in append else "NUMA turned off")
