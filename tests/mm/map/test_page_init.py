from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minikern.mm.map.page_init import DeferInit, memmap_init
from minikern.mm.page.mmzone import Pglist, Zone
from minikern.mm.page.struct_page import as_pages
from minikern.mm.page.vmemmap import PageStateGone
from tests import naive_mm
from tests.mm.fake_kernel import GIB, MIB, FakeKernel, booted, fake_kernel

PAGE = 4096
NO_DEFER = {"CONFIG_DEFERRED_STRUCT_PAGE_INIT": False}


def naive_of(k: FakeKernel, defer: bool) -> tuple[dict[int, tuple[int, int, bool]], list[str], dict[int, int]]:
    ranges = [(-(-r.base // PAGE), r.end // PAGE, r.nid) for r in k.memblock.memory_regions()]
    zones = {n.nid: [(z.index, z.start_pfn, z.end_pfn) for z in n.zones if z.present_pages] for n in k.nodes}
    return naive_mm.memmap_init(ranges, zones, defer)


def compare(k: FakeKernel, defer: bool) -> None:
    pages, lines, first = naive_of(k, defer)
    assert k.lines == lines
    assert {n.nid: n.first_deferred_pfn for n in k.nodes if n.first_deferred_pfn is not None} == first
    assert k.charges["struct_page_init"] == len(pages)
    total = 0
    for start, end, lap in k.vmemmap.held.intervals():
        assert lap == 0
        total += end - start
    assert total == len(pages)
    slots = k.vmemmap.section_slot
    view = as_pages(k.vmemmap.words)
    for pfn, (nid, zone, reserved) in list(pages.items())[:: max(1, len(pages) // 5000)]:
        flags = naive_mm.flags_of(nid, zone) | (0x1000 if reserved else 0)
        assert view[slots[pfn // 32768] + pfn % 32768].tobytes() == naive_mm.fresh_page(pfn, flags)


def test_a_small_machine() -> None:
    memory = [(0x1000, 0x9F000, 0), (1 * MIB, 200 * MIB + 5 * PAGE, 0)]
    k = booted(fake_kernel(memory, config=NO_DEFER))
    compare(k, defer=False)
    assert k.lines[0] == "On node 0, zone DMA: 1 pages in unavailable ranges"
    assert k.lines[1] == "On node 0, zone DMA: 97 pages in unavailable ranges"


def test_two_nodes_with_holes_and_deferral() -> None:
    memory = [
        (0x1000, 0xA0000, 0),
        (1 * MIB, 300 * MIB, 0),
        (301 * MIB, 450 * MIB, 0),
        (520 * MIB, 700 * MIB, 1),
        (900 * MIB, 1000 * MIB + PAGE, 1),
    ]
    compare(booted(fake_kernel(memory)), defer=True)


def test_lines_of_real_boots() -> None:
    # 2 GiB debug boot, 8 GiB boot, and the two-node boot of 6.12: ranges and lines as their logs have them.
    low = (0x1000, 0x9F000, 0)
    one, other = (
        "On node 0, zone DMA: 1 pages in unavailable ranges",
        "On node 0, zone DMA: 97 pages in unavailable ranges",
    )
    for rest, last in (
        ([(0x100000, 0x7FFDF000, 0)], "On node 0, zone DMA32: 33 pages in unavailable ranges"),
        (
            [(0x100000, 0x7FFE0000, 0), (4 * GIB, 10 * GIB, 0)],
            "On node 0, zone Normal: 32 pages in unavailable ranges",
        ),
        (
            [(0x100000, 0x7FFE0000, 0), (4 * GIB, 6 * GIB, 1)],
            "On node 1, zone Normal: 32 pages in unavailable ranges",
        ),
    ):
        k = booted(fake_kernel([low, *rest], vmemmap="window"))
        assert k.lines == [one, other, last]


def node_with(zones: list[tuple[int, int]]) -> Pglist:
    made = [Zone(index, 0, low, high - low, high - low) for index, (low, high) in enumerate(zones)]
    return Pglist(0, zones[0][0], zones[-1][1], made)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 40000),
    st.lists(st.tuples(st.integers(1, 70000), st.integers(0, 40000)), min_size=1, max_size=5),
    st.integers(0, 60000),
    st.booleans(),
)
def test_deferral_point(start: int, pieces: list[tuple[int, int]], low_zone: int, reset_first: bool) -> None:
    ranges, at = [], start
    for size, gap in pieces:
        ranges.append((at, at + size))
        at += size + gap
    end = ranges[-1][1]
    border = min(start + low_zone, end - 1)
    zones = [(start, border), (border, end)] if border > start else [(start, end)]
    node = node_with(zones)
    fast, naive = DeferInit(True, reset_first), naive_mm.NaiveDefer()
    for low, high in ranges:
        for zone_start, zone_end in zones:
            first, last = max(low, zone_start), min(high, zone_end)
            if first < last:
                stop = next((p for p in range(first, last) if naive(0, end, p, zone_end)), last)
                assert fast.stop(node, zone_end, first, last) == stop
    assert node.first_deferred_pfn == naive.first.get(0)


def test_exactly_one_section_when_the_zone_is_aligned() -> None:
    k = booted(fake_kernel([(4 * GIB, 6 * GIB, 0), (6 * GIB, 7 * GIB, 1)], vmemmap="window"))
    assert [n.first_deferred_pfn for n in k.nodes] == [0x108000, 0x188000]
    assert k.charges["struct_page_init"] == 2 * 32768


def test_early_page_ext_switches_deferral_off() -> None:
    k = booted(fake_kernel([(4 * GIB, 5 * GIB, 0)], append="early_page_ext", vmemmap="window"))
    assert k.nodes[0].first_deferred_pfn is None
    late = booted(fake_kernel([(4 * GIB, 5 * GIB, 0)], append="page_owner=on", vmemmap="window"))
    assert late.nodes[0].first_deferred_pfn == 0x108000


def test_pageblocks_become_movable_where_memory_starts_them() -> None:
    k = booted(fake_kernel([(0x1000, 0x9F000, 0), (1 * MIB, 100 * MIB, 0)], config=NO_DEFER))
    types = k.page_alloc.pageblock_types[:]
    assert types[0] == 0, "pfn 0 is no memory"
    assert set(types[1:50].tolist()) == {1}
    assert not types[50:].any()


def test_window_and_full_hold_the_same_bytes() -> None:
    memory = [(0x1000, 0x9F000, 0), (1 * MIB, 300 * MIB, 0), (310 * MIB, 650 * MIB, 1)]
    full = booted(fake_kernel(memory, config=NO_DEFER))
    window = fake_kernel(memory, config=NO_DEFER)
    window.vmemmap = type(window.vmemmap)(window.vmemmap.sections, slots=2 * 32768)
    memmap_init(window)
    assert window.charges == full.charges
    for pfn in range(600 * 256, 650 * 256, 97):
        assert window.vmemmap.page(pfn).tobytes() == full.vmemmap.page(pfn).tobytes()
    with pytest.raises(PageStateGone):
        window.vmemmap.page(1)


@pytest.mark.parametrize("kernel", ["linux", "nontemporal"])
def test_algorithms_give_the_same_map(kernel: str) -> None:
    k = booted(fake_kernel([(0, 130 * MIB, 0)], kernel=kernel, config=NO_DEFER))
    other = booted(fake_kernel([(0, 130 * MIB, 0)], config=NO_DEFER))
    assert k.vmemmap.words.tobytes() == other.vmemmap.words.tobytes()
