"""An allocation that comes before deferred memory is initialised, and finds its zone empty."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minikern.mm.buddy.memblock_free import deferred_grow_zone, free_pfn_ranges, memblock_free_all
from minikern.mm.page.mmzone import ZONE_NORMAL
from minikern.verify.page_check import check_memmap
from tests.mm.fake_kernel import GIB, MIB, booted, fake_kernel

SECTION, BLOCK, PAGE = 1 << 15, 1 << 10, 4096
FIRST = 0x100000  # pfn of 4 GiB
Ranges = list[tuple[int, int]]


def naive_grow(free: Ranges, first: int, order: int) -> tuple[Ranges, int | None]:
    """Blocks of the highest order are taken one after the other, to a border of sections where enough was taken.

    Returns what was taken, and the first page left (None: nothing is).
    """
    left = [(max(start, first), end) for start, end in free if end > first]
    needed = max(SECTION, -(-(1 << order) // SECTION) * SECTION)
    taken: Ranges = []
    while left:
        block_start = left[0][0]
        block_end = (block_start // BLOCK + 1) * BLOCK
        while left and left[0][0] < block_end:
            start, end = left.pop(0)
            taken.append((start, min(end, block_end)))
            if end > block_end:
                left.insert(0, (block_end, end))
        if not left:
            return taken, None
        if (block_start ^ left[0][0]) >= SECTION and sum(end - start for start, end in taken) >= needed:
            return taken, left[0][0]
    return taken, None


def pages(ranges: Ranges) -> set[int]:
    return {pfn for start, end in ranges for pfn in range(start, end)}


def kernel_with(sections: int, reserved: list[tuple[int, int]]) -> Any:
    held = [((FIRST + low) * PAGE, (FIRST + high) * PAGE) for low, high in reserved]
    k = booted(fake_kernel([(4 * GIB, 4 * GIB + sections * 128 * MIB, 0)], held))
    memblock_free_all(k)
    return k


HOLES = st.lists(st.tuples(st.integers(SECTION, 6 * SECTION - 2), st.integers(1, 3 * BLOCK)), max_size=5)


@pytest.mark.big
@settings(max_examples=60, deadline=None)
@given(HOLES, st.integers(0, 16), st.booleans())
def test_growing_against_the_naive_twin(holes: list[tuple[int, int]], order: int, again: bool) -> None:
    reserved = [(0, SECTION), *sorted((start, min(start + size, 6 * SECTION - 1)) for start, size in holes)]
    k = kernel_with(6, reserved)
    zone = k.nodes[0].zones[ZONE_NORMAL]
    for _ in range(1 + again):
        first = k.nodes[0].first_deferred_pfn
        free = [(start, end) for start, end, _ in free_pfn_ranges(k)]
        before = zone.managed_pages
        grew = deferred_grow_zone(k, zone, order)
        taken, left = naive_grow(free, first, order)
        assert grew == bool(taken)
        assert zone.managed_pages - before == sum(end - start for start, end in taken)
        rest = [(max(start, k.nodes[0].first_deferred_pfn), end) for start, end in free]
        expected = [(max(start, left), end) for start, end in free] if left is not None else []
        assert pages([r for r in rest if r[0] < r[1]]) == pages([r for r in expected if r[0] < r[1]])
    found = check_memmap(k)
    assert found.ok, found.message


def test_an_early_allocation_gets_the_first_page_of_the_grown_part() -> None:
    k = kernel_with(4, [(0, SECTION)])
    assert k.page_alloc.nr_free_pages() == 0
    assert k.nodes[0].first_deferred_pfn == FIRST + SECTION
    assert k.page_alloc.alloc_pages(0) == FIRST + SECTION  # one page: a whole section is initialised for it
    assert k.nodes[0].first_deferred_pfn == FIRST + 2 * SECTION
    assert k.page_alloc.nr_free_pages() == SECTION - 1
    assert k.page_alloc.alloc_pages(0) == FIRST + SECTION + 1


@pytest.mark.parametrize("order", [0, 9, 10])
def test_a_section_that_is_not_enough_is_followed_by_the_next(order: int) -> None:
    # All but ten pages of the first deferred section are reserved.
    k = kernel_with(5, [(0, 2 * SECTION - 10)])
    first = k.page_alloc.alloc_pages(order)
    assert k.nodes[0].first_deferred_pfn == FIRST + 3 * SECTION
    assert first == (FIRST + 2 * SECTION - 10 if order == 0 else FIRST + 2 * SECTION)
    assert k.charges["deferred_page_init"] == SECTION + 10


def test_only_the_last_zone_grows() -> None:
    k = booted(fake_kernel([(1 * MIB, 512 * MIB, 0), (4 * GIB, 5 * GIB, 0)]))
    memblock_free_all(k)
    dma32, normal = k.nodes[0].zones[1], k.nodes[0].zones[ZONE_NORMAL]
    assert not deferred_grow_zone(k, dma32, 0)
    assert deferred_grow_zone(k, normal, 0)
