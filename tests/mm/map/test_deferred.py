from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from minikern.describe.adjust import Adjustments, adjust
from minikern.describe.presets import load_machine
from minikern.host.nodes import usable_cpus
from minikern.lab.run import boot
from minikern.mm.buddy.memblock_free import memblock_free_all
from minikern.mm.map import deferred
from minikern.mm.map.deferred import DeferredNode, NodeStore, PagePace, page_alloc_init_late
from minikern.mm.page import page_kernels
from minikern.mm.page.mmzone import PAGES_PER_SECTION, Zone
from minikern.mm.page.vmemmap import PageStateGone
from minikern.verify.page_check import check_memmap
from tests.mm.fake_kernel import COSTS, GIB, MIB, FakeKernel, booted, fake_kernel

MEMORY = [(0x1000, 0x9F000, 0), (1 * MIB, 500 * MIB, 0), (512 * MIB, 1100 * MIB, 1)]
RESERVED = [(0, 0x1000), (400 * MIB + 100, 401 * MIB + 7), (700 * MIB, 700 * MIB + 3 * 4096), (800 * MIB, 900 * MIB)]


def late(k: FakeKernel, threads: int | None = None) -> FakeKernel:
    booted(k)
    memblock_free_all(k)
    page_alloc_init_late(k, threads=threads)
    return k


def times(count: int, own: float, store: float, pages: int) -> list[int]:
    env = simpy.Environment()
    shared = NodeStore(env, PagePace(own, own, store, count, count))
    ends: list[int] = []

    def writer() -> Any:
        yield shared.write(pages)
        ends.append(int(env.now))

    for _ in range(count):
        env.process(writer())
    env.run()
    return ends


@pytest.mark.parametrize(("writers", "expected"), [(1, 10_000), (5, 10_000), (10, 10_000), (20, 20_000), (64, 64_000)])
def test_own_speed_until_the_memory_is_full(writers: int, expected: int) -> None:
    assert times(writers, own=10.0, store=1.0, pages=1000) == [expected] * writers


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 900)), min_size=1, max_size=9))
def test_sharing_against_a_fluid_simulation(jobs: list[tuple[int, int]]) -> None:
    own, store = 4.0, 1.5
    env = simpy.Environment()
    shared = NodeStore(env, PagePace(own, own, store, len(jobs), len(jobs)))
    ends: dict[int, int] = {}

    def writer(index: int, start: int, pages: int) -> Any:
        yield env.timeout(start)
        yield shared.write(pages)
        ends[index] = int(env.now)

    for index, (start, pages) in enumerate(jobs):
        env.process(writer(index, start, pages))
    env.run()
    # The twin moves in steps of a quarter of a nanosecond.
    left = {index: float(pages) for index, (_, pages) in enumerate(jobs)}
    step, now = 0.25, 0.0
    finished: dict[int, float] = {}
    while left:
        active = [index for index in left if jobs[index][0] <= now]
        for index in active:
            left[index] -= step / max(own, store * len(active))
        now += step
        for index in active:
            if left[index] <= 1e-9:
                finished[index] = now
                del left[index]
    for index, end in ends.items():
        assert abs(end - finished[index]) <= 3 + 0.002 * end


def test_map_is_as_if_nothing_had_been_deferred() -> None:
    k = late(fake_kernel(MEMORY, RESERVED))
    plain = late(fake_kernel(MEMORY, RESERVED, config={"CONFIG_DEFERRED_STRUCT_PAGE_INIT": False}))
    for kernel in (k, plain):
        kernel.page_alloc.check()
        result = check_memmap(kernel)
        assert result.ok, result.message
        assert result.skipped == 0
    assert k.page_alloc.buddyinfo() == plain.page_alloc.buddyinfo()
    assert k.page_alloc.totalram_pages == plain.page_alloc.totalram_pages == k.page_alloc.nr_free_pages()
    for node, other in zip(k.nodes, plain.nodes, strict=True):
        assert [zone.managed_pages for zone in node.zones] == [zone.managed_pages for zone in other.zones]
    assert k.vmemmap.words.tobytes() == plain.vmemmap.words.tobytes()
    # Pageblocks of reserved memory keep their first type when they are deferred; all others end the same.
    for block in np.flatnonzero(k.page_alloc.pageblock_types[:] != plain.page_alloc.pageblock_types[:]).tolist():
        assert int(k.vmemmap.page(block * 512)["flags"]) & 0x1000
    assert k.charges["deferred_page_init"] + k.charges["struct_page_free"] == plain.charges["struct_page_free"]
    assert all(node.first_deferred_pfn is None for node in k.nodes)


@pytest.mark.big
@pytest.mark.parametrize("backing", ["full", "window"])
def test_host_threads_change_nothing(backing: str) -> None:
    seen = []
    for threads in (1, 2, 4, 5):
        k = fake_kernel(MEMORY, RESERVED)
        if backing == "window":
            k.vmemmap = type(k.vmemmap)(k.vmemmap.sections, slots=32768)
        late(k, threads)
        held = list(k.vmemmap.held.intervals())
        rows = np.concatenate([k.vmemmap.words[start:end] for start, end, _ in held])
        lists = {key: (area.small, area.largest) for key, area in k.page_alloc.areas.items()}
        seen.append((held, rows.tobytes(), lists, k.lines, k.charges, k.machine.clock.now))
        result = check_memmap(k)
        assert result.ok, result.message
    assert all(other == seen[0] for other in seen[1:])


@pytest.mark.big
def test_lines_come_in_order_of_completion_in_whole_ticks() -> None:
    memory = [(4 * GIB, 12 * GIB, 0), (12 * GIB, 14 * GIB, 1)]
    k = late(fake_kernel(memory, vmemmap="window", cpus_per_node=2))
    node = [line for line in k.lines if "deferred" in line]
    assert [line[:6] for line in node] == ["node 1", "node 0"]
    for line, pages in zip(node, (2 * GIB / 4096, 8 * GIB / 4096), strict=True):
        ms = int(line.rsplit(" ", 1)[1].removesuffix("ms"))
        assert ms % 4 == 0
        assert abs(ms - pages * COSTS["deferred_page_init"] / 2 / 1e6) < 5


@pytest.mark.big
def test_bandwidth_limits_many_threads() -> None:
    k = late(fake_kernel([(4 * GIB, 20 * GIB, 0)], vmemmap="window", cpus_per_node=64))
    spent = k.charges["deferred_page_init"] * COSTS["node_store_per_page"] / 1e6
    ms = int(k.lines[-1].rsplit(" ", 1)[1].removesuffix("ms"))
    assert 0 <= spent - ms < 4.1


@pytest.mark.parametrize(
    ("writers", "expected"), [(1, 10.0), (4, 10.0), (5, 100 / 9), (6, 12.0), (8, 40 / 3), (9, 15.0)]
)
def test_siblings_add_less_than_cores(writers: int, expected: float) -> None:
    pace = PagePace(own_ns=10.0, sibling_ns=40 / 3, store_ns=0.001, cores=4, cpus=8)
    assert pace.page_ns(writers) == pytest.approx(expected)


@pytest.mark.big
def test_a_node_of_two_cores_with_two_threads_each() -> None:
    memory = [(4 * GIB, 8 * GIB, 0)]
    lone, shared = (late(fake_kernel(memory, vmemmap="window", threads=threads)) for threads in (1, 2))
    spent = [int(k.machine.clock.now) for k in (lone, shared)]
    assert spent[1] / spent[0] == pytest.approx(22.1 / 13.5, rel=0.1)


@pytest.mark.parametrize("cpus", [1, 4])
def test_one_thread_takes_as_long_as_a_node_with_one_cpu(cpus: int) -> None:
    memory = [(4 * GIB, 8 * GIB, 0)]
    behaviour = {"deferred_threads": "one", "deferred_line_pages": True}
    k = late(fake_kernel(memory, vmemmap="window", cpus_per_node=cpus, behaviour=behaviour))
    pages = k.charges["deferred_page_init"]
    found = re.fullmatch(r"node 0 initialised, (\d+) pages in (\d+)ms", k.lines[-1])
    assert found is not None and int(found[1]) == pages
    assert 0 <= pages * COSTS["deferred_page_init"] / 1e6 - int(found[2]) < 4.1
    assert {entry.cpu for entry in k.ledger.entries() if entry.kind == "deferred_page_init"} == {0}


def test_nothing_deferred_prints_nothing() -> None:
    k = late(fake_kernel([(0, 100 * MIB, 0)]))
    assert not [line for line in k.lines if "deferred" in line]
    assert k.page_alloc.grow is None


def test_a_foreign_algorithm_is_called_run_by_run(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def mine(words: Any, flags: Any, lru: Any) -> None:
        calls.append(len(words))
        page_kernels.init_linux(words, flags, lru)

    k = fake_kernel(MEMORY, RESERVED)
    booted(k)
    k.page_alloc.pages.algorithm = mine
    memblock_free_all(k)
    calls.clear()
    page_alloc_init_late(k)
    assert max(calls) == 1024
    assert sum(calls) == k.charges["deferred_page_init"]
    assert check_memmap(k).ok


def test_a_foreign_algorithm_that_does_nothing_is_found_out() -> None:
    k = booted(fake_kernel(MEMORY, RESERVED))
    memblock_free_all(k)
    k.page_alloc.pages.algorithm = lambda words, flags, lru: None
    k.vmemmap.words[2 * 32768 :, 1] = 0
    with pytest.raises(PageStateGone, match="left no initialised struct page"):
        page_alloc_init_late(k)


@pytest.mark.big
def test_cores_of_this_computer_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    cpus = sorted(usable_cpus())
    for nodes in ([cpus[:1]], [cpus], [cpus[:1], cpus[-1:]], [cpus] * 3):
        monkeypatch.setattr(deferred, "host_nodes", lambda nodes=nodes: [frozenset(node) for node in nodes])
        spec = load_machine("tiny")
        adjust(spec, Adjustments(memory="1G", numa=("512M,cpus=0", "512M,cpus=1")))
        k = boot(spec, append="hugepages=3").kernel
        lines = [(line.ts_ns, line.text) for line in k.log.lines]
        seen.append((lines, list(k.ledger.entries()), k.page_alloc.buddyinfo(), k.vmemmap.words.tobytes()))
    assert all(other == seen[0] for other in seen)
    assert any("deferred pages initialised" in text for _, text in seen[0][0])


def test_a_zone_as_one_job_covers_what_jobs_a_range_cover() -> None:
    """Joined once instead of once a range; the same memory, in chunks that may be all hole."""
    section = PAGES_PER_SECTION
    free = [(5 * section + 7, 9 * section), (20 * section, 20 * section + 3), (40 * section, 47 * section + 1)]
    node = DeferredNode(0, Zone(2, 0, 0, 64 * section, 64 * section), free, range(4))
    by_range, (whole,) = node.jobs(4), node.jobs(4, whole_zone=True)
    assert len(by_range) == 3 and (whole.start, whole.start + whole.size) == (free[0][0], 48 * section)
    for jobs in (by_range, [whole]):
        covered = [piece for job in jobs for chunk in job.chunks(job.chunk_size(4)) for piece in node.pieces(*chunk)]
        assert sum(end - start for start, end in covered) == sum(end - start for start, end in free)
    assert node.jobs(4, whole_zone=False) == by_range
    assert DeferredNode(0, node.zone, [], ()).jobs(4, whole_zone=True) == []
