from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.errors import MachineStopped
from minikern.mm.map.sparse import present_sections, sparse_init
from minikern.mm.page.vmemmap import Memmap, joined
from minikern.state.memblock import Memblock
from tests.mm.fake_kernel import GIB, MIB, fake_kernel


def test_sections_touched_by_memory() -> None:
    k = fake_kernel([(1 * MIB, 129 * MIB, 0), (300 * MIB, 301 * MIB, 0), (1 * GIB, 1 * GIB + 1 * MIB, 1)])
    assert [tuple(run) for run in present_sections(k.memblock)] == [(0, 3, 0), (8, 1, 1)]


REGIONS = st.lists(st.tuples(st.integers(1, 3 << 16), st.integers(1, 3 << 16), st.integers(-1, 1)), max_size=5)


@given(REGIONS)
def test_sections_against_one_at_a_time(gaps: list[tuple[int, int, int]]) -> None:
    memblock, at = Memblock(), 0
    first_nid: dict[int, int] = {}
    for gap, pages, nid in gaps:
        at += gap
        memblock.memory.add_range(at << 12, pages << 12, nid, 0)
        for pfn in range(at, at + pages, 512):
            first_nid.setdefault(pfn // 32768, max(nid, 0))
        first_nid.setdefault((at + pages - 1) // 32768, max(nid, 0))
        at += pages
    found = present_sections(memblock)
    assert [(number, run.nid) for run in found for number in run.numbers] == sorted(first_nid.items())
    assert all(one.numbers.stop < other.first or one.nid != other.nid for one, other in pairwise(found))


def test_map_memory_lies_on_its_node() -> None:
    k = fake_kernel([(1 * MIB, 1 * GIB, 0), (1 * GIB, 2 * GIB, 1)])
    assert [entry[:2] for entry in k.vmemmap.memmaps] == [(0, 8), (8, 8)]
    for section, _, phys in k.vmemmap.memmaps:
        assert phys % (2 * MIB) == 0
        assert (phys >= 1 * GIB) == (section >= 8)


def test_as_much_is_reserved_as_a_debug_boot_reserves() -> None:
    # 2 GiB with five page-table levels: roots, one page of sections, usage maps, 32 MiB of map, three table pages.
    k = fake_kernel([(0x1000, 0x9F000, 0), (0x100000, 0x7FFDF000, 0)])
    before = k.memblock.reserved.total()
    k.pgtable_l5_enabled = lambda: True  # type: ignore[method-assign]
    sparse_init(k)
    assert k.memblock.reserved.total() - before == 2097152 + 4096 + 896 + 33554432 + 3 * 4096


def test_no_room_for_the_map() -> None:
    with pytest.raises(MachineStopped, match="no room for 2097152 bytes of memory map"):
        fake_kernel([(0, 128 * MIB, 0)], [(16 * MIB, 128 * MIB), (4096, 15 * MIB)])


def test_joined() -> None:
    entries = [Memmap(0, 1, 0), Memmap(1, 1, 2 * MIB), Memmap(3, 1, 4 * MIB), Memmap(4, 1, 8 * MIB)]
    assert list(joined(entries)) == [Memmap(0, 2, 0), Memmap(3, 1, 4 * MIB), Memmap(4, 1, 8 * MIB)]
    assert list(joined([])) == []
