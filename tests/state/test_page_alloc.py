from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minikern.mm.buddy.memblock_free import memblock_free_all
from minikern.state.page_alloc import MIGRATE_MOVABLE, MIGRATE_UNMOVABLE, PageAlloc, split_blocks
from tests.mm.fake_kernel import MIB, FakeKernel, booted, fake_kernel
from tests.naive_mm import NaiveBuddy

NO_DEFER = {"CONFIG_DEFERRED_STRUCT_PAGE_INIT": False}
SPAN = 4096  # pages the hypothesis tests play with, in zone DMA32


def empty_machine() -> FakeKernel:
    return booted(fake_kernel([(16 * MIB, 32 * MIB, 0)], config=NO_DEFER))


def blocks_of(page_alloc: PageAlloc) -> set[tuple[int, int]]:
    found = set()
    for area in page_alloc.areas.values():
        for pfn, order, count in area.stretches():
            found |= {(pfn + (i << order), order) for i in range(count)}
    return found


@given(st.integers(0, 5000), st.integers(0, 5000))
def test_split_blocks(start: int, size: int) -> None:
    at = start
    for pfn, order in split_blocks(start, start + size):
        assert pfn == at
        assert pfn % (1 << order) == 0
        assert order == 10 or pfn % (2 << order) or pfn + (2 << order) > start + size
        at += 1 << order
    assert at == start + size


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 120))
def test_free_and_merge_against_naive(seed: int, pieces: int) -> None:
    k = empty_machine()
    zone = k.nodes[0].zones[1]
    rng = random.Random(seed)
    cuts = sorted({SPAN, SPAN * 2, *(rng.randrange(SPAN, SPAN * 2) for _ in range(pieces))})
    ranges = list(itertools.pairwise(cuts))
    rng.shuffle(ranges)
    naive = NaiveBuddy()
    for start, end in ranges[: rng.randrange(1, len(ranges) + 1)]:
        if rng.random() < 0.5:
            k.page_alloc.free_range(zone, start, end)
        else:
            for pfn, order in split_blocks(start, end):
                k.page_alloc.free_one_page(zone, pfn, order, tail=rng.random() < 0.5)
        for pfn in range(start, end):
            naive.free(pfn, 0)
        k.page_alloc.check()
    assert blocks_of(k.page_alloc) == naive.blocks
    assert k.page_alloc.nr_free_pages() == len(list(naive.pages()))
    for pfn, order in naive.blocks:
        page = k.vmemmap.page(pfn)
        assert (int(page["private"]), int(page["mapcount"]) & 0xFFFFFFFF) == (order, 0xFFFFFF7F)
    heads = {pfn for pfn, _ in naive.blocks}
    for pfn in range(SPAN, SPAN * 2, 37):
        if pfn not in heads:
            assert int(k.vmemmap.page(pfn)["mapcount"]) == -1


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32))
def test_allocations_never_overlap_and_come_back(seed: int) -> None:
    k = empty_machine()
    memblock_free_all(k)
    rng = random.Random(seed)
    before = k.page_alloc.nr_free_pages()
    whole = blocks_of(k.page_alloc)
    taken: dict[int, int] = {}
    for _ in range(60):
        if taken and rng.random() < 0.4:
            pfn = rng.choice(list(taken))
            k.page_alloc.free_pages(pfn, taken.pop(pfn))
        else:
            order = rng.randrange(0, 11)
            pfn = k.page_alloc.alloc_pages(order, migratetype=rng.randrange(3))
            if pfn is not None:
                assert pfn % (1 << order) == 0
                for other, size in taken.items():
                    assert pfn + (1 << order) <= other or other + (1 << size) <= pfn
                taken[pfn] = order
        k.page_alloc.check()
        assert k.page_alloc.nr_free_pages() == before - sum(1 << order for order in taken.values())
    for pfn, order in taken.items():
        k.page_alloc.free_pages(pfn, order)
    k.page_alloc.check()
    assert blocks_of(k.page_alloc) == whole


def test_boot_frees_are_handed_out_from_the_front() -> None:
    k = empty_machine()
    zone, area = k.nodes[0].zones[1], k.page_alloc.areas[0, 1]
    k.page_alloc.set_movable(SPAN, 2 * SPAN)
    k.page_alloc.free_range(zone, SPAN + 2048, SPAN + 4096)
    k.page_alloc.free_range(zone, SPAN, SPAN + 1024)
    assert list(area.largest[MIGRATE_MOVABLE]) == [(SPAN + 2048, 2), (SPAN, 1)]
    pfn = k.page_alloc.alloc_pages(9, migratetype=MIGRATE_MOVABLE)
    assert pfn == SPAN + 2048
    assert int(k.vmemmap.page(pfn)["refcount"]) == 1
    assert k.page_alloc.alloc_pages(9, migratetype=MIGRATE_MOVABLE) == SPAN + 2048 + 512, (
        "the half split off comes next"
    )
    assert k.page_alloc.alloc_pages(10, migratetype=MIGRATE_MOVABLE) == SPAN + 3072


def test_falling_back_changes_the_pageblock() -> None:
    k = empty_machine()
    memblock_free_all(k)
    pfn = k.page_alloc.alloc_pages(0, migratetype=MIGRATE_UNMOVABLE)
    assert pfn is not None
    assert k.page_alloc.migratetype(pfn) == MIGRATE_UNMOVABLE
    second = k.page_alloc.alloc_pages(0, migratetype=MIGRATE_UNMOVABLE)
    assert second == pfn + 1, "the rest of the stolen block serves the next one"


def test_zonelist_order_and_this_node() -> None:
    k = booted(fake_kernel([(16 * MIB, 32 * MIB, 0), (128 * MIB, 160 * MIB, 1)], config=NO_DEFER))
    memblock_free_all(k)
    first = k.page_alloc.alloc_pages(10, nid=1)
    assert first is not None
    assert first >= 128 * 256
    while k.page_alloc.alloc_pages(0, nid=1, this_node=True) is not None:
        pass
    other = k.page_alloc.alloc_pages(0, nid=1)
    assert other is not None
    assert other < 128 * 256
    assert k.page_alloc.alloc_pages(0, nid=0, highest_zone=0) is None


def test_giving_back_what_was_not_taken() -> None:
    k = empty_machine()
    memblock_free_all(k)
    pfn = k.page_alloc.alloc_pages(3)
    assert pfn is not None
    with pytest.raises(ValueError, match="was not handed out"):
        k.page_alloc.free_pages(pfn, 2)
    k.page_alloc.free_pages(pfn, 3)
    with pytest.raises(ValueError, match="was not handed out"):
        k.page_alloc.free_pages(pfn, 3)


def test_buddyinfo_counts() -> None:
    k = empty_machine()
    zone = k.nodes[0].zones[1]
    k.page_alloc.free_range(zone, SPAN, SPAN + 1024 + 512 + 3)
    assert k.page_alloc.buddyinfo() == [(0, "DMA32", [1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1])]


def test_check_sees_faults() -> None:
    k = empty_machine()
    zone, area = k.nodes[0].zones[1], k.page_alloc.areas[0, 1]
    k.page_alloc.free_range(zone, SPAN, SPAN + 8)
    area.add(SPAN + 8, 3, MIGRATE_MOVABLE, tail=True)
    with pytest.raises(AssertionError, match="not merged with its buddy"):
        k.page_alloc.check()
    area.remove(SPAN + 8)
    k.page_alloc.check()
    area.add(SPAN + 4, 2, MIGRATE_MOVABLE, tail=True)
    with pytest.raises(AssertionError, match="overlaps"):
        k.page_alloc.check()
    area.remove(SPAN + 4)
    area.nr_free[5] += 1
    with pytest.raises(AssertionError, match="nr_free says"):
        k.page_alloc.check()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, SPAN - 1), st.integers(1, SPAN), st.integers(0, SPAN - 1))
def test_a_range_is_taken_whole_or_not_at_all(start: int, size: int, hole: int) -> None:
    k = empty_machine()
    zone = k.nodes[0].zones[1]
    k.page_alloc.free_range(zone, SPAN, SPAN + hole)
    k.page_alloc.free_range(zone, SPAN + hole + 1, 2 * SPAN)
    first, size = SPAN + start, min(size, SPAN - start)
    before = blocks_of(k.page_alloc)
    taken = k.page_alloc.alloc_contig_range(first, first + size)
    k.page_alloc.check()
    assert taken == (not first <= SPAN + hole < first + size)
    if taken:
        assert not any(pfn < first + size and first < pfn + (1 << order) for pfn, order in blocks_of(k.page_alloc))
        for pfn in range(first, first + size):
            k.page_alloc.free_pages(pfn, 0)
    assert blocks_of(k.page_alloc) == before
