"""The check on what few machines have: areas of the contiguous allocator, preserved blocks, holes, a window."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.errors import InputError
from minikern.mm.buddy.cma import init_cma_reserved
from minikern.mm.buddy.memblock_free import memblock_free_all, register_page_bootmem_info
from minikern.mm.hugetlb.hugetlb import hugetlb_init
from minikern.mm.map.deferred import page_alloc_init_late
from minikern.mm.page.vmemmap import Memmap
from minikern.state.hugetlb import CmaArea
from minikern.state.kho import Blocks, Incoming, Scratch
from minikern.state.memblock import Memblock
from minikern.verify import page_check_owners as owners
from minikern.verify.page_check import check_memmap
from minikern.verify.page_check_lists import _kept_apart, check_free_lists
from minikern.verify.page_check_state import Expected, Place, Span, _neighbours, cut, expected_spans, places
from tests.mm.fake_kernel import MIB, FakeKernel, booted, fake_kernel, node_of

NO_DEFER = {"CONFIG_DEFERRED_STRUCT_PAGE_INIT": False}
AREA, PAGES = 24 * 256, 1024
ZONE = "node 0 zone DMA32"


def with_area(hole: bool = False) -> FakeKernel:
    """40 MiB from 16 MiB on, 4 of them for the contiguous allocator; behind ``hole``, another 2 that are reserved."""
    memory = [(16 * MIB, 56 * MIB, 0)] + [(60 * MIB + 4096, 62 * MIB, 0)] * hole
    reserved = [(AREA << 12, AREA + PAGES << 12)] + [(60 * MIB, 62 * MIB)] * hole
    k = booted(fake_kernel(memory, reserved, config=NO_DEFER))
    memblock_free_all(k)
    k.cma.areas.append(CmaArea(AREA << 12, PAGES << 12, "reserved", 0))
    init_cma_reserved(k, AREA, AREA + PAGES)
    return k


def typed(k: FakeKernel, block: int, kind: int) -> None:
    k.page_alloc.pageblock_types[block] = kind


def relisted(k: FakeKernel, block: int, kind: int) -> None:
    """The free block of the highest order from a pageblock on is another one of this type; lists and types agree."""
    lists, pfn = k.page_alloc.areas[0, 1].largest, block * 512
    for stretches in lists:
        for start, count in list(stretches):
            if start <= pfn < start + count * 1024:
                stretches.remove((start, count))
                low = (pfn - start) // 1024
                pieces = ((start, low), (pfn + 1024, count - low - 1))
                stretches.extend(piece for piece in pieces if piece[1])
    lists[kind].append((pfn, 1))
    k.page_alloc.pageblock_types[block : block + 2] = kind


AREAS: dict[str, tuple[Callable[[FakeKernel], object], int, str]] = {
    "an area's memory of another type": (lambda k: relisted(k, 12, 1), AREA,
        "pageblock 12 of pfn 0x1800 is kept for CMA, but has another type"),
    "memory behind the area": (lambda k: relisted(k, 14, 4), 0x1C00,
        "pageblock 14 of pfn 0x1c00 has type CMA, but is in no area"),
    "memory before the area": (lambda k: relisted(k, 10, 4), 0x1400,
        "pageblock 10 of pfn 0x1400 has type CMA, but is in no area"),
    "an area that was not handed over": (lambda k: k.page_alloc.released.clear(), AREA,
        "pageblock 12 of pfn 0x1800 has type CMA, but is in no area"),
    "half an area handed over": (lambda k: k.page_alloc.released.__setitem__(0, (AREA, AREA + 512)), AREA,
        "pageblock 12 of pfn 0x1800 has type CMA, but is in no area"),
    "too few pages": (lambda k: setattr(k.nodes[0].zones[1], "cma_pages", 512), 0x1000,
        f"{ZONE}: 512 pages for CMA, its areas have 1024"),
    "no pages": (lambda k: setattr(k.nodes[0].zones[1], "cma_pages", 0), 0x1000,
        f"{ZONE}: 0 pages for CMA, its areas have 1024"),
    "a block that begins in a hole": (lambda k: typed(k, 0x3C00 // 512, 1), 0x3C00,
        "pageblock 30 of pfn 0x3c00 begins in no memory, but has type 1"),
    "a block behind all memory": (lambda k: typed(k, 0x3E00 // 512, 1), 0x3E00,
        "pageblock 31 of pfn 0x3e00 begins in no memory, but has type 1"),
    "a block before all memory": (lambda k: typed(k, 7, 2), 0xE00,
        "pageblock 7 of pfn 0xe00 begins in no memory, but has type 2"),
}  # fmt: skip


@pytest.mark.parametrize("what", AREAS)
def test_areas_and_holes(what: str) -> None:
    damage, pfn, message = AREAS[what]
    k = with_area(hole=True)
    owners.check_pageblocks(k)
    damage(k)
    with pytest.raises(owners.Wrong) as found:
        owners.check_pageblocks(k)
    assert (found.value.pfn, str(found.value)) == (pfn, message)


def test_whole_pageblocks_of_different_types_are_not_merged() -> None:
    k = with_area()
    area = k.page_alloc.areas[0, 1]
    relisted(k, 12, 4)
    area.largest[4].remove((AREA, 1))
    area.nr_free[10] -= 1
    area.add(AREA, 9, 4, tail=True)
    area.add(AREA + 512, 9, 1, tail=True)
    typed(k, 13, 1)
    check_free_lists(k)
    area.add(area.remove(AREA + 512) and AREA + 512, 9, 4, tail=True)
    with pytest.raises(owners.Wrong, match=r"^free block 0x1800 order 9: its buddy is free, too, and was not merged"):
        check_free_lists(k)


def test_only_types_that_lend_memory_are_merged() -> None:
    pairs = {(one, other) for one in range(5) for other in range(5) if _kept_apart(one, other)}
    lent = {(one, other) for one in range(3) for other in range(3)}
    assert pairs == {(one, other) for one in range(5) for other in range(5)} - lent - {(3, 3), (4, 4)}


def test_an_area_of_another_kernel_is_there_from_the_beginning() -> None:
    k = with_area()
    k.kho.scratch, k.page_alloc.released[:] = [Scratch(AREA << 12, PAGES << 12)], []
    k.cma.areas.clear()
    with pytest.raises(owners.Wrong, match="has type CMA, but is in no area"):
        owners.check_pageblocks(k)
    k.kho.incoming = Incoming(0, None)  # type: ignore[arg-type]
    owners.check_pageblocks(k)
    k.nodes[0].zones[1].cma_pages = 0  # those of scratch may be counted or not
    owners.check_pageblocks(k)


def test_preserved_blocks_are_marked_on_their_first_pages() -> None:
    k = booted(fake_kernel([(16 * MIB, 56 * MIB, 0)], [(AREA << 12, AREA + 24 << 12)], config=NO_DEFER))
    memblock_free_all(k)
    k.kho.incoming = Incoming(0, None, [Blocks((AREA + 8) << 12, 3, 2)])  # type: ignore[arg-type]
    want = Expected("preserved", heads=8, head_private=0x4B484F50_00000003, head_counts=0x1_FFFFFFFF)
    assert [span for span in expected_spans(k) if AREA <= span.start < AREA + 24] == [
        Span(AREA, AREA + 8, Expected("reserved", 1 << 12)), Span(AREA + 8, AREA + 24, want)]  # fmt: skip
    found = check_memmap(k)
    assert found.first_wrong_pfn == AREA + 8 and "expected a preserved page of node 0 zone 1" in found.message


def test_scratch_counts_once_it_was_handed_over() -> None:
    k = with_area()
    k.kho.scratch = [Scratch((AREA + 512) << 12, 512 << 12)]
    k.cma.areas[0] = CmaArea(AREA << 12, 512 << 12, "reserved", 0)
    owners.check_pageblocks(k)


def test_memory_deferred_or_not_decides_what_never_free_blocks_are() -> None:
    for deferred in (False, True):
        k = booted(fake_kernel([(16 * MIB, 40 * MIB, 0)], [(24 * MIB, 26 * MIB)],
                               config={"CONFIG_DEFERRED_STRUCT_PAGE_INIT": deferred}))  # fmt: skip
        memblock_free_all(k)
        owners.check_pageblocks(k)
        typed(k, 12, 0)
        if deferred:
            owners.check_pageblocks(k)
        else:
            with pytest.raises(owners.Wrong, match=r"^pageblock 12 of pfn 0x1800 was never free, but has type 0$"):
                owners.check_pageblocks(k)


# what is left out


def test_a_window_says_what_left_it() -> None:
    k = fake_kernel([(0, 300 * MIB, 0)], config=NO_DEFER)
    k.vmemmap = type(k.vmemmap)(k.vmemmap.sections, slots=2 * 32768)
    booted(k)
    memblock_free_all(k)
    found = check_memmap(k)
    assert (found.ok, found.checked, dict(found.without)) == (True, 65536, {"left the window": 32768})
    blocks = f"{found.free_blocks} free blocks"
    assert str(found) == (f"check: 65536 struct pages compared, {blocks}, page counts agree, "
                          "32768 struct pages (2.0 MiB) without content: left the window")  # fmt: skip


def test_deferred_memory_has_no_content_yet() -> None:
    k = booted(fake_kernel([(0, 700 * MIB, 0)], [(650 * MIB, 660 * MIB)]))
    memblock_free_all(k)
    found = check_memmap(k)
    waiting = sum(end - max(start, 2 * 32768 << 12) for start, end, _ in k.memblock.free_ranges()
                  if end > 2 * 32768 << 12) // 4096  # fmt: skip
    assert (found.ok, dict(found.without)) == (True, {"not initialised yet": waiting})
    assert found.checked == 6 * 32768 - waiting


def test_holes_and_other_nodes_do_not_wait() -> None:
    memory = [(0, 500 * MIB, 0), (520 * MIB, 700 * MIB, 0), (768 * MIB, 1000 * MIB, 1), (1010 * MIB, 1400 * MIB, 1)]
    k = booted(fake_kernel(memory, [(600 * MIB, 610 * MIB)]))
    memblock_free_all(k)
    waiting = 0
    for node in k.nodes:
        free = [(-(-start // 4096), end // 4096) for start, end, _ in k.memblock.free_ranges(node.nid)]
        waiting += sum(max(0, end - max(start, node.first_deferred_pfn)) for start, end in free)
    found = check_memmap(k)
    assert (found.ok, found.checked) == (True, k.vmemmap.total - waiting), found.message
    assert dict(found.without) == {"not initialised yet": waiting}


def test_a_counted_map_has_nothing_to_check() -> None:
    k = booted(fake_kernel([(0, 100 * MIB, 0)], vmemmap="counted", config=NO_DEFER))
    with pytest.raises(InputError, match=r"^a counted memory map has no pages to check: expected --vmemmap"):
        check_memmap(k)


# layers


def small(sizes: list[tuple[int, int]]) -> list[tuple[int, int]]:
    ranges, at = [], 0
    for gap, size in sizes:
        ranges.append((at + gap, at + gap + size))
        at += gap + size
    return ranges


PIECES = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 6)), max_size=7)


@settings(max_examples=60)
@given(PIECES, PIECES)
def test_ranges_joined_and_taken_from_each_other(one: list[tuple[int, int]], two: list[tuple[int, int]]) -> None:
    whole, less = small(one), small(two)
    both = sorted([*whole, *less])
    joined = owners._joined(both)
    assert {p for low, high in joined for p in range(low, high)} == {p for low, high in both for p in range(low, high)}
    assert all(joined[at][1] < joined[at + 1][0] for at in range(len(joined) - 1))
    left = list(owners._without(owners._joined(whole), owners._joined(less)))
    pages = {p for low, high in whole for p in range(low, high)} - {p for low, high in less for p in range(low, high)}
    assert sorted(p for low, high in left for p in range(low, high)) == sorted(pages)
    assert all(low < high for low, high in left)


@settings(max_examples=60)
@given(PIECES, PIECES)
def test_spans_cut_by_places(one: list[tuple[int, int]], two: list[tuple[int, int]]) -> None:
    under = [Place(low, high, at, at % 3, at % 2 == 0) for at, (low, high) in enumerate(small(one))]
    spans = [Span(low, high, Expected(f"s{at}")) for at, (low, high) in enumerate(small(two))]
    cuts = list(cut(under, spans))
    expected = {pfn: (place.nid, span.expected.state) for place in under for span in spans
                for pfn in range(max(place.start, span.start), min(place.end, span.end))}  # fmt: skip
    found = [(pfn, (place.nid, span.expected.state)) for place, span in cuts for pfn in range(place.start, place.end)]
    assert found == sorted(expected.items())
    assert all(place.start < place.end and place[2:] == under[place.nid][2:] for place, _ in cuts)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(1, 3)), min_size=1, max_size=8))
def test_maps_side_by_side_are_one(maps: list[tuple[int, int, int]]) -> None:
    made, section, frame = [], 5, 3
    for apart, elsewhere, sections in maps:
        section, frame = section + apart, frame + elsewhere * 7
        made.append((frame, sections * 512, section))
        section, frame = section + sections, frame + sections * 512
    found = list(_neighbours(made))
    naive = {first + at: section + at // 512 for first, frames, section in made for at in range(frames)}
    assert {first + at: section + at // 512 for first, frames, section in found for at in range(frames)} == naive
    borders = sum(1 for apart, elsewhere, _ in maps[1:] if apart or elsewhere)
    assert len(found) == 1 + borders


def test_pages_of_the_map_count_their_sections() -> None:
    k = booted(fake_kernel([(0, 300 * MIB, 0)], config=NO_DEFER))
    memblock_free_all(k)
    register_page_bootmem_info(k)
    for section, _, phys in list(k.vmemmap.memmaps):
        for at, private in ((0, section), (511, section)):
            row = k.vmemmap.row((phys >> 12) + at)
            assert row is not None and int(row[5]) == private
            row[5] += np.uint64(1)
            found = check_memmap(k)
            assert found.first_wrong_pfn == (phys >> 12) + at
            assert "expected a memory-map page of node 0 zone 1, came node 0 zone DMA32 reserved|" in found.message
            row[5] -= np.uint64(1)
    k.vmemmap.memmaps[0] = Memmap(0, 1, k.vmemmap.memmaps[0].phys + (1 << 21))
    assert not check_memmap(k).ok


def test_frames_of_folded_maps_are_map_once_huge_pages_are_there() -> None:
    words = "hugetlb_free_vmemmap=on hugepagesz=1G hugepages=1"
    step = {"hugetlb_prehvo": True, "hugetlb_tail_skip": True}
    k = booted(fake_kernel([(MIB, 3 << 30, 0)], append=words, behaviour=step))
    memblock_free_all(k)
    register_page_bootmem_info(k)
    (entry,) = k.hugetlb.preinit

    def frame() -> list[tuple[str, int]]:
        spans = [span for span in expected_spans(k) if span.start <= entry.frame < span.end]
        return [(span.expected.state, span.expected.private) for span in spans]

    page_alloc_init_late(k)
    assert frame() == [("reserved", 0)]
    hugetlb_init(k)
    assert frame() == [("memory-map", entry.head // 32768)]
    found = check_memmap(k)
    assert found.ok, found.message


@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 60), st.integers(0, 1)), min_size=1, max_size=4))
def test_places_a_page_at_a_time(pieces: list[tuple[int, int, int]]) -> None:
    memblock, at, held = Memblock(), 0xFD0, {}
    for gap, size, nid in pieces:
        low, high = at + gap + 1, at + gap + 1 + size
        held |= {pfn: (nid, int(pfn >= 0x1000), True) for pfn in range(low, high)}
        memblock.add((low << 12) - 5, (size << 12) + 9)  # parts of a page are no memory
        memblock.set_node((low << 12) - 5, (size << 12) + 9, nid)
        at = high
    k: Any = SimpleNamespace(memblock=memblock)
    k.nodes = [node_of(memblock, nid) for nid in sorted({nid for _, _, nid in pieces})]
    last = max(held)
    highest = max(zone for nid, zone, _ in held.values() if nid == held[last][0])
    expected, after = {}, (held[last][0], highest, False)
    for pfn in range(-(-(last + 1) // 32768) * 32768 - 1, -1, -1):
        expected[pfn] = held.get(pfn, after)
        after = (*expected[pfn][:2], False)
    found = {pfn: place[2:] for place in places(k) for pfn in range(place.start, place.end)}
    assert found == expected
