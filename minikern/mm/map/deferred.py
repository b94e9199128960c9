"""page_alloc_init_late(): the deferred part of the memory map, initialised and freed by threads of each node.

Simulated threads (one SimPy process each) take chunks; how long a chunk takes follows from its pages, the cost of a
page and the node's store bandwidth. The rows themselves are written by a pool of host threads; which host thread writes
what changes nothing, because chunks are handed out and given to the buddy allocator in simulated order.

Source: mm/mm_init.c @ v6.12
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from math import ceil
from typing import TYPE_CHECKING, Any

import simpy

from hw.units import align_up
from minikern.host.nodes import bind, host_nodes, node_of, usable_cpus
from minikern.mm.buddy.memblock_free import free_pfn_ranges
from minikern.mm.map.padata import MtJob, WorkPool, padata_do_multithreaded
from minikern.mm.page.mmzone import PAGES_PER_SECTION, Pglist, Zone
from minikern.mm.page.page_map import PageMap, Task
from minikern.state.page_alloc import MAX_BLOCK, PageAlloc

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    from minikern.core.kernel import Kernel

NS_PER_S = 1_000_000_000

LEAST_NS = 1e-6  # a page for nothing is still written at some rate

@dataclass(frozen=True)
class PagePace:
    """What a page costs, ns, by who else is writing.

    ``own_ns``: a thread that has its core for itself; ``sibling_ns``: one whose core runs a thread on every sibling;
    ``store_ns``: what a page takes of the node's bandwidth. The node has ``cpus`` on ``cores``.
    """

    own_ns: float
    sibling_ns: float
    store_ns: float
    cores: int = 1
    cpus: int = 1

    def page_ns(self, writers: int) -> float:
        """Ns a page for each of so many writers: cores are filled first, then their siblings."""
        own_ns = max(self.own_ns, LEAST_NS)
        lone, full = self.cores / own_ns, self.cpus / max(self.sibling_ns, own_ns)
        beyond = min(writers, self.cpus) - self.cores
        if beyond <= 0 or self.cpus == self.cores:
            own = own_ns
        else:
            own = writers / (lone + max(full - lone, 0.0) * beyond / (self.cpus - self.cores))
        return max(own, writers * self.store_ns)


def page_paces(k: Kernel) -> tuple[float, float]:
    """What a page takes each of the largest node's threads, ns: by what they do themselves, and by its memory."""
    cpus = max(k.cpus.node_cpus().values(), key=len, default=[0])
    threads = len(cpus) if k.behaviour.deferred_threads == "cpus" else 1
    own_ns, sibling_ns = k.unit_ns("deferred_page_init"), k.unit_ns("deferred_page_init_sibling")
    pace = PagePace(own_ns, sibling_ns, 0.0, k.cpus.cores(cpus), len(cpus))
    return pace.page_ns(threads), threads * k.unit_ns("node_store_per_page")


class NodeStore:
    """A node's memory as its writers share it: each goes as fast as its core, or its share of the bandwidth, lets it.

    All threads are taken as equal, so one progress counter (pages done by each since the start) serves all.
    """

    def __init__(self, env: simpy.Environment, pace: PagePace) -> None:
        self._env = env
        self._pace = pace
        self._progress = 0.0
        self._since = 0
        self._queue: list[tuple[float, int, simpy.Event]] = []
        self._ticket = 0
        self._alarm = 0

    def write(self, pages: int) -> simpy.Event:
        """Start writing; the event happens when ``pages`` pages are done."""
        self._advance()
        done = simpy.Event(self._env)
        self._ticket += 1
        heappush(self._queue, (self._progress + pages, self._ticket, done))
        self._set_alarm()
        return done

    def _ns_per_page(self) -> float:
        return self._pace.page_ns(len(self._queue))

    def _advance(self) -> None:
        now = int(self._env.now)
        if self._queue and now > self._since:
            per_page = self._ns_per_page()
            # Rounding a wait up to whole ns must not carry anybody past the end of its own work.
            self._progress = min(self._progress + (now - self._since) / per_page, self._queue[0][0])
        self._since = now

    def _set_alarm(self) -> None:
        self._alarm += 1
        if self._queue:
            wait = ceil(max(0.0, self._queue[0][0] - self._progress) * self._ns_per_page())
            event = simpy.Timeout(self._env, wait, value=self._alarm)
            event.callbacks.append(self._ring)

    def _ring(self, event: simpy.Event) -> None:
        if event.value != self._alarm:
            return  # somebody joined or left since: another alarm is set
        self._progress = max(self._progress, self._queue[0][0])
        self._since = int(self._env.now)
        limit = self._progress + 1e-6
        while self._queue and self._queue[0][0] <= limit:
            heappop(self._queue)[2].succeed()
        self._set_alarm()


def host_cores() -> int:
    """Cores of this computer that we may use."""
    return len(usable_cpus())


class HostPool:
    """Host threads that write rows. Rows that are still being written are never handed to a second thread.

    On a host with several memory nodes, each node's threads write the same stretches of the map every time, so that
    these lie in its own memory.
    """

    def __init__(
        self, pages: PageMap, threads: int | None = None, nodes: Sequence[frozenset[int]] | None = None
    ) -> None:
        self._pages = pages
        self._nodes = host_nodes() if nodes is None else nodes
        self._threads = threads
        self._executors: list[ThreadPoolExecutor] = []
        self._flying: list[tuple[int, int, Future[None]]] = []

    def _begin(self) -> list[ThreadPoolExecutor]:
        from concurrent.futures import ThreadPoolExecutor  # loads logging, which counted boots need not

        share = self._threads // len(self._nodes) if self._threads else 0
        return [
            ThreadPoolExecutor(max(1, share if self._threads else len(cpus)), initializer=bind, initargs=(cpus,))
            for cpus in self._nodes
        ]

    def submit(self, start: int, end: int) -> list[Future[None]]:
        """Begin to initialise and free the pages of [start, end)."""
        return [self._submit(task) for task in self._pages.deferred_tasks(start, end)]

    def _submit(self, task: Task) -> Future[None]:
        low, high = task.run.slot, task.run.slot + task.run.pages
        for other_low, other_high, future in self._flying:
            if other_low < high and low < other_high:
                future.result()
        self._flying = [entry for entry in self._flying if not entry[2].done() or entry[2].exception()]
        if not self._executors:
            self._executors = self._begin()
        executor = self._executors[node_of(low, self._nodes)]
        future = executor.submit(self._pages.run_task, task)
        self._flying.append((low, high, future))
        return future

    def close(self) -> None:
        """Wait for everything; raises what a thread raised."""
        for executor in self._executors:
            executor.shutdown(wait=True)
        for _, _, future in self._flying:
            future.result()


@dataclass
class DeferredNode:
    """One node's deferred memory: ``free`` are the free pfn ranges of its last zone, beyond the first deferred pfn."""

    nid: int
    zone: Zone
    free: list[tuple[int, int]]
    cpus: Sequence[int]

    def pieces(self, start: int, end: int) -> list[tuple[int, int]]:
        """Free memory inside [start, end)."""
        at = bisect_left(self.free, start, key=lambda item: item[1])
        found = []
        while at < len(self.free) and self.free[at][0] < end:
            low, high = max(start, self.free[at][0]), min(end, self.free[at][1])
            if low < high:
                found.append((low, high))
            at += 1
        return found

    def jobs(self, max_threads: int, whole_zone: bool = False) -> list[MtJob]:
        """One job for each free range, up to the end of its section, which covers what else is free there.

        With ``whole_zone`` one job for all of them: threads are joined once, and chunks of holes hold nothing.
        Source: mm/mm_init.c:deferred_init_memmap() @ v6.12 and v6.18
        """
        if whole_zone and self.free:
            start, end = self.free[0][0], align_up(self.free[-1][1], PAGES_PER_SECTION)
            return [MtJob(start, end - start, PAGES_PER_SECTION, PAGES_PER_SECTION, max_threads)]
        jobs, at = [], 0
        for start, end in self.free:
            begin = max(start, at)
            if begin >= end:
                continue
            at = align_up(end, PAGES_PER_SECTION)
            jobs.append(MtJob(begin, at - begin, PAGES_PER_SECTION, PAGES_PER_SECTION, max_threads))
        return jobs


def deferred_node(k: Kernel, node: Pglist, cpus: Sequence[int]) -> DeferredNode | None:
    """What is left to do on a node; None if nothing was deferred. Takes the node's first_deferred_pfn away."""
    zone = node.last_zone
    first = node.first_deferred_pfn
    if first is None or zone is None:
        return None
    node.first_deferred_pfn = None
    low, high = max(first, zone.start_pfn), zone.end_pfn
    free = [(max(s, low), min(e, high)) for s, e, _ in free_pfn_ranges(k, node.nid) if s < high and e > low]
    return DeferredNode(node.nid, zone, free, cpus)


def page_alloc_init_late(
    k: Kernel, node_cpus: Mapping[int, Sequence[int]] | None = None, threads: int | None = None
) -> None:
    """Initialise all deferred memory and wait for it.

    ``node_cpus`` are the online CPUs of each node (default: what ``k.cpus.node_cpus()`` says), ``threads`` the host
    threads (default: one for each core of this computer). Books ``deferred_page_init``; needs unit costs
    ``deferred_page_init``, ``deferred_page_init_sibling`` and ``node_store_per_page``. Prints one line a node, in the
    order in which nodes finish.
    Source: mm/mm_init.c:page_alloc_init_late() @ v6.12
    """
    page_alloc: PageAlloc = k.page_alloc
    if node_cpus is None:
        node_cpus = k.cpus.node_cpus()
    possible = max(1, sum(len(cpus) for cpus in node_cpus.values()))
    work = WorkPool(possible)
    found = (deferred_node(k, node, node_cpus.get(node.nid, ())) for node in k.nodes if node.last_zone)
    nodes = [node for node in found if node is not None]
    if nodes:
        host = HostPool(page_alloc.pages, threads)
        try:
            running = [k.machine.clock.process(_pgdatinit(k, node, work, host)) for node in nodes]
            k.wait(simpy.AllOf(k.machine.clock.env, running))
        finally:
            host.close()
    page_alloc.grow = None


def _pgdatinit(k: Kernel, node: DeferredNode, work: WorkPool, host: HostPool) -> Generator[simpy.Event, Any, None]:
    # One kernel thread, bound to the CPUs of its node. Source: mm/mm_init.c:deferred_init_memmap() @ v6.12
    env: simpy.Environment = k.machine.clock.env
    cores = max(k.cpus.cores(node.cpus), 1)
    own_ns, sibling_ns = k.unit_ns("deferred_page_init"), k.unit_ns("deferred_page_init_sibling")
    pace = PagePace(own_ns, sibling_ns, k.unit_ns("node_store_per_page"), cores, max(len(node.cpus), 1))
    store = NodeStore(env, pace)
    tick_ns = NS_PER_S // k.config.number("CONFIG_HZ")
    started = int(env.now)
    threads = len(node.cpus) if k.behaviour.deferred_threads == "cpus" else 1

    def chunk(worker: int, start: int, end: int) -> Generator[simpy.Event, Any, None]:
        pieces = node.pieces(start, end)
        count = sum(high - low for low, high in pieces)
        futures = [future for low, high in pieces for future in host.submit(low, high)]
        began = int(env.now)
        if count:
            yield store.write(count)
        cpu = node.cpus[worker % len(node.cpus)] if node.cpus else 0
        k.book_span(cpu, "deferred_page_init", count, began, int(env.now) - began)
        for future in futures:
            future.result()
        for low, high in pieces:
            deferred_free_pages(k.page_alloc, node.zone, low, high)

    for job in node.jobs(max(threads, 1), k.behaviour.deferred_jobs == "zone"):
        yield from padata_do_multithreaded(env, job, work, chunk)
    next(pgdat for pgdat in k.nodes if pgdat.nid == node.nid).deferred_ns = int(env.now) - started
    spent = (int(env.now) // tick_ns - started // tick_ns) * tick_ns // 1_000_000
    if k.behaviour.deferred_line_pages:
        count = sum(end - start for start, end in node.free)
        k.printk(f"node {node.nid} initialised, {count} pages in {spent}ms")
    else:
        k.printk(f"node {node.nid} deferred pages initialised in {spent}ms")


def deferred_free_pages(page_alloc: PageAlloc, zone: Zone, start: int, end: int) -> None:
    """Pages of [start, end), written already, go to the buddy allocator; their pageblocks become MOVABLE.

    Source: mm/mm_init.c:deferred_free_pages() @ v6.12
    """
    page_alloc.set_movable(start, end)
    low, high = align_up(start, MAX_BLOCK), end // MAX_BLOCK * MAX_BLOCK
    if low >= high:
        page_alloc.free_range(zone, start, end)
    else:
        page_alloc.free_range(zone, start, low)
        page_alloc.add_largest(zone, low, high)  # heads were marked by the thread that wrote the rows
        page_alloc.free_range(zone, high, end)
    zone.managed_pages += end - start
