"""Watermarks and reserves of any zones, against the formulas of mm/page_alloc.c written down once more."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minikern.core.cmdline import CommandLine
from minikern.core.printk import Level
from minikern.mm.buddy import watermarks
from minikern.mm.page.mmzone import Pglist, Zone
from minikern.state.page_alloc import PageAlloc
from minikern.verify.page_check_zones import check_watermarks
from tests.support import behaviour_of

HALF_GIB = 131072  # pages
ZONES = st.lists(st.one_of(st.just(0), st.integers(1, 5000), st.integers(1, 3_000_000)), min_size=5, max_size=5)


@cache
def of_release(**behaviour: Any) -> Any:
    return behaviour_of("debian-6.12", **behaviour)


def kernel(nodes: list[list[int]], append: str = "", **behaviour: bool) -> Any:
    """Nodes whose zones manage so many pages."""
    k: Any = SimpleNamespace(lines=[], cmdline=CommandLine(append), behaviour=of_release(**behaviour))
    k.nodes = [Pglist(nid, 0, 1, [Zone(at, nid, 0, pages, pages, pages) for at, pages in enumerate(zones)])
               for nid, zones in enumerate(nodes)]  # fmt: skip
    k.page_alloc = PageAlloc(None, k.nodes, 0)  # type: ignore[arg-type]
    k.page_alloc.totalram_pages = sum(map(sum, nodes))
    k.printk = lambda text, level=6: k.lines.append((level, text))
    return k


def naive_wmarks(nodes: list[list[int]], kbytes: int, capped: bool) -> dict[tuple[int, int], tuple[int, ...]]:
    """What each zone keeps of ``kbytes``, by its share; Movable zones may keep little and take no part."""
    sharing = sum(pages for zones in nodes for at, pages in enumerate(zones) if not (capped and at == 3))
    found = {}
    for nid, zones in enumerate(nodes):
        for at, pages in enumerate(zones):
            share = (kbytes // 4) * pages // sharing if sharing else 0
            lowest = share
            if capped and at == 3:
                lowest = 32 if pages < 32 * 1024 else 128 if pages > 128 * 1024 else pages // 1024
            apart = share // 4 if share // 4 > pages // 1000 else pages // 1000
            found[nid, at] = (lowest, lowest + apart, lowest + 2 * apart, lowest + 3 * apart)
    return found if sharing else {}


def naive_buffer(nodes: list[list[int]], wmarks: dict[tuple[int, int], tuple[int, ...]]) -> int:
    total = 0
    for nid, zones in enumerate(nodes):
        for at, pages in enumerate(zones[:3]):
            high = wmarks[nid, at][2] if wmarks else 0
            total += pages - high if pages > high else 0
    return total


def naive_kbytes(pages: int) -> int:
    root = 0
    for bit in reversed(range(24)):
        if (root | 1 << bit) ** 2 <= pages * 64:
            root |= 1 << bit
    return 128 if root < 128 else 262144 if root > 262144 else root


def naive_reserve(zones: list[int]) -> list[list[int]]:
    ratio = (256, 256, 32, 0, 0)
    return [[sum(zones[low + 1 : high + 1]) // ratio[low] if high > low and ratio[low] and zones[low] else 0
             for high in range(5)] for low in range(5)]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(ZONES, min_size=1, max_size=3), st.booleans(), st.sampled_from(["always", "madvise", "never", ""]))
def test_against_the_formulas(nodes: list[list[int]], capped: bool, huge: str) -> None:
    append = f"transparent_hugepage={huge}" if huge else ""
    k = kernel(nodes, append, movable_wmark_capped=capped)
    assert all(watermarks.watermarks(k, zone) == (0, 0, 0, 0) for node in k.nodes for zone in node.zones)
    watermarks.init_per_zone_wmark_min(k)
    managed = {(nid, at): pages for nid, zones in enumerate(nodes) for at, pages in enumerate(zones)}
    kbytes = naive_kbytes(naive_buffer(nodes, {}))
    wmarks = naive_wmarks(nodes, kbytes, capped)
    assert (k.page_alloc.min_free_kbytes, k.page_alloc.wmarks) == (kbytes, wmarks)
    assert k.page_alloc.wmark_managed == k.page_alloc.reserve_managed == managed
    reserve = {(nid, at): pages for nid, zones in enumerate(nodes) for at, pages in enumerate(naive_reserve(zones))}
    assert k.page_alloc.lowmem_reserve == reserve
    check_watermarks(k)
    k.page_alloc.wmark_managed = {}
    watermarks.hugepage_init(k)
    if sum(managed.values()) >= HALF_GIB:
        if huge == "never":
            kbytes = naive_kbytes(naive_buffer(nodes, wmarks))
        else:
            filled = sum(1 for (_, at), pages in managed.items() if pages and at < 3)
            wanted = 512 * 2 * filled + 512 * filled * 9
            kbytes = max(kbytes, min(wanted, naive_buffer(nodes, wmarks) // 20) * 4)
        assert k.page_alloc.wmark_managed == managed
    else:
        assert k.page_alloc.wmark_managed == {}
    assert k.page_alloc.min_free_kbytes == kbytes
    assert k.page_alloc.wmarks == (naive_wmarks(nodes, kbytes, capped) or wmarks)


@pytest.mark.parametrize(("pages", "kbytes"), [(0, 128), (260, 128), (261, 129), (1 << 30, 262144), (1 << 32, 262144)])
def test_bounds_of_what_is_kept_free(pages: int, kbytes: int) -> None:
    k = kernel([[0, pages, 0, 9999, 9999]])
    assert watermarks.nr_free_buffer_pages(k) == pages
    assert watermarks.calculate_min_free_kbytes(k) == kbytes


@pytest.mark.parametrize(
    ("pages", "least"), [(32 * 1024, 32), (33 * 1024 - 1, 32), (33 * 1024, 33), (128 * 1024, 128), (200 * 1024, 128)]
)
def test_a_movable_zone_keeps_a_thousandth_within_bounds(pages: int, least: int) -> None:
    k = kernel([[0, 5000, 0, pages, 0]], movable_wmark_capped=True)
    watermarks.init_per_zone_wmark_min(k)
    assert k.page_alloc.wmarks[0, 3][0] == least
    check_watermarks(k)


@pytest.mark.parametrize(("pages", "raised"), [(HALF_GIB - 1, False), (HALF_GIB, True)])
def test_half_a_gigabyte_is_enough_for_huge_pages(pages: int, raised: bool) -> None:
    k = kernel([[0, pages, 0, 0, 0]])
    watermarks.init_per_zone_wmark_min(k)
    first = k.page_alloc.min_free_kbytes
    watermarks.hugepage_init(k)
    assert (k.page_alloc.min_free_kbytes > first) is raised


@pytest.mark.parametrize(
    ("append", "kbytes"),
    [
        ("transparent_hugepage=never transparent_hugepage=always", 22528),
        ("transparent_hugepage=always transparent_hugepage=never", 5755),
        ("transparent_hugepage=never transparent_hugepage=rubbish", 5755),
        ("transparent_hugepage=NEVER", 22528),
    ],
)
def test_the_last_word_that_can_be_read_counts(append: str, kbytes: int) -> None:
    k = kernel([[0, 520000, 0, 0, 0]], append)
    watermarks.init_per_zone_wmark_min(k)
    watermarks.hugepage_init(k)
    assert k.page_alloc.min_free_kbytes == kbytes


@pytest.mark.parametrize(("word", "read"), [("always", True), ("madvise", True), ("never", True), ("nevr", False)])
def test_what_cannot_be_parsed_is_told(word: str, read: bool) -> None:
    k = kernel([[1] * 5])
    assert watermarks.setup_transparent_hugepage(k, word) is read
    told = (Level.WARNING, "huge_memory: transparent_hugepage= cannot parse, ignored")
    assert k.lines == [] if read else k.lines == [told]


@pytest.mark.parametrize("follows", [True, False])
def test_reserves_follow_pages_that_come_back_since_7_0(follows: bool) -> None:
    k = kernel([[1000, 2000, 0, 0, 0]], lowmem_reserve_follows=follows)
    watermarks.init_per_zone_wmark_min(k)
    before = dict(k.page_alloc.wmarks)
    k.nodes[0].zones[1].managed_pages += 512
    watermarks.managed_pages_changed(k)
    assert k.page_alloc.lowmem_reserve[0, 0] == [0, (2512 if follows else 2000) // 256] + [9 if follows else 7] * 3
    assert k.page_alloc.reserve_managed[0, 1] == (2512 if follows else 2000)
    assert k.page_alloc.wmarks == before
