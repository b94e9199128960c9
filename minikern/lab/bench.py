"""Struct-page kernels against a C loop and against the memory itself, all on one buffer in one run.

Every kernel is run once and its result verified before it is timed. Rounds go through all kernels in turn, so that
whatever disturbs the host disturbs all alike; figures are those of each kernel's best round, and all are reported.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import NamedTuple

import numpy as np

from hw.errors import InputError
from minikern.host import jit as _jit
from minikern.host.backing import available_bytes, last_level_cache_bytes
from minikern.lab.bench_c import CKernels, NoCompiler
from minikern.lab.rooflines import PATTERN, cache_words, fill, memset, read
from minikern.mm.map.deferred import HostPool, deferred_free_pages, host_cores
from minikern.mm.map.padata import MtJob
from minikern.mm.page import page_kernels
from minikern.mm.page.mmzone import MAX_PAGE_ORDER, PAGES_PER_SECTION, Pglist, Zone
from minikern.mm.page.page_flags import PageFlags
from minikern.mm.page.page_map import PageMap
from minikern.mm.page.struct_page import STRUCT_PAGE_SIZE, Words
from minikern.mm.page.vmemmap import Vmemmap
from minikern.state.page_alloc import MAX_BLOCK, PageAlloc
from minikern.verify.page_check import first_wrong

DEFAULT_PAGES = 1 << 25  # 2 GiB of memory map
FIRST_SECTION = 32  # the pages start at 4 GiB
NID, ZONE = 0, 2
FLAGS = PageFlags(6, 3, 16, 0, reserved_bit=13, private_bit=14, head_bit=6)
INITIALISED, FREE = 0x00000001_FFFFFFFF, 0x00000000_FFFFFFFF


class Part(NamedTuple):
    """What one thread works on: rows, and the pfn of the first."""

    words: Words
    pfn: int


class Kernel(NamedTuple):
    """One thing to time. ``before`` is the state it needs ("", "init" or "free" pages), ``after`` the one it leaves."""

    name: str
    about: str
    run: Callable[[Part], None]
    before: str = ""
    after: str = ""
    roofline: str = "write"
    c: str = ""


@dataclass
class Result:
    """One kernel on so many threads; ``samples`` are seconds, one a round."""

    kernel: str
    about: str
    threads: int
    pages: int
    samples: list[float]
    ratio_to_c: float | None = None
    ratio_to_roofline: float | None = None

    @property
    def best(self) -> float:
        """Seconds of the best round."""
        return min(self.samples)

    @property
    def spread(self) -> float:
        """How much slower the median round was than the best."""
        return median(self.samples) / self.best - 1

    @property
    def pages_per_s(self) -> float:
        """Pages a second."""
        return self.pages / self.best

    @property
    def bytes_per_s(self) -> float:
        """Bytes of memory map a second."""
        return self.pages * STRUCT_PAGE_SIZE / self.best


@dataclass
class Report:
    """All results of a run, and what they were measured on."""

    pages: int
    compiler: str
    note: str
    memory: str = ""  # what the buffer is beside the caches
    in_cache: bool = False  # all of it fits into the last-level cache: there is no roofline of memory
    results: list[Result] = field(default_factory=list)


class Bench:
    """The buffer and the kernels. ``compiler`` names the C compiler, ``note`` says why there is none."""

    def __init__(self, pages: int) -> None:
        """Map and touch the memory of ``pages`` pages. InputError unless it is a positive number of sections."""
        if pages <= 0 or pages % PAGES_PER_SECTION:
            raise InputError(f"{pages} pages: expected a positive multiple of {PAGES_PER_SECTION}")
        self.pages = pages
        self.start = FIRST_SECTION * PAGES_PER_SECTION
        self.vmemmap = Vmemmap(range(FIRST_SECTION, FIRST_SECTION + pages // PAGES_PER_SECTION))
        self.words = self.vmemmap.words
        self.words[:] = np.uint64(1)
        self.map = PageMap(self.vmemmap, FLAGS, page_kernels.init_nontemporal)
        self.map.add_links(self.start, self.start + pages, NID, ZONE)
        self.links = FLAGS.links(NID, ZONE)
        self.c: CKernels | None = None
        self.compiler = self.note = ""
        try:
            self.c = CKernels()
            self.compiler = self.c.command
        except NoCompiler as error:
            self.note = str(error)

    def close(self) -> None:
        """Give the memory back."""
        self.words = np.empty((0, 8), dtype=np.uint64)
        self.vmemmap.close()

    # work

    def lru(self, part: Part) -> int:
        """Virtual address of the first page's list head."""
        return self.vmemmap.address(part.pfn) + 8

    def parts(self, threads: int) -> list[Part]:
        """The buffer as one stretch of whole maximal-order blocks for each thread."""
        blocks = self.pages // MAX_BLOCK
        cuts = [blocks * at // threads * MAX_BLOCK for at in range(threads + 1)]
        return [Part(self.words[a:b], self.start + a) for a, b in pairwise(cuts) if a < b]

    def rooflines(self) -> list[Kernel]:
        """What the memory can do."""
        found = [
            Kernel("memset", "C library", lambda p: memset(p.words, PATTERN)),
            Kernel("memset-zero", "C library, zeros", lambda p: memset(p.words, 0), roofline=""),
            Kernel("read", "every word once", lambda p: read(p.words), roofline="read"),
        ]
        if page_kernels.can_stream(self.words):
            found.insert(1, Kernel("fill", "stores past the cache", lambda p: fill(p.words)))
        return found

    def kernels(self) -> list[Kernel]:
        """Every kernel by name, the C loops first."""
        u64 = np.uint64

        def init(algorithm: page_kernels.Algorithm) -> Callable[[Part], None]:
            return lambda p: algorithm(p.words, u64(self.links), u64(self.lru(p)))

        c = "c" if self.c else ""
        found = [*self._c_kernels()]
        for name, about in (("linux", "zero, then fields"), ("fused", "each word once"), ("nontemporal", "past cache")):
            found.append(Kernel(name, about, init(page_kernels.ALGORITHMS[name]), after="init", c=c))
        return [
            *found,
            Kernel("deferred-linux", "init, free, by 1024", self._init_and_free, "", "free", c=c and "c-deferred"),
            Kernel("deferred", "init and free at once", self._init_free_blocks, after="blocks", c=c and "c-deferred"),
            Kernel("free", "reserved, reference", self._free, "init", "free", c=c and "c-free"),
            Kernel("check", "every word compared", self._check, "init", "init", roofline="read"),
        ]

    def _c_kernels(self) -> list[Kernel]:
        if self.c is None:
            return []
        c, cpupid = self.c, ((1 << FLAGS.cpupid_width) - 1) << FLAGS.cpupid_shift
        links = self.links & ~cpupid

        def init(p: Part) -> None:
            c.init(p.words, links, cpupid, self.lru(p))

        def init_free(p: Part) -> None:
            c.init_free(p.words, links, cpupid, self.lru(p), MAX_BLOCK)

        return [
            Kernel("c", "C loop, init", init, after="init"),
            Kernel("c-deferred", "C loop, init and free", init_free, after="free"),
            Kernel("c-free", "C loop, free", lambda p: c.free(p.words, FLAGS.reserved), "init", "free"),
        ]

    def _init_and_free(self, p: Part) -> None:
        page_kernels.init_and_free(p.words, np.uint64(self.links), np.uint64(self.lru(p)), p.pfn, MAX_BLOCK)

    def _init_free_blocks(self, p: Part) -> None:
        page_kernels.init_free_blocks(p.words, self.links, self.lru(p), p.pfn, MAX_PAGE_ORDER, FLAGS.buddy_type)

    def _free(self, p: Part) -> None:
        keep = np.uint64(~FLAGS.reserved & 2**64 - 1)
        if page_kernels.free_pages(p.words, keep, np.uint64(self.lru(p))) >= 0:
            raise AssertionError("free found a page that was not initialised")

    def _check(self, p: Part) -> None:
        self._expect(p, "init")

    def node(self, threads: int) -> None:
        """Whole deferred initialisation of the buffer as one node: chunks, host threads, free lists."""
        zone = Zone(ZONE, NID, self.start, self.pages, self.pages)
        zones = [Zone(index, NID) for index in range(ZONE)] + [zone]
        page_alloc = PageAlloc(self.map, [Pglist(NID, self.start, self.start + self.pages, zones)], zone.end_pfn)
        host = HostPool(self.map, threads)
        job = MtJob(self.start, self.pages, PAGES_PER_SECTION, PAGES_PER_SECTION, threads)
        chunks = [(low, high, host.submit(low, high)) for low, high in job.chunks(job.chunk_size(job.nworks()))]
        for low, high, futures in chunks:
            for future in futures:
                future.result()
            deferred_free_pages(page_alloc, zone, low, high)
        host.close()
        if page_alloc.nr_free_pages() != self.pages:
            raise AssertionError(f"{page_alloc.nr_free_pages()} pages are free, expected {self.pages}")

    # verification

    def set_state(self, state: str) -> None:
        """Bring the buffer into a state; "" spoils it."""
        part = Part(self.words, self.start)
        if state == "init":
            page_kernels.init_nontemporal(self.words, np.uint64(self.links), np.uint64(self.lru(part)))
        elif not state:
            self.words[:: max(1, self.pages // 1000)] = np.uint64(0xDEAD)

    def expect(self, state: str, kernel: str) -> None:
        """AssertionError names the first page that is not in ``state``."""
        wrong = self._compare(Part(self.words, self.start), state)
        if wrong >= 0:
            raise AssertionError(f"kernel {kernel}: pfn {self.start + wrong:#x} is not as expected ({state})")

    def _expect(self, part: Part, state: str) -> None:
        wrong = self._compare(part, state)
        if wrong >= 0:
            raise AssertionError(f"pfn {part.pfn + wrong:#x} is not as expected ({state})")

    def _compare(self, part: Part, state: str) -> int:
        want = np.zeros((2, 8), dtype=np.uint64)
        want[:, 0] = self.links
        want[0, 6] = INITIALISED if state == "init" else FREE
        want[1, 5], want[1, 6] = MAX_PAGE_ORDER, FLAGS.buddy_type
        heads = MAX_BLOCK if state == "blocks" else 0
        return first_wrong(part.words, want, np.uint64(self.lru(part)), True, heads, -part.pfn % MAX_BLOCK, -1)


def validate(bench: Bench, kernel: Kernel) -> None:
    """Run a kernel once, which also compiles it, and verify what it left. AssertionError if that is wrong."""
    bench.set_state(kernel.before)
    kernel.run(Part(bench.words, bench.start))
    if kernel.after:
        bench.expect(kernel.after, kernel.name)


def run_pages(pages: int | None, threads: list[int], rounds: int) -> Report:
    """Time all kernels on ``pages`` pages (None: 2 GiB of memory map, or what this host has room for)."""
    if _jit.DISABLED:
        raise InputError("benchmarks need compiled kernels: unset NUMBA_DISABLE_JIT")
    if pages is None:
        room = available_bytes() // 2 // STRUCT_PAGE_SIZE // PAGES_PER_SECTION * PAGES_PER_SECTION
        pages = max(PAGES_PER_SECTION, min(DEFAULT_PAGES, room))
    elif pages * STRUCT_PAGE_SIZE > available_bytes():
        most = available_bytes() // STRUCT_PAGE_SIZE
        raise InputError(f"{pages} struct pages: expected at most {most}, this computer's memory that is available")
    bench = Bench(pages)
    try:
        size = pages * STRUCT_PAGE_SIZE
        report = Report(pages, bench.compiler, bench.note, cache_words(size), size <= last_level_cache_bytes())
        kernels = bench.rooflines() + bench.kernels()
        for kernel in kernels:
            validate(bench, kernel)
        bench.node(1)
        bench.expect("blocks", "deferred-node")
        for count in threads:
            report.results += _run_threads(bench, kernels, count, rounds)
        if report.in_cache:
            for result in report.results:
                result.ratio_to_roofline = None
        return report
    finally:
        bench.close()


def _run_threads(bench: Bench, kernels: list[Kernel], threads: int, rounds: int) -> list[Result]:
    parts = bench.parts(threads)
    results = {k.name: Result(k.name, k.about, len(parts), bench.pages, []) for k in kernels}
    node = Result("deferred-node", "chunks, free lists too", threads, bench.pages, [])
    with ThreadPoolExecutor(len(parts)) as pool:
        list(pool.map(lambda part: part.pfn, parts))  # the threads exist before the clock starts
        for _ in range(rounds):
            for kernel in kernels:
                if kernel.before:
                    bench.set_state(kernel.before)
                results[kernel.name].samples.append(_seconds(pool, kernel, parts))
            begin = time.perf_counter()
            bench.node(threads)
            node.samples.append(time.perf_counter() - begin)
    return _ratios(kernels, results, node)


def _seconds(pool: ThreadPoolExecutor, kernel: Kernel, parts: list[Part]) -> float:
    begin = time.perf_counter()
    list(pool.map(kernel.run, parts))
    return time.perf_counter() - begin


def _ratios(kernels: list[Kernel], results: dict[str, Result], node: Result) -> list[Result]:
    tops = {
        "write": max(results[name].bytes_per_s for name in ("memset", "fill") if name in results),
        "read": results["read"].bytes_per_s,
    }
    for kernel in kernels:
        result = results[kernel.name]
        if kernel.roofline:
            result.ratio_to_roofline = result.bytes_per_s / tops[kernel.roofline]
        if kernel.c:
            result.ratio_to_c = results[kernel.c].best / result.best
    node.ratio_to_roofline = node.bytes_per_s / tops["write"]
    if "c-deferred" in results:
        node.ratio_to_c = results["c-deferred"].best / node.best
    return [*results.values(), node]


def default_threads() -> list[int]:
    """One thread, then as many as this host has cores for us."""
    return sorted({1, host_cores()})
