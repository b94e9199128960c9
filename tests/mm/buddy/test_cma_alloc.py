"""Neighbouring pages out of the area that cma= asks for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minikern.mm.buddy.cma import init_cma_reserved
from minikern.mm.buddy.cma_alloc import dma_alloc_from_contiguous, dma_release_from_contiguous
from minikern.mm.buddy.memblock_free import memblock_free_all
from minikern.state.hugetlb import CmaArea
from minikern.verify.page_check import check_memmap
from tests.mm.fake_kernel import MIB, booted, fake_kernel

AREA = 24 * 256  # pfn
PAGES = 1024


def kernel(**behaviour: Any) -> Any:
    k = booted(fake_kernel([(16 * MIB, 40 * MIB, 0)], [(AREA << 12, AREA + PAGES << 12)], behaviour=behaviour,
                           config={"CONFIG_DEFERRED_STRUCT_PAGE_INIT": False}))  # fmt: skip
    memblock_free_all(k)
    k.cma.areas.append(CmaArea(1 << 40, 1 << 20, "another", 0))
    k.cma.areas.append(CmaArea(AREA << 12, PAGES << 12, "reserved", 0))
    init_cma_reserved(k, AREA, AREA + PAGES)
    return k


@pytest.mark.parametrize("follows", [False, True])
def test_an_area_is_managed_memory_of_its_own_type(follows: bool) -> None:
    k = kernel(lowmem_reserve_follows=follows)
    zone = k.nodes[0].zones[1]
    pages = PAGES + sum(end // 4096 - -(-start // 4096) for start, end, _ in k.memblock.free_ranges())
    assert (zone.cma_pages, zone.managed_pages, k.page_alloc.totalram_pages) == (PAGES, pages, pages)
    assert k.charges["struct_page_free"] == pages
    assert bool(k.page_alloc.reserve_managed) is follows
    assert set(k.page_alloc.pageblock_types[AREA // 512 : (AREA + PAGES) // 512].tolist()) == {4}
    assert check_memmap(k).ok
    before = k.page_alloc.totalram_pages
    init_cma_reserved(k, AREA, AREA)
    assert k.page_alloc.totalram_pages == before


def test_without_an_area_there_is_nothing() -> None:
    k = kernel()
    del k.cma.areas[1]
    assert dma_alloc_from_contiguous(k, 1) is None


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 300), st.integers(0, 10), st.booleans()), min_size=1, max_size=14))
def test_the_first_place_that_fits(steps: list[tuple[int, int, bool]]) -> None:
    k = kernel()
    busy: set[int] = set()
    taken: list[tuple[int, int]] = []
    for pages, order, give in steps:
        if give and taken:
            pfn, count = taken.pop()
            dma_release_from_contiguous(k, pfn, count)
            busy -= set(range(pfn, pfn + count))
        step = 2 ** min(order, 8)
        places = (at for at in range(AREA, AREA + PAGES - pages + 1)
                  if at % step == 0 and not busy & set(range(at, at + pages)))  # fmt: skip
        expected = next(places, None)
        assert dma_alloc_from_contiguous(k, pages, order) == expected
        if expected is not None:
            taken.append((expected, pages))
            busy |= set(range(expected, expected + pages))
        assert set(k.page_alloc.allocated) == busy
    for pfn, count in taken:
        dma_release_from_contiguous(k, pfn, count)
    assert dma_alloc_from_contiguous(k, PAGES) == AREA
    assert dma_alloc_from_contiguous(k, 1) is None


def test_a_page_alone_is_asked_for_by_default() -> None:
    k = kernel()
    assert dma_alloc_from_contiguous(k, 3) == AREA
    assert dma_alloc_from_contiguous(k, 3) == AREA + 3


def test_memory_of_the_area_that_is_not_free_is_no_room() -> None:
    k = kernel()
    k.page_alloc.alloc_contig_range(AREA, AREA + 1)
    del k.page_alloc.allocated[AREA]
    assert dma_alloc_from_contiguous(k, 2) is None
