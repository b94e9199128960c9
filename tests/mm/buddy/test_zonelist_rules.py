"""Fallback orders, what a zone is thought to manage, and the figures the log tells of them."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minikern.core.config import Config
from minikern.mm.buddy import zonelist
from minikern.mm.page.mmzone import Pglist, Zone
from minikern.state.memblock import Memblock
from minikern.state.numa import Numa
from minikern.state.totals import PageTotals
from tests.naive_zones import fallback
from tests.support import behaviour_of

PAGE = 4096


@cache
def of_release(**behaviour: Any) -> Any:
    return behaviour_of("debian-6.12", **behaviour)


def kernel(present: list[list[int]], config: Any = (), cpus: Any = (), **behaviour: Any) -> Any:
    """Nodes with so many present pages in their zones."""
    k: Any = SimpleNamespace(lines=[], charged=[], config=Config({"CONFIG_NODES_SHIFT": 6, **dict(config)}))
    k.nodes = [Pglist(nid, 0, 1, [Zone(at, nid, 0, pages, pages) for at, pages in enumerate(zones)], nid in cpus)
               for nid, zones in enumerate(present)]  # fmt: skip
    k.numa, k.totals, k.memblock = Numa(), PageTotals(), Memblock()
    k.behaviour = of_release(**behaviour)
    k.release = SimpleNamespace(facts=SimpleNamespace(dma_reserve_pages=-1))
    k.printk = lambda text, level=6: k.lines.append(text)
    k.charge = lambda kind, count: k.charged.append((kind, count))
    return k


@settings(max_examples=200)
@given(st.integers(1, 6), st.data(), st.booleans(), st.booleans())
def test_fallback_orders_one_node_at_a_time(count: int, data: Any, itself: bool, lines: bool) -> None:
    distances = data.draw(st.lists(st.lists(st.sampled_from([10, 11, 20, 21]), min_size=count, max_size=count),
                                   min_size=count, max_size=count))  # fmt: skip
    filled = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))
    k = kernel([[0, 5, 0, 0, 0] if any_ or nid == 0 else [0] * 5 for nid, any_ in enumerate(filled)], cpus={1},
               fallback_self=itself, fallback_lines=lines, managed_estimate=False)  # fmt: skip
    k.numa.distance = distances
    for nid in range(count):
        distances[nid][nid] = 10
    zonelist.build_all_zonelists(k)
    nodes = [node.nid for node in k.nodes if node.present_pages]
    load = [0] * count
    expected = {nid: fallback(nid, nodes, k.numa.node_distance, load, itself) for nid in range(count)}
    assert k.fallback == expected
    told = [f"Fallback order for Node {nid}: {' '.join(map(str, order))} " for nid, order in expected.items()]
    online = sum(node.nid in nodes or node.nid == 1 for node in k.nodes)
    assert k.lines == [*(told if lines else ()),
                       f"Built {online} zonelists, mobility grouping off.  Total pages: {5 * len(nodes)}",
                       "Policy zone: DMA32"]  # fmt: skip
    assert k.charged == [("zonelist_node", len(order)) for order in expected.values()]


@pytest.mark.parametrize(("pages", "mobility"), [(3071, "off"), (3072, "on")])
def test_mobility_is_for_six_pageblocks_and_more(pages: int, mobility: str) -> None:
    k = kernel([[1, pages - 1, 0, 0, 0]], managed_estimate=False)
    zonelist.build_all_zonelists(k)
    assert k.lines[1] == f"Built 1 zonelists, mobility grouping {mobility}.  Total pages: {pages}"


def test_without_numa_there_is_one_list_and_no_policy() -> None:
    k = kernel([[1, 4000, 0, 0, 0]], config={"CONFIG_NUMA": False}, managed_estimate=False, fallback_lines=True)
    zonelist.build_all_zonelists(k)
    assert k.lines == ["Built 1 zonelists, mobility grouping on.  Total pages: 4001"]


@pytest.mark.parametrize(
    ("present", "policy"),
    [([[5, 0, 0, 0, 0]], "DMA"), ([[5, 5, 0, 5, 0]], "DMA32"), ([[5, 5, 0, 0, 0], [0, 0, 5, 5, 0]], "Normal")],
)
def test_policies_bind_the_highest_zone_that_is_not_movable(present: list[list[int]], policy: str) -> None:
    assert zonelist.policy_zone(kernel(present)) == policy


def estimated(present: int, spanned: int, index: int, reserve: int) -> int:
    """Pages less those of their own ``struct page``; what is reserved below 16 MiB comes off the first zone."""
    if not present:
        return 0
    mapped = spanned
    if spanned * 16 >= present * 16 + (present // 16 + 1) * 16:
        mapped = present
    left = present - (mapped + 63) // 64
    if left < 0:
        left = present
    return left - reserve if index == 0 and reserve < left else left


@settings(max_examples=300)
@given(st.integers(0, 5000), st.integers(0, 700), st.integers(0, 3), st.integers(0, 5000))
def test_what_a_zone_manages_is_estimated(present: int, holes: int, index: int, reserve: int) -> None:
    zone = Zone(index, 0, 0, present + holes if present else 0, present)
    k = kernel([[0] * 5], managed_estimate=True)
    k.totals.dma_reserve = reserve
    assert zonelist.initial_managed(k, zone) == estimated(present, present + holes, index, reserve)
    k.behaviour = of_release(managed_estimate=False)
    assert zonelist.initial_managed(k, zone) == present


@pytest.mark.parametrize(("spanned", "managed"), [(1600, 1575), (1700, 1573), (1701, 1575), (1 << 20, 1575)])
def test_holes_larger_than_a_sixteenth_have_no_map(spanned: int, managed: int) -> None:
    k = kernel([[0] * 5], managed_estimate=True)
    assert zonelist.initial_managed(k, Zone(1, 0, 0, spanned, 1600)) == managed


def test_a_reserve_as_large_as_the_zone_is_not_taken_off() -> None:
    k = kernel([[0] * 5], managed_estimate=True)
    for reserve, managed in ((0, 630), (629, 1), (630, 630), (631, 630)):
        k.totals.dma_reserve = reserve
        assert zonelist.initial_managed(k, Zone(0, 0, 0, 640, 640)) == managed
    assert zonelist.initial_managed(k, Zone(4, 0, 0, 640, 640)) == 0


@pytest.mark.parametrize(("scale", "pages"), [("managed", 640), ("memblock", 77)])
def test_hash_tables_scale_by_one_of_two_figures(scale: str, pages: int) -> None:
    k = kernel([[600, 40, 0, 0, 0]], hash_scale=scale, managed_estimate=False)
    k.totals.nr_free_memblock_pages = 77
    assert zonelist.nr_kernel_pages(k) == pages


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 0x1100), st.integers(1, 900), st.integers(0, 2 * PAGE - 1)), max_size=4),
       st.integers(1, 0x1004))  # fmt: skip
def test_what_is_not_wholly_free_below_16_mib(taken: list[tuple[int, int, int]], top: int) -> None:
    k = kernel([[0] * 5])
    k.memblock.add(PAGE, (top - 1) * PAGE)
    k.memblock.add((top + 2) * PAGE, 0x1000 * PAGE)
    busy: set[int] = set()
    for page, size, offset in taken:
        k.memblock.reserve(page * PAGE + offset, size * PAGE + 1)
        busy |= set(range((page * PAGE + offset) // PAGE, (page * PAGE + offset + size * PAGE) // PAGE + 1))
    memory = {pfn for pfn in range(1, 0x1000) if pfn < top or pfn >= top + 2}
    assert zonelist.find_dma_reserve(k) == len(memory & busy)


@pytest.mark.parametrize("told", [0, 99])
def test_a_log_knows_better_what_is_reserved(told: int) -> None:
    k = kernel([[0] * 5])
    k.memblock.add(0, 64 * PAGE)
    k.release.facts.dma_reserve_pages = told
    assert zonelist.find_dma_reserve(k) == told
