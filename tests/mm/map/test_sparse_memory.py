"""What laying out the memory map takes from memblock, piece by piece and in order, on every kind of kernel."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.errors import InputError, MachineStopped
from minikern.mm.map import sparse
from minikern.mm.map.hugetlb_preinit import hugetlb_vmemmap_init_late, one_zone, qualifies
from minikern.mm.page.vmemmap import Memmap, PreinitMap
from minikern.state.hugetlb import BootPage, Hstate
from minikern.state.memblock import Memblock
from tests.mm.fake_kernel import GIB, MIB, FakeKernel, fake_kernel, node_of

PAGE, PMD = 4096, 2 * MIB
TWO = [(1 * MIB, 256 * MIB, 0), (64 * GIB - 128 * MIB, 64 * GIB + 256 * MIB, 1)]  # a border of page-table pages inside
Call = tuple[int, int, int, int, bool]


def laid_out(k: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Call], list[Memmap]]:
    """Lay out the map (once more): (size, align, node, lowest address, no other node) of all that is taken."""
    calls: list[Call] = []
    real = Memblock.alloc

    def alloc(self: Any, size: int, align: int, nid: int = -1, min_addr: int = 0, max_addr: int = 0,
              exact_nid: bool = False) -> int | None:  # fmt: skip
        calls.append((size, align, nid, min_addr, exact_nid))
        return real(self, size, align, nid, min_addr, max_addr, exact_nid)

    k.hugetlb.preinit.clear()
    with monkeypatch.context() as patch:
        patch.setattr(Memblock, "alloc", alloc)
        return calls, sparse.sparse_init(k)


def each(memmaps: list[Memmap]) -> list[tuple[int, int]]:
    """Section by section: number, and where its map lies."""
    return [(first + at, phys + at * PMD) for first, sections, phys in memmaps for at in range(sections)]


def present(memblock: Memblock) -> list[tuple[int, int]]:
    found = [(number, run.nid) for run in sparse.present_sections(memblock) for number in run.numbers]
    assert len(found) == sum(run.size for run in sparse.present_sections(memblock))
    return found


def naive_calls(sections: list[tuple[int, int]], levels: int, ext: bool, wide: bool, whole: bool) -> Iterator[Call]:
    """The same from the structures: pointers to roots, roots, and on each node usage maps, map, page tables."""
    per_root = 4096 // (32 if ext else 16)
    yield 2 ** ((46 if levels == 4 else 52) - 27) // per_root * 8, 64, -1, 0, False
    for root in sorted({number // per_root for number, _ in sections}):
        yield PAGE, 64, next(nid for number, nid in sections if number // per_root == root), 0, False
    tables = set()
    for node in dict.fromkeys(nid for _, nid in sections):
        mine = [number for number, nid in sections if nid == node]
        yield (88 if wide else 56) * len(mine), 64, node, 0, False
        if whole:
            yield PMD * len(mine), PMD, node, 16 * MIB, True
        for number in mine:
            for sections_each in (2**27, 2**18, 512)[0 if levels == 5 else 1 :]:
                if (sections_each, number // sections_each) not in tables:
                    tables.add((sections_each, number // sections_each))
                    yield PAGE, PAGE, node, 16 * MIB, False
            if not whole:
                yield PMD, PMD, node, 16 * MIB, False


@pytest.mark.parametrize("levels", [4, 5])
@pytest.mark.parametrize(("ext", "wide", "whole"), [(True, False, True), (False, True, False), (True, True, False)])
def test_every_piece(levels: int, ext: bool, wide: bool, whole: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    k = fake_kernel(TWO, vmemmap="counted", config={"CONFIG_PAGE_EXTENSION": ext},
                    behaviour={"pageblock_bits_wide": wide, "sparse_buffer": whole})  # fmt: skip
    k.pgtable_l5_enabled = lambda: levels == 5  # type: ignore[method-assign]
    before = dict(k.charges)
    calls, memmaps = laid_out(k, monkeypatch)
    sections = [(0, 0), (1, 0), (511, 1), (512, 1), (513, 1)]
    assert calls == list(naive_calls(sections, levels, ext, wide, whole))
    assert [number for number, _ in each(memmaps)] == [number for number, _ in sections]
    assert all(phys % PMD == 0 and (phys >= 256 * MIB) == (number > 1) for number, phys in each(memmaps))
    taken = sorted(phys for _, phys in each(memmaps))
    assert all(other - one >= PMD for one, other in pairwise(taken))
    if whole:  # side by side, ascending
        assert [entry[:2] for entry in memmaps] == [(0, 2), (511, 3)]
    assert k.charges["vmemmap_section_map"] == before["vmemmap_section_map"] + 5
    assert k.charges["vmemmap_pte_set"] == 0


def test_a_kernel_that_does_not_say_has_page_extensions(monkeypatch: pytest.MonkeyPatch) -> None:
    k = fake_kernel([(1 * MIB, 256 * MIB, 0)], vmemmap="counted")
    assert laid_out(k, monkeypatch)[0][0][0] == 2**19 // 128 * 8


def test_a_map_in_pieces_where_there_is_no_room_for_it_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = [(1 * MIB, 1 * GIB, 0)]
    holes = [(base, base + 4096) for base in range(5 * MIB, 1 * GIB, 6 * MIB)]
    k = fake_kernel(memory, holes, vmemmap="counted")
    calls, memmaps = laid_out(k, monkeypatch)
    assert calls[3] == (8 * PMD, PMD, 0, 16 * MIB, True)
    assert calls[6:] == [(PMD, PMD, 0, 16 * MIB, False)] * 8
    assert len({phys for _, phys in each(memmaps)}) == 8
    assert all(k.memblock.reserved.overlaps(phys, phys + PMD) for _, phys in each(memmaps))


@pytest.mark.parametrize(
    ("reserved", "what"),
    [
        ([(4096, 128 * MIB)], "32768 bytes of mem_section roots on node -1"),
        ([(36864, 128 * MIB)], "4096 bytes of mem_section on node 0"),
        ([(40960, 128 * MIB)], "56 bytes of section usage maps on node 0"),
        ([(49152, 128 * MIB)], "4096 bytes of vmemmap page table on node 0"),
        ([(61440, 128 * MIB)], "2097152 bytes of memory map of section 0 on node 0"),
    ],
)
def test_what_there_is_no_room_for(reserved: list[tuple[int, int]], what: str) -> None:
    with pytest.raises(MachineStopped, match=f"^sparse_init: no room for {what}$"):
        fake_kernel([(0, 128 * MIB, 0)], [(0, 4096), *reserved], vmemmap="counted")


def test_an_unknown_backing_and_no_sections_are_refused() -> None:
    k = fake_kernel([(1 * MIB, 256 * MIB, 0)], vmemmap="counted")
    with pytest.raises(InputError, match="no present section"):
        sparse.vmemmap_init(k, [])
    k.options.vmemmap = "paper"
    with pytest.raises(InputError, match="unknown memory-map backing 'paper'"):
        sparse.vmemmap_init(k, [Memmap(0, 1, 0)])


def test_a_node_s_buffer_gives_what_it_has_and_takes_the_rest_back() -> None:
    memblock = Memblock()
    memblock.add(16 * MIB, 8 * PMD)
    buffer = sparse._SparseBuffer(memblock, 4 * PMD, 0)
    assert memblock.reserved_regions() == []  # of no node, so not of this one
    assert buffer.alloc(PMD) is None
    memblock.set_node(16 * MIB, 8 * PMD, 0)
    buffer = sparse._SparseBuffer(memblock, 4 * PMD, 0)
    first = 16 * MIB + 4 * PMD
    assert [(r.base, r.end) for r in memblock.reserved_regions()] == [(first, first + 4 * PMD)]
    assert buffer.alloc(PMD, 5) is None
    assert (buffer.alloc(PAGE), buffer.alloc(PMD, 4), buffer.alloc(PMD, 2)) == (first, None, first + PMD)
    assert (buffer.alloc(PMD, 2), buffer.alloc(PAGE, 3)) == (None, first + 3 * PMD)
    buffer.fini()
    kept = [(first, first + PAGE), (first + PMD, first + 3 * PMD + 3 * PAGE)]
    assert [(r.base, r.end) for r in memblock.reserved_regions()] == kept
    full = sparse._SparseBuffer(memblock, 2 * PMD, 0)
    assert full.alloc(PMD, 2) is not None
    full.fini()
    assert memblock.reserved.total() == PAGE + 4 * PMD + 3 * PAGE


@pytest.mark.parametrize(
    ("options", "looked_at"),
    [({}, False), ({"looked_at": True}, True), ({"kernel": "linux"}, True), ({"page_kernel": len}, True)],
)
def test_whose_pages_are_looked_at(options: dict[str, Any], looked_at: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    k, asked = fake_kernel([(1 * MIB, 256 * MIB, 0)], vmemmap="counted"), []
    for name, value in options.items():
        setattr(k.options, name, value)
    real = sparse.choose_backing
    monkeypatch.setattr(sparse, "choose_backing", lambda *args: asked.append(args) or real(*args))
    sparse.vmemmap_init(k, [Memmap(0, 2, 0), Memmap(5, 1, PMD)])
    assert asked == [(3, PMD, "counted", looked_at)]
    assert k.vmemmap.sections == [0, 1, 5]


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 1600), st.integers(1, 1100), st.integers(-1, 2)), min_size=1, max_size=6))
def test_sections_belong_to_the_memory_seen_first(pieces: list[tuple[int, int, int]]) -> None:
    memblock, at, first = Memblock(), 0, {}
    for gap, size, nid in pieces:  # in units of a quarter of a megabyte
        low, high = at + gap, at + gap + size
        memblock.add(low << 18, size << 18)
        memblock.set_node(low << 18, size << 18, nid)
        for unit in range(low, high):
            first.setdefault(unit // 512, max(nid, 0))
        at = high
    assert present(memblock) == sorted(first.items())


def test_less_than_a_page_makes_no_section_present() -> None:
    memblock = Memblock()
    memblock.add(128 * MIB - 4096, 4096 + 4095)
    memblock.add(256 * MIB + 1, 8190)
    assert present(memblock) == [(0, 0)]


# maps that are made folded

FOLDED = {"hugetlb_prehvo": True, "hugetlb_exact_node": True}
PAIR = [(1 * MIB, 3 * GIB, 0), (3 * GIB, 6 * GIB, 1)]
WORDS = "hugetlb_free_vmemmap=on hugepagesz=1G hugepages=3"


def test_a_folded_map_takes_one_frame_and_its_page_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    for whole in (True, False):
        k = fake_kernel(PAIR, append=WORDS, vmemmap="counted", behaviour={**FOLDED, "sparse_buffer": whole})
        heads = [(page.pfn, page.nid) for page in k.hugetlb.boot_pages]
        assert heads == [(0x80000, 0), (0x140000, 1), (0x40000, 0)]
        for page in k.hugetlb.boot_pages:
            page.hvo = False
        before = k.charges["vmemmap_pte_set"]
        calls, memmaps = laid_out(k, monkeypatch)
        pages = {head // 32768 + at for head, _ in heads for at in range(8)}
        assert [number for number, _ in each(memmaps)] == [number for number in range(48) if number not in pages]
        # its frame is in the buffer, so tables alone are asked for: one a section, after those above the first
        table, frame = (PAGE, PAGE, 0, 16 * MIB, False), (PAGE, PAGE, 0, 16 * MIB, False)
        usage = calls.index((56 * 24, 64, 0, 0, False))
        rest = calls[usage + 1 + whole :]
        assert rest[: 2 + 8 + 8 + 2 * (not whole)] == [table] * 18 + [frame] * (2 * (not whole))
        assert [(entry.head, entry.pages) for entry in k.hugetlb.preinit] == [
            (0x40000, 1 << 18), (0x80000, 1 << 18), (0x140000, 1 << 18)]  # the last one first  # fmt: skip
        frames = [entry.frame << 12 for entry in k.hugetlb.preinit]
        assert len(set(frames)) == 3 and [frame >= 3 * GIB for frame in frames] == [False, False, True]
        assert all(k.memblock.reserved.overlaps(frame, frame + PAGE) for frame in frames)
        assert k.charges["vmemmap_pte_set"] - before == 24 * 512
        if whole:  # what the buffer holds beyond maps and frames is given back
            used = {phys for _, phys in each(memmaps) if phys < 3 * GIB}
            size, at = 24 * PMD, min(*used, *frames[:2]) // PMD * PMD
            free = sum(not k.memblock.reserved.overlaps(at + off, at + off + PAGE) for off in range(0, size, PAGE))
            assert free == size // PAGE - len(used) * 512 - 2


def test_a_map_is_folded_early_only_on_kernels_that_do_that() -> None:
    k = fake_kernel(PAIR, append=WORDS, vmemmap="counted", behaviour={**FOLDED, "hugetlb_prehvo": False})
    assert (k.hugetlb.preinit, k.charges["vmemmap_pte_set"]) == ([], 0)
    off = fake_kernel(PAIR, append="hugepagesz=1G hugepages=3", vmemmap="counted", behaviour=FOLDED)
    assert (off.hugetlb.preinit, len(off.hugetlb.boot_pages)) == ([], 3)
    assert not any(page.hvo for page in off.hugetlb.boot_pages)


@pytest.mark.parametrize(
    ("pfn", "order", "on", "folded"),
    [(0x40000, 18, True, True), (0x40000, 18, False, False), (0x48000, 15, True, True), (0x4C000, 15, True, False),
     (0x44000, 14, True, False)],
)  # fmt: skip
def test_whole_sections_only(pfn: int, order: int, on: bool, folded: bool) -> None:
    k = fake_kernel([(1 * MIB, 256 * MIB, 0)], vmemmap="counted", append=f"hugetlb_free_vmemmap={('off', 'on')[on]}")
    assert qualifies(k, BootPage(Hstate(order), pfn, 0)) is folded


@pytest.mark.parametrize("tails", [False, True])
def test_a_page_in_two_zones_is_given_up(tails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    k = fake_kernel(PAIR, append=WORDS, vmemmap="counted", behaviour={**FOLDED, "vmemmap_tails": tails})
    for page in k.hugetlb.boot_pages:
        page.zones_valid = False
    k.nodes = [node_of(k.memblock, 0), node_of(k.memblock, 1)]
    for nid, low, start, end in ((0, 1, 0x80000, 0xC0000), (1, 2, 0x150000, 0x180000)):
        zones = k.nodes[nid].zones
        zones[low].spanned_pages = start - zones[low].start_pfn
        zones[3].start_pfn, zones[3].spanned_pages = start, end - start
    bad = next(entry for entry in k.hugetlb.preinit if entry.head == 0x140000)
    memmaps = [Memmap(0, 1, 0), Memmap(47, 1, 0)]
    taken: list[Call] = []
    monkeypatch.setattr(Memblock, "alloc", lambda self, size, align, nid=-1, min_addr=0, **kw: taken.append(
        (size, align, nid, min_addr, False)) or 5 * GIB)  # fmt: skip
    hugetlb_vmemmap_init_late(k, memmaps)
    assert [page.pfn for page in k.hugetlb.boot_pages] == [0x80000, 0x40000]
    assert all(page.zones_valid for page in k.hugetlb.boot_pages)
    assert [entry.head for entry in k.hugetlb.preinit] == [0x40000, 0x80000]
    assert [entry.section for entry in memmaps] == [0, *range(40, 48), 47]
    assert not k.memblock.reserved.overlaps(bad.frame << 12, (bad.frame << 12) + PAGE)
    assert not k.memblock.reserved.overlaps(5 * GIB, 6 * GIB)
    assert k.hugetlb.hstates[0].invalid == 1
    # of the others, one is in the Movable zone: its tails have a frame of their own
    assert taken == [(PMD, PMD, 1, 16 * MIB, False)] * 8 + [(PAGE, PAGE, 0, 0, False)] * 2 * tails


def test_pages_of_one_zone_and_size_share_the_frame_of_their_tails(monkeypatch: pytest.MonkeyPatch) -> None:
    k = fake_kernel(PAIR, append=WORDS, vmemmap="counted", behaviour={**FOLDED, "vmemmap_tails": True})
    taken: list[tuple[Any, ...]] = []
    monkeypatch.setattr(Memblock, "alloc", lambda self, *args, **kw: taken.append((*args, kw)) or 5 * GIB)
    hugetlb_vmemmap_init_late(k, [])
    assert taken == [(PAGE, PAGE, {"nid": 0}), (PAGE, PAGE, {"nid": 1})]
    k.hugetlb.preinit = []
    hugetlb_vmemmap_init_late(k, [])
    assert len(taken) == 2


@pytest.mark.parametrize(
    ("pfn", "prehvo", "valid", "one"),
    [(0xC0000, True, False, True), (0xE0000, True, False, False), (0xE0000, False, False, True),
     (0xE0000, True, True, True), (0x100000, True, False, True)],
)  # fmt: skip
def test_in_one_zone_or_not(pfn: int, prehvo: bool, valid: bool, one: bool) -> None:
    k = fake_kernel(PAIR, vmemmap="counted", behaviour={**FOLDED, "hugetlb_prehvo": prehvo})
    page = BootPage(Hstate(18), pfn, 1)
    page.zones_valid = valid
    for count in (1, 2):
        assert one_zone(k, page) is one
        assert page.h.invalid == count * (not one)


def test_maps_and_folds_are_known_to_the_map() -> None:
    k = fake_kernel(PAIR, append=WORDS, vmemmap="counted", behaviour=FOLDED)
    assert k.vmemmap.sections == list(range(48))
    assert sorted(k.vmemmap.preinit) == [0x40000, 0x80000, 0x140000]
    assert all(isinstance(entry, PreinitMap) for entry in k.vmemmap.preinit.values())
    assert [number for number, _ in each(k.vmemmap.memmaps)] == [*range(8), *range(24, 40)]
    assert k.vmemmap.backing == "counted"
