"""Folding and unfolding of huge pages' memory map: order of steps, missing memory, and the way back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minikern.core.work import run_here
from minikern.mm.hugetlb import hugetlb_alloc, hugetlb_vmemmap
from minikern.mm.hugetlb.hugetlb import dissolve_free_hugetlb_folio
from minikern.mm.hugetlb.hugetlb_alloc import mark_optimized
from minikern.mm.page.vmemmap import Memmap
from minikern.mm.page.vmemmap_table import VmemmapPageTable
from minikern.verify.page_check import check_memmap
from tests.mm.fake_kernel import GIB, MIB, FakeKernel, fake_kernel, map_frame
from tests.mm.hugetlb.test_hugetlb import GIGANTIC, PC_8G, SMALL, boot
from tests.naive_mm import NaiveMapTable, flags_of, tail_page

pytestmark = pytest.mark.big

TWO_MIB = "hugepages=130 hugetlb_free_vmemmap=on"
GIGANTIC_TWO = "hugepagesz=1G hugepages=2 hugetlb_free_vmemmap=on"
BATCH = {"hugetlb_tail_skip": True, "hvo_batch": True}


def checked(k: FakeKernel) -> None:
    k.page_alloc.check()
    k.hugetlb.page_table.check()
    result = check_memmap(k)
    assert result.ok, result.message


def fail_allocations(
    k: FakeKernel, monkeypatch: pytest.MonkeyPatch, order: int, after: int, times: int = 10**9
) -> None:
    """Let ``times`` allocations of ``order`` fail, beginning with the one that follows ``after`` others."""
    real, seen = k.page_alloc.alloc_pages, [0]

    def alloc_pages(wanted: int = 0, *args: Any, **kwargs: Any) -> int | None:
        if wanted == order:
            seen[0] += 1
            if after < seen[0] <= after + times:
                return None
        pfn: int | None = real(wanted, *args, **kwargs)
        return pfn

    monkeypatch.setattr(k.page_alloc, "alloc_pages", alloc_pages)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([9, 10, 15, 16]), st.integers(0, 255), st.booleans()), max_size=12))
def test_page_table_against_naive(steps: list[tuple[int, int, bool]]) -> None:
    table, naive = VmemmapPageTable([Memmap(0, 4, 1 * GIB)]), NaiveMapTable(4, GIB >> 12)
    folded: dict[int, int] = {}
    fresh = 1 << 30
    for order, place, back in steps:
        head = (place << order) % (4 * 32768)
        overlapping = [h for h, o in folded.items() if h < head + (1 << order) and head < h + (1 << o)]
        for section in range(head // 32768, (head + (1 << order) - 1) // 32768 + 1):
            if not table.is_split(section):
                table.split_pmd(section)
        if back and overlapping == [head] and folded[head] == order:
            frames = list(range(fresh, fresh + (1 << order) // 64 - 1))
            table.point(head + 64, np.array(frames), writable=True)
            naive.restore(head, 1 << order, frames)
            fresh += len(frames)
            del folded[head]
        elif not overlapping:
            assert table.remap(head, order, fresh).tolist() == naive.fold(head, 1 << order, fresh)
            folded[head] = order
            fresh += 1
    for page, (frame, writable) in naive.entries.items():
        assert table.lookup(page * 64) == (frame, writable)
    table.check()


@pytest.mark.parametrize("fresh", [True, False])
def test_one_after_the_other_flushes_for_each(fresh: bool) -> None:
    behaviour = {"hvo_fresh_head": fresh}
    k = boot(fake_kernel(PC_8G, append=GIGANTIC_TWO, vmemmap="window", behaviour=behaviour))
    # Eight sections split and one range remapped for each page; all four CPUs hear of each.
    assert k.hugetlb.hvo.flushes == 2 * 9
    assert k.charges["tlb_flush_cpu"] == 4 * 2 * 9
    small = boot(fake_kernel(PC_8G, append=TWO_MIB, vmemmap="window", behaviour=behaviour))
    sections = {head // 32768 for head in small.hugetlb.optimized}
    assert small.hugetlb.hvo.flushes == 130 + len(sections)


def test_batches_are_split_flushed_remapped_flushed_and_freed() -> None:
    k = fake_kernel(PC_8G, append=GIGANTIC_TWO + " hugepagesz=2M hugepages=130", vmemmap="window", behaviour=BATCH)
    boot(k)
    assert len(k.hugetlb.optimized) == 132
    assert k.hugetlb.hvo.flushes == 2 + 2


def test_batch_frees_only_when_all_is_remapped(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    for name in ("_split_folio", "_remap_free", "flush_tlb_all", "_free_frames"):
        real = getattr(hugetlb_vmemmap, name)

        def record(*args: Any, _name: str = name, _real: Any = real, **kwargs: Any) -> Any:
            steps.append(_name)
            return _real(*args, **kwargs)

        monkeypatch.setattr(hugetlb_vmemmap, name, record)
    boot(fake_kernel(PC_8G, append=GIGANTIC_TWO, vmemmap="window", behaviour=BATCH))
    twice = ["_split_folio"] * 2 + ["flush_tlb_all"] + ["_remap_free"] * 2 + ["flush_tlb_all", "_free_frames"]
    assert steps == twice


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("after", range(10))
def test_missing_memory_leaves_a_whole_page_or_a_folded_one(
    skip: bool, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The head's new frame is asked for first (here it is required), then eight page tables.
    append = "hugepagesz=1G hugepages=1 hugetlb_free_vmemmap=on"
    k = fake_kernel(SMALL, append=append, behaviour={"hugetlb_tail_skip": skip, "hvo_head_required": True})
    patch_at_hugetlb_init(k, monkeypatch, after)
    boot(k, checked=False)
    head = k.hugetlb.hstates[0].free_pages[0]
    assert (head in k.hugetlb.optimized) == (after >= 9)
    far = head + 64 * 3000 + 5
    own = head + 5 if after >= 9 else far
    assert k.vmemmap.page(far).tobytes() == tail_page(own, head, flags_of(0, 1))
    mapping = k.hugetlb.page_table.lookup(far)
    assert mapping.writable == (after < 9)
    checked(k)


def patch_at_hugetlb_init(k: FakeKernel, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Let allocations fail from the first that HVO makes."""
    real = hugetlb_alloc.hugetlb_vmemmap_optimize_folios

    def optimize_folios(*args: Any) -> Any:
        fail_allocations(k, monkeypatch, 0, after)
        return real(*args)

    monkeypatch.setattr(hugetlb_alloc, "hugetlb_vmemmap_optimize_folios", optimize_folios)


def test_without_a_new_head_the_old_one_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    k = fake_kernel(SMALL, append="hugepagesz=1G hugepages=1 hugetlb_free_vmemmap=on")
    real = hugetlb_alloc.hugetlb_vmemmap_optimize_folios

    def optimize_folios(*args: Any) -> Any:
        fail_allocations(k, monkeypatch, 0, 0, times=1)
        return real(*args)

    monkeypatch.setattr(hugetlb_alloc, "hugetlb_vmemmap_optimize_folios", optimize_folios)
    boot(k)
    head = k.hugetlb.hstates[0].free_pages[0]
    assert head in k.hugetlb.optimized
    assert k.hugetlb.page_table.lookup(head) == (map_frame(k, head // 32768), True)


def test_a_batch_out_of_memory_frees_what_it_has_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    k = fake_kernel(PC_8G, append="hugepages=6 hugetlb_free_vmemmap=on", vmemmap="window",
                    behaviour={**BATCH, "hvo_head_required": True})  # fmt: skip
    real = hugetlb_alloc.hugetlb_vmemmap_optimize_folios

    def optimize_folios(*args: Any) -> Any:
        fail_allocations(k, monkeypatch, 0, 4, times=1)  # one page table, three heads, then none once
        return real(*args)

    monkeypatch.setattr(hugetlb_alloc, "hugetlb_vmemmap_optimize_folios", optimize_folios)
    boot(k)
    assert len(k.hugetlb.optimized) == 6
    assert k.hugetlb.hvo.flushes == 3


@pytest.mark.parametrize("order", [9, 18])
@pytest.mark.parametrize("prehvo", [False, True])
def test_unfolding_gives_every_tail_its_own_page(order: int, prehvo: bool) -> None:
    append = "hugetlb_free_vmemmap=on " + ("hugepages=20" if order == 9 else "hugepagesz=1G hugepages=1")
    k = boot(fake_kernel(SMALL, append=append, behaviour={**BATCH, "hugetlb_prehvo": prehvo}))
    head = sorted(k.hugetlb.optimized)[0]
    allocated, restored = len(k.page_alloc.allocated), (1 << order) // 64 - 1
    assert run_here(k, hugetlb_vmemmap.hugetlb_vmemmap_restore_folio(k, k.hugetlb.hvo, head, order))
    mark_optimized(k, head)
    assert len(k.page_alloc.allocated) - allocated == restored == k.charges["hvo_restore_page"]
    assert len({k.hugetlb.page_table.lookup(head + 64 * at).frame for at in range(restored + 1)}) == restored + 1
    page = k.vmemmap.page(head + 64 * 3)  # was an alias of the head
    assert not int(page["flags"]) & 0x10000
    assert int(page["lru_next"]) == k.vmemmap.address(head) + 1
    # What the copies cannot know is where a page's own list would be: Linux leaves that as copied, too.
    assert run_here(k, hugetlb_vmemmap.hugetlb_vmemmap_optimize_folio(k, k.hugetlb.hvo, head, order))
    mark_optimized(k, head)
    checked(k)
    assert len(k.page_alloc.allocated) <= allocated + 1


def test_unfolding_without_memory_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    k = boot(fake_kernel(SMALL, append="hugepagesz=1G hugepages=1 hugetlb_free_vmemmap=on"))
    (head,) = k.hugetlb.optimized
    free = k.page_alloc.nr_free_pages()
    fail_allocations(k, monkeypatch, 0, 1000)
    assert not run_here(k, hugetlb_vmemmap.hugetlb_vmemmap_restore_folio(k, k.hugetlb.hvo, head, 18))
    assert not dissolve_free_hugetlb_folio(k, head)
    assert k.page_alloc.nr_free_pages() == free
    assert head in k.hugetlb.optimized
    checked(k)


@pytest.mark.parametrize("prehvo", [False, True])
def test_dissolved_pages_are_ordinary_free_pages(prehvo: bool) -> None:
    append = "hugepagesz=1G hugepages=1 hugepagesz=2M hugepages=3 hugetlb_free_vmemmap=on"
    k = boot(fake_kernel(SMALL, append=append, behaviour={**BATCH, "hugetlb_prehvo": prehvo}))
    free = k.page_alloc.nr_free_pages()
    for h in k.hugetlb.hstates:
        for pfn in list(h.free_pages):
            assert dissolve_free_hugetlb_folio(k, pfn)
    assert not k.hugetlb.optimized
    assert k.page_alloc.nr_free_pages() == free + GIGANTIC + 3 * 512 - 4095 - 3 * 7
    checked(k)


def test_a_list_is_unfolded_with_one_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    k = boot(fake_kernel(SMALL, append="hugepages=20 hugetlb_free_vmemmap=on", behaviour=BATCH))
    heads = sorted(k.hugetlb.optimized)
    flushes = k.hugetlb.hvo.flushes
    assert run_here(k, hugetlb_vmemmap.hugetlb_vmemmap_restore_folios(k, k.hugetlb.hvo, heads[:5], 9)) == heads[:5]
    assert k.hugetlb.hvo.flushes == flushes + 1
    fail_allocations(k, monkeypatch, 0, 7 * 3 + 2)
    assert run_here(k, hugetlb_vmemmap.hugetlb_vmemmap_restore_folios(k, k.hugetlb.hvo, heads, 9)) == heads[:8]
    assert k.hugetlb.optimized == set(heads[8:])


def test_host_memory_comes_back() -> None:
    k = boot(fake_kernel([(0, 640 * MIB, 0), (1 * GIB, 2 * GIB, 0)], append="hugepages=0 hugetlb_free_vmemmap=on"))
    assert k.hugetlb.hvo is None
