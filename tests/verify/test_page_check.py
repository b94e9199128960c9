from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minikern.mm.buddy.memblock_free import memblock_free_all, register_page_bootmem_info
from minikern.mm.map.deferred import page_alloc_init_late
from minikern.verify.page_check import check_memmap
from minikern.verify.page_check_state import Expected, Span, overlay
from tests.mm.fake_kernel import MIB, FakeKernel, booted, fake_kernel

NO_DEFER = {"CONFIG_DEFERRED_STRUCT_PAGE_INIT": False}
MEMORY = [(0x1000, 0x9F000, 0), (1 * MIB, 200 * MIB, 0), (260 * MIB, 300 * MIB, 1)]


@pytest.fixture(scope="module")
def good() -> FakeKernel:
    k = booted(fake_kernel(MEMORY, [(50 * MIB, 51 * MIB)], config=NO_DEFER))
    memblock_free_all(k)
    register_page_bootmem_info(k)
    page_alloc_init_late(k)
    k.page_alloc.alloc_pages(3)
    result = check_memmap(k)
    assert result.ok, result.message
    assert result.checked == 3 * 32768
    return k


@pytest.mark.parametrize("word", range(8))
@pytest.mark.parametrize(
    "pfn", [0, 1, 4096, 50 * 256 + 3, 199 * 256, 255 * 256, 270 * 256 + 5, 299 * 256, 384 * 256 - 1]
)
def test_any_changed_bit_is_found(good: FakeKernel, word: int, pfn: int) -> None:
    slot = int(good.vmemmap.section_slot[pfn // 32768]) + pfn % 32768
    row = good.vmemmap.words[slot]
    row[word] ^= np.uint64(1 << (pfn % 64))
    try:
        result = check_memmap(good)
    finally:
        row[word] ^= np.uint64(1 << (pfn % 64))
    assert result.first_wrong_pfn == pfn
    assert f"pfn {pfn:#x}: flags=" in result.message
    assert "expected a " in result.message


def test_a_page_that_was_skipped_is_found() -> None:
    k = fake_kernel(MEMORY, config=NO_DEFER)
    booted(k)
    memblock_free_all(k)
    k.vmemmap.held = type(k.vmemmap.held)()
    for run in k.vmemmap.runs(0, 77):
        k.vmemmap.claim(run)
    result = check_memmap(k)
    assert not result.ok
    assert "was never initialised" in result.message


def test_memory_nobody_owns_is_found(good: FakeKernel) -> None:
    area = good.page_alloc.areas[0, 1]
    pfn, order = next((pfn, order) for pfn, (order, _) in sorted(area.where.items()))
    migratetype = area.remove(pfn)
    try:
        result = check_memmap(good)
    finally:
        area.add(pfn, order, migratetype, tail=True)
    assert result.first_wrong_pfn == pfn
    assert "nobody" in result.message


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(0, 6), st.integers(1, 9)), max_size=6),
)
def test_overlay_against_naive(under_sizes: list[int], over_pieces: list[tuple[int, int]]) -> None:
    under, at = [], 0
    for number, size in enumerate(under_sizes):
        under.append(Span(at, at + size, Expected(f"u{number}")))
        at += size
    over, at = [], 0
    for number, (gap, size) in enumerate(over_pieces):
        over.append(Span(at + gap, at + gap + size, Expected(f"o{number}")))
        at += gap + size
    naive = {p: s.expected.state for s in under for p in range(s.start, s.end)}
    naive |= {p: s.expected.state for s in over for p in range(s.start, s.end) if p in naive}
    laid = overlay(under, over)
    assert {p: s.expected.state for s in laid for p in range(s.start, s.end)} == naive
    assert all(left.end == right.start for left, right in itertools.pairwise(laid))
