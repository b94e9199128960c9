"""memblock against sets of pages."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from minikern.state.memblock import Flags, Memblock, Region, merge
from tests import naive
from tests.naive import PAGE

pages = st.integers(0, 120)
spans = st.tuples(pages, st.integers(1, 40))
steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["add", "remove", "reserve", "free"]), pages, st.integers(1, 40)),
        st.tuples(st.just("alloc"), st.integers(1, 12), st.sampled_from([1, 2, 4, 8])),
    ),
    max_size=25,
)


@settings(max_examples=300)
@given(st.lists(spans, min_size=1, max_size=4), steps)
def test_against_sets_of_pages(memory: list[tuple[int, int]], actions: list[tuple[str, int, int]]) -> None:
    real, twin = Memblock(), naive.PageSet()
    for start, size in memory:
        real.add(start * PAGE, size * PAGE)
        twin.memory |= set(range(start, start + size))
    for verb, first, second in actions:
        _apply(real, twin, verb, first, second)
        real.check()
        assert _runs(real.memory.regions) == naive.runs(twin.memory)
        assert _runs(real.reserved.regions) == naive.runs(twin.reserved)
        free = [(start // PAGE, end // PAGE) for start, end, _ in real.free_ranges()]
        assert {p for a, b in free for p in range(a, b)} == twin.free()


def _apply(real: Memblock, twin: naive.PageSet, verb: str, first: int, second: int) -> None:
    span = set(range(first, first + second))
    if verb == "alloc":
        place = real.alloc(first * PAGE, second * PAGE)
        assert place == (None if (expected := twin.alloc(first, second, 0, 200)) is None else expected * PAGE)
    elif verb == "add":
        real.add(first * PAGE, second * PAGE)
        twin.memory |= span
    elif verb == "remove":
        real.remove(first * PAGE, second * PAGE)
        twin.memory -= span
    elif verb == "reserve":
        real.reserve(first * PAGE, second * PAGE)
        twin.reserved |= span
    else:
        real.phys_free(first * PAGE, second * PAGE)
        twin.reserved -= span


def _runs(regions: list[Region]) -> list[tuple[int, int]]:
    alike = merge(region._replace(flags=0) for region in regions)
    return [(region.base // PAGE, region.end // PAGE) for region in alike]


def test_trim_cuts_to_whole_pages() -> None:
    block = Memblock()
    block.add(0x400, 0x9F800)
    block.add(0x100800, 0x100)
    block.trim_memory(PAGE)
    assert _runs(block.memory.regions) == [(1, 0x9F)]


def test_node_is_a_preference_unless_exact() -> None:
    block = Memblock()
    block.add(0x100000, 0x10000)
    block.add(0x200000, 0x10000)
    block.set_node(0x100000, 0x10000, 0)
    block.set_node(0x200000, 0x10000, 1)
    assert block.alloc(0x8000, PAGE, nid=0) == 0x108000
    assert block.alloc(0x10000, PAGE, nid=0) == 0x200000
    assert block.alloc(0x10000, PAGE, nid=0, exact_nid=True) is None
    assert block.alloc(0x1000, PAGE, nid=1, min_addr=0x1000) == 0x107000


def test_lower_limit_is_given_up_before_failing() -> None:
    block = Memblock()
    block.add(0x1000, 0x10000)
    assert block.alloc(0x1000, PAGE, min_addr=0x100000) == 0x10000
    assert block.phys_alloc_range(0x1000, PAGE, 0x100000, 0x200000) is None


def test_regions_of_other_flags_stay_apart() -> None:
    block = Memblock()
    block.add(0x1000, 0x100000)
    block.reserve(0x10000, 0x10000)
    block.reserved_mark_noinit(0x11000, 0xF000)
    assert block.reserved_regions() == [
        Region(0x10000, 0x11000),
        Region(0x11000, 0x20000, -1, Flags.RSRV_NOINIT),
    ]


def test_what_is_allocated_is_the_kernels_and_on_the_node_only_where_that_was_met() -> None:
    memblock = Memblock()
    memblock.add(PAGE, 99 * PAGE)
    memblock.set_node(0, 50 * PAGE, 0)
    memblock.set_node(50 * PAGE, 50 * PAGE, 1)
    memblock.reserve(10 * PAGE, 2 * PAGE)
    memblock.reserve_kern(20 * PAGE, 3 * PAGE)
    assert memblock.alloc(4 * PAGE, PAGE, nid=1) == 96 * PAGE
    assert memblock.alloc(60 * PAGE, PAGE, nid=1) is None
    assert memblock.alloc(46 * PAGE, PAGE, nid=0) == 50 * PAGE, "no such room on node 0"
    assert memblock.reserved_kern_bytes() == 53 * PAGE
    assert memblock.reserved_kern_bytes(nid=1) == 4 * PAGE
    assert memblock.reserved_kern_bytes(nid=0) == 0
    assert memblock.reserved_kern_bytes(limit=60 * PAGE) == 13 * PAGE
    memblock.set_reserved_node(0, 50 * PAGE, 0)
    assert memblock.reserved_kern_bytes(nid=0) == 3 * PAGE


def test_from_scratch_only() -> None:
    memblock = Memblock()
    memblock.add(PAGE, 99 * PAGE)
    memblock.mark_kho_scratch(10 * PAGE, 10 * PAGE)
    memblock.mark_kho_scratch(40 * PAGE, 4 * PAGE)
    memblock.kho_scratch_only = True
    assert memblock.alloc(PAGE, PAGE) == 43 * PAGE
    assert memblock.alloc(8 * PAGE, PAGE) == 12 * PAGE
    assert memblock.alloc(4 * PAGE, PAGE) is None
    memblock.bottom_up = True
    assert memblock.alloc(2 * PAGE, PAGE) == 10 * PAGE
    assert sum(end - start for start, end, _ in memblock.free_ranges()) == 88 * PAGE, "the rest is free all the same"
    memblock.clear_kho_scratch(0, 100 * PAGE)
    assert memblock.memory_regions() == [Region(PAGE, 100 * PAGE)]
