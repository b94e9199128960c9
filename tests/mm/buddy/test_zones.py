"""Nodes and zones from any memory, and where Movable zones begin: against pages looked at one by one."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minikern.core.cmdline import CommandLine
from minikern.core.config import Config
from minikern.mm.buddy import zones
from minikern.mm.page.mmzone import ZONE_NAMES
from minikern.state.memblock import Memblock
from minikern.state.numa import Numa
from minikern.state.totals import PageTotals
from minikern.verify.page_check_zones import _check_zone, memory
from tests.naive_zones import movable_starts, zones_of_node
from tests.support import behaviour_of

PAGE, MIB, GIB = 4096, 1 << 20, 1 << 30
NORMAL_FIRST = [(1, 0x1000), (0x1000, 0x1000), (0x1000, 0x9000), (0, 0), (0, 0)]


@cache
def of_release(**behaviour: Any) -> Any:
    return behaviour_of("debian-6.12", **behaviour)


def kernel(memory: list[tuple[int, int, int]], append: str = "", config: Any = (), **facts: Any) -> Any:
    """A kernel that knows memory, (base, end, nid) in bytes, and nothing else."""
    k = SimpleNamespace(memblock=Memblock(), cmdline=CommandLine(append), config=Config(dict(config)), lines=[])
    for base, end, nid in memory:
        k.memblock.add(base, end - base)
        k.memblock.set_node(base, end - base, nid)
    k.numa = Numa(parsed={nid for _, _, nid in memory} | set(facts.get("more", ())), apicid_to_node={0: 0})
    k.behaviour = of_release(**facts.get("behaviour", {}))
    k.totals = PageTotals(max_pfn=max(end for _, end, _ in memory) // PAGE)
    k.release = SimpleNamespace(image=SimpleNamespace(pglist_data_bytes=facts.get("pglist", 0), node_data_bytes=8000))
    k.printk = lambda text, level=6: k.lines.append(text)
    k.charged = {}
    k.charge = lambda kind, count: k.charged.update({kind: count})
    return k


def told(start: int, end: int) -> str:
    return f"[mem 0x{start * PAGE:016x}-0x{end * PAGE - 1:016x}]"


def near(*borders: int) -> st.SearchStrategy[int]:
    return st.one_of([st.integers(max(border - 20, 1), border + 20) for border in borders])


@settings(max_examples=150, deadline=None)
@given(
    st.sets(near(1, 0x800, 0x1000, 0x3000, 0x100000, 0x140000), min_size=2, max_size=10),
    st.lists(st.integers(0, 2), min_size=9, max_size=9),
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
    st.sampled_from(["", "kernelcore=4M", "movablecore=8M", "movablecore=30%"]),
    st.sampled_from(["late", "announced", "quiet"]),
)
def test_zones_against_pages(cuts: set[int], nids: list[int], switches: Any, append: str, memoryless: str) -> None:
    at = sorted(cuts)
    ranges = list(zip(at, at[1:], nids, strict=False))[::2]
    dma, dma32, device = switches
    config = {"CONFIG_ZONE_DMA": dma, "CONFIG_ZONE_DMA32": dma32, "CONFIG_ZONE_DEVICE": device}
    k = kernel([(low * PAGE, high * PAGE, nid) for low, high, nid in ranges], append, config,
               more=[1, 3], behaviour={"memoryless": memoryless})  # fmt: skip
    zones.zone_sizes_init(k)

    by_node = {nid: [(low, high) for low, high, n in ranges if n == nid] for nid in sorted({r[2] for r in ranges})}
    movable = {node.nid: node.zones[3].start_pfn for node in k.nodes if node.zones[3].present_pages}
    nodes = {node.nid: node for node in k.nodes}
    assert list(nodes) == sorted(by_node if memoryless == "late" else {*by_node, 1, 3})
    assert k.charged == {"node_init": len(nodes)}
    top, checked = ranges[-1][1], memory(k)
    lines = ["Zone ranges:"]
    low = at[0]
    for name, limit, there in (("DMA", 0x1000, dma), ("DMA32", 0x100000, dma32), ("Normal", top, True)):
        high = max(min(limit, top), low)
        if there:
            lines.append(f"  {name:8} {told(low, high) if low < high else 'empty'}")
            low = high
    lines += ["  Device   empty"] * device + ["Movable zone start for each node"]
    lines += [f"  Node {nid}: 0x{pfn * PAGE:016x}" for nid, pfn in sorted(movable.items())]
    lines += ["Early memory node ranges"]
    lines += [f"  node {nid:3}: {told(low, high)}" for low, high, nid in _joined(ranges)]
    for nid, node in nodes.items():
        if nid in by_node:
            expected = zones_of_node(by_node[nid], dma, dma32, movable.get(nid, 0))
            assert [(z.start_pfn, z.spanned_pages, z.present_pages) for z in node.zones] == [*expected, (0, 0, 0)]
            assert (node.start_pfn, node.end_pfn) == (by_node[nid][0][0], by_node[nid][-1][1])
            lines.append(f"Initmem setup node {nid} {told(node.start_pfn, node.end_pfn)}")
        else:
            assert (node.start_pfn, node.end_pfn, node.present_pages) == (0, 0, 0)
            lines += [f"Initializing node {nid} as memoryless"] * (memoryless == "announced")
            lines.append(f"Initmem setup node {nid} as memoryless")
        assert [(zone.index, zone.nid, zone.name) for zone in node.zones] == [(i, nid, ZONE_NAMES[i]) for i in range(5)]
        assert node.has_cpu == (nid == 0)
        for zone in node.zones:  # the check knows the same limits
            _check_zone(k, node, zone, [item for item in checked if item.nid == nid])
    assert k.lines == lines


def _joined(ranges: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    joined: list[tuple[int, int, int]] = []
    for low, high, nid in ranges:
        if joined and joined[-1][1:] == (low, nid):
            joined[-1] = (joined[-1][0], high, nid)
        else:
            joined.append((low, high, nid))
    return joined


def test_only_whole_pages_are_memory() -> None:
    k = kernel([(100, 3 * PAGE + 5, 0), (4 * PAGE + 1, 5 * PAGE + 4095, 0), (6 * PAGE, 7 * PAGE, 2)])
    assert list(zones.pfn_ranges(k)) == [(1, 3, 0), (6, 7, 2)] == zones.memory_pfn_ranges(k)
    assert list(zones.pfn_ranges(k, 2)) == [(6, 7, 2)]
    assert zones.absent_pages_in_range(k, -1, 0, 10) == 7
    assert zones.absent_pages_in_range(k, 0, 2, 10) == 7
    assert zones.absent_pages_in_range(k, 2, 3, 6) == 3


def test_memory_of_no_node_counts_as_the_first_s() -> None:
    k = kernel([(0, 2 * PAGE, 0)])
    k.memblock.memory.regions[0] = k.memblock.memory.regions[0]._replace(nid=-1)
    assert zones.memory_pfn_ranges(k) == [(0, 2, 0)]
    assert list(zones.pfn_ranges(k)) == [(0, 2, -1)]


@pytest.mark.parametrize(
    ("parsed", "apic", "pretended", "expected"),
    [({0}, {}, set(), True), ({0, 1}, {}, set(), False), ({0, 1}, {7: 0}, set(), True),
     ({0, 1}, {7: 0}, {1}, False), ({0, 1}, {7: 1}, {0}, True)],
)  # fmt: skip
def test_which_nodes_have_cpus(parsed: set[int], apic: dict[int, int], pretended: set[int], expected: bool) -> None:
    k = kernel([(0, 64 * MIB, 0)])
    k.numa = Numa(parsed=parsed, apicid_to_node=apic, cpu_nodes=pretended)
    zones.zone_sizes_init(k)
    assert k.nodes[0].has_cpu is expected


def test_a_late_node_with_cpus_only() -> None:
    k = kernel([(0, 64 * MIB, 0)])
    k.nodes, k.page_alloc = [], SimpleNamespace(nodes={})
    zones.init_memory_less_node(k, 5)
    node = k.page_alloc.nodes[5]
    assert k.nodes == [node]
    assert (node.nid, node.start_pfn, node.end_pfn, node.has_cpu) == (5, 0, 0, True)
    assert [(zone.index, zone.nid, zone.spanned_pages) for zone in node.zones] == [(i, 5, 0) for i in range(5)]
    assert k.lines == ["Initmem setup node 5 [mem 0x0000000000000000-0x0000000000000000]"]


@pytest.mark.parametrize(("pglist", "size"), [(0, 8000), (5000, 5000)])
@pytest.mark.parametrize("memoryless", ["late", "announced", "quiet"])
def test_a_node_without_memory_has_memory_for_itself(memoryless: str, pglist: int, size: int) -> None:
    k = kernel([(0, 64 * MIB, 0)], more=[1], behaviour={"memoryless": memoryless}, pglist=pglist)
    zones.zone_sizes_init(k)
    taken = [(r.size, r.base % 64, r.end > 63 * MIB) for r in k.memblock.reserved_regions()]
    assert taken == ([] if memoryless == "late" else [(size, 0, True)])


# where Movable zones begin


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 900), st.integers(1, 2500), st.integers(0, 2)), min_size=1, max_size=7),
    st.integers(0, 7000),
    st.integers(1, 9000),
)
def test_kernelcore_is_spread_page_by_page(pieces: list[tuple[int, int, int]], usable: int, required: int) -> None:
    nodes: dict[int, list[tuple[int, int]]] = {}
    memory, at = [], 1
    for gap, size, nid in pieces:
        at += gap + 1
        memory.append((at * PAGE, (at + size) * PAGE, nid))
        nodes.setdefault(nid, []).append((at, at + size))
        at += size
    k = kernel(memory)
    bounds = [(0, 0), (1, usable), (usable, at), (0, 0), (0, 0)] if 1 < usable < at else [(1, at)] + [(0, 0)] * 4
    usable = usable if 1 < usable < at else 1
    k.cmdline = CommandLine(f"kernelcore={required * 4}K")
    total = sum(high - low for ranges in nodes.values() for low, high in ranges)
    expected = movable_starts(dict(sorted(nodes.items())), usable, required) if required < total else {}
    assert zones.find_zone_movable_pfns(k, bounds) == expected


@pytest.mark.parametrize(
    ("append", "first", "second"),
    [
        ("", 0, 0),
        ("kernelcore=0", 0, 0),
        ("kernelcore=64M", 0x2400, 0x7000),  # 8192 pages each; the 4095 below 16 MiB are among the first node's
        ("kernelcore=50%", 0x2400, 0x7400),
        ("kernelcore=100%", 0, 0),
        ("kernelcore=900%", 0, 0),
        ("kernelcore=1G", 0, 0),
        ("movablecore=64M", 0x2800, 0x7800),
        ("movablecore=10M", 0x4400, 0),  # 3072 pages, as it is rounded; what the second node lacks is the first's
        ("movablecore=25%", 0x3800, 0x8800),
        ("movablecore=1G", 0, 0),
        ("movablecore=1K", 0, 0),
        ("kernelcore=16M movablecore=64M", 0x2800, 0x7800),
        ("kernelcore=96M movablecore=96M", 0x3400, 0x8000),
    ],
)
def test_words_on_a_machine_of_two_nodes(append: str, first: int, second: int) -> None:
    k = kernel([(PAGE, 0x5000 * PAGE, 0), (0x5000 * PAGE, 0x9000 * PAGE, 1)], append)
    found = zones.find_zone_movable_pfns(k, NORMAL_FIRST)
    assert found == {nid: pfn for nid, pfn in ((0, first), (1, second)) if pfn}
    assert k.lines == []


def test_all_that_lies_low_is_taken_off_what_is_required() -> None:
    low = [(PAGE, 2500 * PAGE, 0), (2600 * PAGE, 5000 * PAGE, 0)]
    k = kernel([*low, (6000 * PAGE, 20000 * PAGE, 0), (20000 * PAGE, 40000 * PAGE, 1)], "kernelcore=48000K")
    bounds = [(1, 6000), (6000, 6000), (6000, 40000), (0, 0), (0, 0)]
    # 6000 pages each, 4899 of them low ones
    assert zones.find_zone_movable_pfns(k, bounds) == {0: 7168, 1: 26624}


@pytest.mark.parametrize(
    ("text", "pages"),
    [(None, 0), ("", 0), ("1M", 256), ("4095", 0), ("8191", 1), ("50%", 500), ("100%", 1001), ("101%", 1001)],
)
def test_sizes_in_words(text: str | None, pages: int) -> None:
    assert zones._core_pages(text, 1001) == pages


@pytest.mark.parametrize("append", ["kernelcore=mirror", "kernelcore=mirror movablecore=64M"])
def test_there_is_no_mirrored_memory(append: str) -> None:
    k = kernel([(PAGE, 0x9000 * PAGE, 0)], append)
    assert zones.find_zone_movable_pfns(k, NORMAL_FIRST) == {}
    assert k.lines == ["The system has no mirror memory, ignore kernelcore=mirror."]


def test_the_lowest_pluggable_memory_of_each_node_begins_its_movable_zone() -> None:
    k = kernel([(PAGE, GIB, 0), (GIB, 2 * GIB, 1), (2 * GIB, 3 * GIB, 0)], "kernelcore=100M")
    k.memblock.skip_hotplug = True
    assert zones.find_zone_movable_pfns(k, NORMAL_FIRST) == {}
    for base, size in ((256 * MIB + PAGE, 512 * MIB), (2 * GIB, GIB), (2 * GIB - 4 * MIB + PAGE, 2 * MIB)):
        k.memblock.mark_hotplug(base, size)
    assert zones.find_zone_movable_pfns(k, NORMAL_FIRST) == {0: 0x10400}
    k.memblock.mark_hotplug(GIB + 5 * PAGE, MIB)
    assert zones.find_zone_movable_pfns(k, NORMAL_FIRST) == {0: 0x10400, 1: 0x40400}


def test_movable_node_begins_at_the_kernel() -> None:
    k = kernel([(PAGE, GIB, 0)])
    assert zones.cmdline_parse_movable_node(k, None) is True
    assert k.memblock.bottom_up is k.memblock.skip_hotplug is True
