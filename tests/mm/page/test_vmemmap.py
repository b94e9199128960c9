from __future__ import annotations

import gc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.errors import InputError
from minikern.host import arena, backing
from minikern.mm.page import vmemmap as vm
from minikern.mm.page.held_ranges import HeldRanges
from tests.naive_mm import NaiveHeld

SECTION = 32768


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 12), st.integers(0, 2)), max_size=25))
def test_held_ranges_against_naive(claims: list[tuple[int, int, int]]) -> None:
    held, naive = HeldRanges(), NaiveHeld()
    for start, size, lap in claims:
        held.claim(start, start + size, lap)
        naive.claim(start, start + size, lap)
        held.check()
    for start in range(45):
        for end in (start, start + 1, start + 3, start + 9):
            for lap in range(3):
                assert held.covers(start, end, lap) == naive.covers(start, end, lap)


def write(vmemmap: vm.Vmemmap, start: int, end: int) -> None:
    """Leave each page's pfn in its first word."""
    for run in vmemmap.runs(start, end):
        vmemmap.rows(run)[:, 0] = np.arange(run.pfn, run.pfn + run.pages, dtype=np.uint64)
        vmemmap.claim(run)


def test_sections_lie_side_by_side() -> None:
    vmemmap = vm.Vmemmap([0, 1, 5])
    assert vmemmap.backing == "full"
    assert vmemmap.section_slot.tolist() == [0, SECTION, -1, -1, -1, 2 * SECTION]
    assert list(vmemmap.runs(0, 6 * SECTION)) == [vm.Run(0, 0, 2 * SECTION), vm.Run(2 * SECTION, 5 * SECTION, SECTION)]
    assert [vmemmap.pfn_valid(pfn) for pfn in (0, 2 * SECTION - 1, 2 * SECTION, 5 * SECTION, 6 * SECTION)] == [
        True,
        True,
        False,
        True,
        False,
    ]
    assert vmemmap.address(1) == 0xFFFFEA0000000040


def test_window_forgets_the_oldest() -> None:
    vmemmap = vm.Vmemmap(range(5), slots=2 * SECTION)
    assert vmemmap.backing == "window"
    write(vmemmap, 0, 3 * SECTION + 100)
    assert vmemmap.page(3 * SECTION + 99)["flags"] == 3 * SECTION + 99
    assert vmemmap.page(2 * SECTION)["flags"] == 2 * SECTION
    assert vmemmap.page(SECTION + 100)["flags"] == SECTION + 100
    for gone in (0, SECTION, SECTION + 99, 3 * SECTION + 100):
        with pytest.raises(vm.PageStateGone, match="is not in the window"):
            vmemmap.page(gone)
        assert vmemmap.row(gone) is None
    vmemmap.held.check()


def test_full_map_knows_what_was_never_written() -> None:
    vmemmap = vm.Vmemmap([3])
    write(vmemmap, 3 * SECTION, 3 * SECTION + 10)
    with pytest.raises(vm.PageStateGone, match="never initialised"):
        vmemmap.page(3 * SECTION + 10)
    with pytest.raises(vm.PageStateGone, match="no present section"):
        vmemmap.page(0)
    assert issubclass(vm.PageStateGone, InputError)


@pytest.fixture
def own_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool that no map of another test gives its arena back to."""
    pool = arena.ArenaPool()
    monkeypatch.setattr(vm, "arena_pool", lambda: pool)


@pytest.mark.usefixtures("own_pool")
def test_arena_is_reused_but_not_believed() -> None:
    first = vm.Vmemmap([0])
    write(first, 0, SECTION)
    kept = first.arena
    del first
    gc.collect()
    second = vm.Vmemmap([0])
    assert second.arena is kept
    with pytest.raises(vm.PageStateGone):
        second.page(0)
    third = vm.Vmemmap([0])
    assert third.arena is not kept, "two living maps share no memory"


@pytest.mark.usefixtures("own_pool")
def test_closed_map_holds_nothing() -> None:
    first = vm.Vmemmap([0])
    write(first, 0, SECTION)
    first.close()
    first.close()
    with pytest.raises(vm.PageStateGone):
        first.page(0)
    assert vm.Vmemmap([0]).arena is first.arena


def test_folded_tails_read_the_kept_page() -> None:
    vmemmap = vm.Vmemmap(range(2))
    write(vmemmap, 0, 2 * SECTION)
    released = vmemmap.fold(512, 9)
    assert vmemmap.page(512 + 63)["flags"] == 512 + 63
    assert vmemmap.page(512 + 64)["flags"] == 512
    assert vmemmap.page(1023)["flags"] == 512 + 63
    assert vmemmap.page(1024)["flags"] == 1024
    assert vmemmap.row(512 + 64) is None, "aliases are read-only"
    assert vmemmap.folded_head(1023) == 512
    assert vmemmap.folded_head(512) is None
    if released:
        assert not vmemmap.words[512 + 64 : 1024].any(), "host memory of the tails is gone"


def test_choice_of_backing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backing, "available_bytes", lambda: 64 << 20)
    def choose(sections: int, asked: str, looked_at: bool = False) -> backing.Backing:
        return backing.choose_backing(sections, vm.SECTION_MAP_SIZE, asked, looked_at)

    window, small = (backing.Backing(size // 64) for size in (backing.window_bytes(), backing.small_window_bytes()))
    assert choose(8, "auto") == choose(9, "full") == backing.Backing()
    assert choose(9, "auto") == small
    assert choose(9, "auto", looked_at=True) == choose(9, "window") == window
    most = backing.STORED_LIMIT_BYTES // vm.SECTION_MAP_SIZE
    assert (choose(most, "auto"), choose(most, "window")) == (small, window)
    assert choose(most + 1, "auto") == choose(1, "counted") == backing.Backing(counted=True)
    with pytest.raises(InputError, match=r"--vmemmap window: 128.0 GiB .*; use --vmemmap counted"):
        choose(most + 1, "window")
    with pytest.raises(InputError, match="--vmemmap window"):
        choose(most + 1, "auto", looked_at=True)
    with pytest.raises(InputError, match=r"full: needs 0.1 GiB .*, 0.1 GiB are available: .* use --vmemmap window or"):
        choose(33, "full")
    with pytest.raises(InputError, match="expected one of auto, full, window"):
        choose(1, "disk")
    with pytest.raises(InputError, match="no present section"):
        vm.Vmemmap([])
    with pytest.raises(InputError, match="multiple of 32768"):
        vm.Vmemmap([0], slots=100)


@pytest.mark.parametrize(("nodes", "cpus", "mib"), [(1, 2, 16), (2, 2, 32), (1, 16, 64), (2, 64, 128)])
def test_small_window_has_room_for_all(nodes: int, cpus: int, mib: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backing, "last_level_cache_bytes", lambda: 32 << 20)
    monkeypatch.setattr(backing, "host_nodes", lambda: [frozenset(range(cpus // nodes))] * nodes)
    assert backing.small_window_bytes() == mib << 20
    assert backing.small_window_bytes() % vm.SECTION_MAP_SIZE == 0


def test_window_is_larger_than_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    for cache, window in ((32 << 20, 128 << 20), (128 << 20, 256 << 20), (4 << 30, 1 << 30)):
        monkeypatch.setattr(backing, "last_level_cache_bytes", lambda cache=cache: cache)
        assert backing.window_bytes() == window
    monkeypatch.undo()
    assert backing.last_level_cache_bytes() > 0
    assert backing.available_bytes() > 0
