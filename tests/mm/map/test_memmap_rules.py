"""The layout of page->flags, the order in which the map is made, and what of it is put off: rule by rule."""

from __future__ import annotations

import threading
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.errors import InputError
from minikern.core.config import Config
from minikern.host.nodes import usable_cpus
from minikern.mm.buddy.memblock_free import deferred_grow_zone, free_pfn_ranges, memblock_free_all, reserved_by_node
from minikern.mm.map import deferred
from minikern.mm.map.deferred import DeferredNode, HostPool, NodeStore, PagePace, page_alloc_init_late, page_paces
from minikern.mm.map.padata import MtJob, WorkPool, numa_aware_cpus, padata_do_multithreaded
from minikern.mm.map.page_init import page_flags_layout
from minikern.mm.page.mmzone import Zone
from minikern.state.kho import Incoming, Scratch
from minikern.state.memblock import Flags, Region
from minikern.verify.page_check import check_memmap
from tests.mm.fake_kernel import COSTS, GIB, MIB, booted, fake_kernel
from tests.support import behaviour_of

SECTION = 32768
NO_DEFER = {"CONFIG_DEFERRED_STRUCT_PAGE_INIT": False}


# page->flags


@pytest.mark.parametrize("release", ["debian-6.1", "kho-7.2"])
@pytest.mark.parametrize(("zones", "zone_bits"), [(2, 1), (3, 2), (4, 2), (5, 3)])
@pytest.mark.parametrize(("cpus", "generations"), [(0, True), (1, True), (2, False), (256, True), (257, False)])
def test_fields_of_page_flags(release: str, zones: int, zone_bits: int, cpus: int, generations: bool) -> None:
    behaviour = behaviour_of(release, page_flag_count=22)
    names = ("CONFIG_ZONE_DMA", "CONFIG_ZONE_DMA32", "CONFIG_ZONE_DEVICE")
    options: dict[str, Any] = dict.fromkeys(names[: zones - 2], True)
    options |= {"CONFIG_NODES_SHIFT": 6, "CONFIG_LRU_GEN": generations, "CONFIG_NUMA_BALANCING": cpus > 0}
    flags = page_flags_layout(Config(options | ({"CONFIG_NR_CPUS": cpus} if cpus else {})), behaviour)
    bits = 0
    while 2**bits < cpus:
        bits += 1
    widths = (flags.nodes_width, flags.zones_width, flags.cpupid_width, flags.lru_gen_width)
    assert widths == (6, zone_bits, 8 + bits if cpus else 0, 3 * generations)
    assert (flags.reserved_bit, flags.private_bit) == (behaviour.page_flag_reserved, behaviour.page_flag_reserved + 1)
    assert flags.head_bit == behaviour.page_flag_head
    assert (flags.buddy_type, flags.hugetlb_type) == (behaviour.page_type_buddy, behaviour.page_type_hugetlb or None)


def layout(nodes: int, count: int) -> Any:
    options = {"CONFIG_NODES_SHIFT": nodes, "CONFIG_NR_CPUS": 240}
    options |= {"CONFIG_NUMA_BALANCING": True, "CONFIG_LRU_GEN": True}
    return page_flags_layout(Config(options), behaviour_of("debian-6.12", page_flag_count=count))


def test_fields_that_do_not_fit() -> None:
    # 64 bits less 3 for generations, 1 for zones: 60 for flags, node and last_cpupid, which are 16 here
    assert layout(10, 34).cpupid_width == 16
    with pytest.raises(InputError) as found:
        layout(10, 35)
    assert str(found.value) == (
        "last_cpupid needs 16 bits, page->flags has 15 left (CONFIG_NR_CPUS, CONFIG_NODES_SHIFT): "
        "struct page would grow beyond 64 bytes"
    )
    with pytest.raises(InputError, match=r"^last_cpupid needs 16 bits, page->flags has 0 left \("):
        layout(10, 50)
    with pytest.raises(InputError, match=r"^CONFIG_NODES_SHIFT=10 leaves no room in page->flags: 1 bits too many$"):
        layout(10, 51)


# the early part


def test_scratch_of_the_kernel_before_is_cma_from_the_beginning() -> None:
    k = fake_kernel([(0, 100 * MIB, 0)], config=NO_DEFER)
    k.kho.scratch = [Scratch(20 * MIB, 4 * MIB)]
    booted(k)
    assert 4 not in np.asarray(k.page_alloc.pageblock_types)
    k.kho.incoming = Incoming(0, None)  # type: ignore[arg-type]
    booted(k)
    assert k.page_alloc.cma_scratch == [(20 * 256, 24 * 256)]
    assert [at for at, kind in enumerate(np.asarray(k.page_alloc.pageblock_types)) if kind == 4] == [10, 11]


def test_the_struct_page_kernel_is_the_one_that_was_asked_for() -> None:
    k = booted(fake_kernel([(0, 100 * MIB, 0)], kernel="linux"))
    plain = booted(fake_kernel([(0, 100 * MIB, 0)]))
    assert k.page_alloc.pages.algorithm is not plain.page_alloc.pages.algorithm
    mine = fake_kernel([(0, 100 * MIB, 0)], kernel="linux")
    mine.options.page_kernel = plain.page_alloc.pages.algorithm
    assert booted(mine).page_alloc.pages.algorithm is plain.page_alloc.pages.algorithm


@pytest.mark.parametrize("told", [True, False])
def test_lines_about_holes_are_a_matter_of_the_release(told: bool) -> None:
    k = booted(fake_kernel([(0x1000, 100 * MIB, 0)], config=NO_DEFER, behaviour={"unavailable_lines": told}))
    lines = ["On node 0, zone DMA: 1 pages in unavailable ranges",
             "On node 0, zone DMA32: 7168 pages in unavailable ranges"]  # fmt: skip
    assert k.lines == lines * told
    assert k.charges["struct_page_init"] == SECTION


# what is put off


@pytest.mark.parametrize(("threads", "count"), [("cpus", 6), ("one", 1)])
def test_how_fast_a_node_writes_its_map(threads: str, count: int) -> None:
    k = fake_kernel([(0, 64 * MIB, 0)], cpus_per_node=6, threads=2, behaviour={"deferred_threads": threads})
    k.cpus.node[5] = 1  # five on node 0, on three cores; the largest node counts
    count = min(count, 5)
    pace = PagePace(COSTS["deferred_page_init"], COSTS["deferred_page_init_sibling"], 0.0, 3, 5)
    own, store = page_paces(k)
    assert own == pytest.approx(pace.page_ns(count))
    assert own == pytest.approx({5: 22.1 * 5 / 5, 1: 13.5}[count])
    assert store == pytest.approx(count * 1.31)
    k.cpus.online = []
    assert page_paces(k)[1] == pytest.approx(1.31), "there is always one"


@pytest.mark.parametrize(("jobs", "count"), [("range", 3), ("zone", 1)])
def test_jobs_of_a_node_by_release(jobs: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    held = [(low * MIB, high * MIB) for low, high in ((4096, 4224), (4296, 4496), (4696, 5119))]
    k = booted(fake_kernel([(4 * GIB, 5 * GIB, 0)], held, behaviour={"deferred_jobs": jobs}))
    memblock_free_all(k)
    done: list[MtJob] = []
    real = deferred.padata_do_multithreaded
    monkeypatch.setattr(deferred, "padata_do_multithreaded",
                        lambda env, job, *rest: done.append(job) or real(env, job, *rest))  # fmt: skip
    page_alloc_init_late(k)
    assert len(done) == count
    assert {job.max_threads for job in done} == {4}
    assert check_memmap(k).ok


@pytest.mark.parametrize(("pages", "ends"), [((1000, 1001), [10_000, 10_010]), ((1000, 1000), [10_000, 10_000])])
def test_a_page_more_is_a_page_later(pages: tuple[int, int], ends: list[int]) -> None:
    env = simpy.Environment()
    store, seen = NodeStore(env, PagePace(10.0, 10.0, 1.0, 2, 2)), []

    def writer(count: int) -> Any:
        yield store.write(count)
        seen.append(env.now)

    for count in pages:
        env.process(writer(count))
    env.run()
    assert seen == ends


def test_a_part_of_a_page_later_is_as_much_later() -> None:
    env = simpy.Environment()
    store, seen = NodeStore(env, PagePace(10.0, 10.0, 1.0, 2, 2)), []

    def writer(start: int) -> Any:
        yield env.timeout(start)
        yield store.write(1000)
        seen.append(env.now)

    for start in (0, 5):
        env.process(writer(start))
    env.run()
    assert seen == [10_000, 10_005]


def test_what_costs_nothing_still_takes_time() -> None:
    assert PagePace(0.0, 0.0, 0.0).page_ns(1) == 1e-6
    assert PagePace(10.0, 5.0, 0.0, 2, 4).page_ns(4) == 10.0, "siblings never add to less than their core"
    assert PagePace(10.0, 40.0, 0.0, 2, 4).page_ns(4) == 20.0, "nor take from it"
    assert PagePace(10.0, 40.0, 0.0, 2, 2).page_ns(7) == 10.0


RANGES = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 90)), max_size=6)


@settings(max_examples=80)
@given(RANGES, st.integers(0, 600), st.integers(0, 300))
def test_pieces_of_free_memory(gaps: list[tuple[int, int]], start: int, size: int) -> None:
    free, at = [], 0
    for gap, length in gaps:
        free.append((at + gap, at + gap + length))
        at += gap + length
    node = DeferredNode(0, Zone(2, 0), free, ())
    pieces = node.pieces(start, start + size)
    assert all(low < high for low, high in pieces) and all(one[1] < two[0] for one, two in pairwise(pieces))
    wanted = {pfn for low, high in free for pfn in range(low, high) if start <= pfn < start + size}
    assert {pfn for low, high in pieces for pfn in range(low, high)} == wanted


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 2 * SECTION), st.integers(1, 2 * SECTION)), min_size=1, max_size=6))
def test_jobs_end_with_a_section(gaps: list[tuple[int, int]]) -> None:
    free, at = [], 0
    for gap, length in gaps:
        free.append((at + gap, at + gap + length))
        at += gap + length
    jobs = DeferredNode(0, Zone(2, 0), free, ()).jobs(7)
    expected, done = [], 0
    for start, end in free:
        if end > done:
            start, done = max(start, done), -(-end // SECTION) * SECTION
            expected.append((start, done - start, SECTION, SECTION, 7))
    assert [(job.start, job.size, job.align, job.min_chunk, job.max_threads) for job in jobs] == expected
    (whole,) = DeferredNode(0, Zone(2, 0), free, ()).jobs(7, whole_zone=True)
    last = -(-free[-1][1] // SECTION) * SECTION
    assert whole == MtJob(free[0][0], last - free[0][0], SECTION, SECTION, 7)


def test_a_pool_of_host_threads_by_node(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[int, Any]] = []

    class Executor:
        def __init__(self, workers: int, initializer: Any, initargs: Any) -> None:
            made.append((workers, initargs))

        def submit(self, function: Any, task: Any) -> Any:
            return SimpleNamespace(done=lambda: True, exception=lambda: None, result=lambda: None, task=task)

    monkeypatch.setattr("concurrent.futures.ThreadPoolExecutor", Executor)
    task = SimpleNamespace(run=SimpleNamespace(slot=0, pages=1))
    pages: Any = SimpleNamespace(run_task=None, deferred_tasks=lambda start, end: [task])
    nodes = [frozenset({0, 1, 2}), frozenset({3})]
    for threads, workers in ((None, [3, 1]), (8, [4, 4]), (3, [1, 1]), (1, [1, 1])):
        made.clear()
        pool = HostPool(pages, threads, nodes)
        assert [future.task for _ in range(3) for future in pool.submit(0, 1)] == [task] * 3
        assert made == [(count, (cpus,)) for count, cpus in zip(workers, nodes, strict=True)]


def test_rows_that_are_written_are_never_written_by_two() -> None:
    gate, busy, seen = threading.Event(), set(), []

    def run_task(task: Any) -> None:
        rows = set(range(task.run.slot, task.run.slot + task.run.pages))
        assert not busy & rows
        busy.update(rows)
        gate.wait(0.02)
        seen.append(task.run.slot)
        busy.difference_update(rows)
        if task.run.pages == 7:
            raise RuntimeError("a thread failed")

    def tasks(start: int, end: int) -> list[Any]:
        return [SimpleNamespace(run=SimpleNamespace(slot=start, pages=end - start))]

    pages: Any = SimpleNamespace(run_task=run_task, deferred_tasks=tasks)
    pool = HostPool(pages, 4, [usable_cpus()])
    pieces = ((0, 10), (9, 20), (10, 11), (20, 30), (0, 30))
    futures = [future for start, end in pieces for future in pool.submit(start, end)]
    pool.close()
    assert len(futures) == len(seen) == 5 and not busy
    pool = HostPool(pages, 1, [usable_cpus()])
    pool.submit(0, 7)
    with pytest.raises(RuntimeError, match="a thread failed"):
        pool.close()


def test_threads_of_a_numa_aware_job() -> None:
    k = fake_kernel([(n * 64 * MIB, (n + 1) * 64 * MIB, n) for n in range(3)], vmemmap="counted", cpus_per_node=3)
    assert numa_aware_cpus(k) == [0, 3, 6, 1, 4, 7, 2, 5, 8]
    k.cpus.online = [0, 1, 2, 6]
    assert numa_aware_cpus(k) == [0, 6, 1, 2]


def test_a_job_of_nothing_needs_no_thread() -> None:
    pool = WorkPool(3)
    assert list(padata_do_multithreaded(None, MtJob(5, 0, 1, 1, 4), pool, None)) == []  # type: ignore[arg-type]
    assert pool.free == 3


# reserved memory, and zones that grow


@settings(max_examples=80)
@given(st.data())
def test_nodes_of_reserved_ranges_byte_by_byte(data: Any) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, 60), min_size=2, max_size=8)))
    memory = [Region(low, high, data.draw(st.integers(-1, 2)), 0) for low, high in list(pairwise(cuts))[::2]]
    cuts = sorted(data.draw(st.sets(st.integers(0, 70), min_size=2, max_size=10)))
    kinds = st.tuples(st.integers(-1, 3), st.sampled_from([0, Flags.RSRV_KERN, Flags.RSRV_NOINIT]))
    reserved = [Region(low, high, *data.draw(kinds)) for low, high in list(pairwise(cuts))]
    memblock = SimpleNamespace(memory_regions=lambda: memory, reserved_regions=lambda: reserved)
    k: Any = SimpleNamespace(memblock=memblock, nodes=[SimpleNamespace(nid=5), SimpleNamespace(nid=0)])
    parts = reserved_by_node(k)

    def place(byte: int) -> int | None:
        return next((at for at, region in enumerate(memory) if region.base <= byte < region.end), None)

    labels: dict[int, tuple[Any, ...]] = {}
    for region in reserved:
        own = region.nid if place(region.base) is None else -1
        for byte in range(region.base, region.end) if not region.flags & Flags.RSRV_NOINIT else ():
            at = place(byte)
            labels[byte] = (at, own, max(memory[at].nid, 0) if at is not None else own if own >= 0 else 5)
    expected: list[list[int]] = []
    for byte, label in sorted(labels.items()):
        if labels.get(byte - 1) != label:
            expected.append([byte, byte, label[2]])
        expected[-1][1] = byte + 1
    assert [list(part[:3]) for part in parts] == expected
    assert all(part.flags == 0 for part in parts)


def test_a_section_is_taken_whole_though_it_has_holes() -> None:
    # The first deferred section lacks ten pages: the next is taken, up to its end and not to its hole.
    base = 4 * GIB
    held = [(0, 128 * MIB), (150 * MIB, 150 * MIB + 40960), (300 * MIB, 301 * MIB)]
    k = booted(fake_kernel([(base, base + 640 * MIB, 0)], [(base + low, base + high) for low, high in held]))
    memblock_free_all(k)
    assert k.nodes[0].first_deferred_pfn == 0x108000
    assert deferred_grow_zone(k, k.nodes[0].zones[2], 0)
    assert k.nodes[0].first_deferred_pfn == 0x118000
    assert k.charges["deferred_page_init"] == k.page_alloc.nr_free_pages() == 2 * SECTION - 10 - 256


def test_a_zone_whose_deferred_part_is_all_reserved_does_not_grow() -> None:
    k = booted(fake_kernel([(4 * GIB, 5 * GIB, 0)], [(4 * GIB + 100 * MIB, 5 * GIB)]))
    memblock_free_all(k)
    zone = k.nodes[0].zones[2]
    assert not deferred_grow_zone(k, zone, 0)
    assert (k.nodes[0].first_deferred_pfn, k.charges["deferred_page_init"]) == (zone.end_pfn, 0)


def test_growing_looks_at_its_own_node_only() -> None:
    k = booted(fake_kernel([(4 * GIB, 5 * GIB, 0), (5 * GIB, 6 * GIB, 1)]))
    memblock_free_all(k)
    one = k.nodes[1].zones[2]
    before = [node.first_deferred_pfn for node in k.nodes]
    assert before == [0x108000, 0x148000]
    assert deferred_grow_zone(k, one, 10)
    assert [node.first_deferred_pfn for node in k.nodes] == [0x108000, 0x150000]
    while deferred_grow_zone(k, one, 16):
        pass
    assert k.nodes[1].first_deferred_pfn == one.end_pfn
    free = [(max(start, 0x148000), end) for start, end, _ in free_pfn_ranges(k, 1)]
    assert k.charges["deferred_page_init"] == sum(max(0, end - start) for start, end in free)
    assert not deferred_grow_zone(k, k.nodes[0].zones[1], 0)
    found = check_memmap(k)
    assert found.ok, found.message


def test_the_last_page_of_a_section_is_no_part_of_the_next() -> None:
    base = 4 * GIB
    held = [(base, base + 178 * MIB), (0x117FFE << 12, 0x117FFF << 12)]
    k = booted(fake_kernel([(base, base + 640 * MIB, 0)], held))
    memblock_free_all(k)
    assert deferred_grow_zone(k, k.nodes[0].zones[2], 0)
    assert k.nodes[0].first_deferred_pfn == 0x118000
    assert k.charges["deferred_page_init"] == 78 * 256 + SECTION - 1


def test_growing_leaves_out_what_lies_between_on_another_node() -> None:
    memory = [(4096, 4352, 0), (4352, 5120, 1), (5120, 6144, 0)]
    k = booted(fake_kernel([(low * MIB, high * MIB, nid) for low, high, nid in memory]))
    memblock_free_all(k)
    zone = k.nodes[0].zones[2]
    assert deferred_grow_zone(k, zone, 16)
    assert k.nodes[0].first_deferred_pfn == 0x148000
    assert k.charges["deferred_page_init"] == sum(
        min(end, 0x148000) - max(start, 0x108000) for start, end, _ in free_pfn_ranges(k, 0)
        if end > 0x108000 and start < 0x148000)  # fmt: skip


def test_nodes_without_cpus_are_written_by_the_first() -> None:
    k = booted(fake_kernel([(4 * GIB, 5 * GIB, 0), (5 * GIB, 6 * GIB, 1)]))
    memblock_free_all(k)
    page_alloc_init_late(k, {0: [0, 1]})
    assert sorted(line[:6] for line in k.lines if "deferred" in line) == ["node 0", "node 1"]
    assert {entry.cpu for entry in k.ledger.entries() if entry.kind == "deferred_page_init"} == {0, 1}
    found = check_memmap(k)
    assert found.ok and not found.skipped, found.message


def test_the_ledger_knows_who_wrote_how_long() -> None:
    k = booted(fake_kernel([(4 * GIB, 5 * GIB, 0)], cpus_per_node=1))
    memblock_free_all(k)
    began = int(k.machine.clock.now)
    page_alloc_init_late(k)
    booked = [entry for entry in k.ledger.entries() if entry.kind == "deferred_page_init"]
    spent = int(k.machine.clock.now) - began
    assert sum(entry.pieces for entry in booked) == k.charges["deferred_page_init"]
    assert sum(entry.total_ns for entry in booked) == spent == k.nodes[0].deferred_ns
    assert spent == pytest.approx(k.charges["deferred_page_init"] * COSTS["deferred_page_init"], rel=1e-4)


def test_a_pool_that_nobody_asked_is_closed() -> None:
    HostPool(SimpleNamespace(), 2, [usable_cpus()]).close()  # type: ignore[arg-type]


def test_host_cores_are_those_we_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deferred, "usable_cpus", lambda: frozenset({3, 5, 9}))
    assert deferred.host_cores() == 3
