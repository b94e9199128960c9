"""`--times host`: unit costs of memory and digest work as this computer does it, instead of the machine's own.

Only work that the emulator really does on this computer can be measured here: struct pages, page copies, SHA-256.
Everything else (CPUs, AML, configuration space) keeps the machine's cost. What was measured is in each cost's source.
"""

from __future__ import annotations

import ctypes
import hashlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from hw.errors import InputError
from hw.units import PAGE_SIZE
from minikern.core.cost_table import MEASURED, default_costs
from minikern.core.costs import Cost
from minikern.host import jit as _jit
from minikern.kexec.sha256 import sha256_generic
from minikern.mm.map.deferred import host_cores
from minikern.mm.page import page_kernels
from minikern.mm.page.mmzone import PAGES_PER_SECTION
from minikern.mm.page.struct_page import STRUCT_PAGE_SIZE, Words
from minikern.mm.page.vmemmap import Vmemmap
from minikern.state.page_alloc import MAX_BLOCK

SECTIONS = 64  # 128 MiB of memory map: more than any cache holds
ROUNDS = 3
DIGEST_BYTES = 8 << 20
FIRST_SECTION = 32
ALONE, SIBLING = "deferred_page_init", "deferred_page_init_sibling"
FLAGS, LRU, RESERVED = np.uint64(0x0017FFFFC0000000), np.uint64(8), np.uint64(1 << 13)

Pass = tuple[str, Callable[[], object], int, str]
"""A kind of work, what does it, how many pieces that is, and in words."""


def host_costs() -> dict[str, Cost]:
    """Unit costs measured now. InputError where compiled kernels are turned off: their rates would mean nothing."""
    if _jit.DISABLED:
        raise InputError("times of this host need compiled kernels: unset NUMBA_DISABLE_JIT")
    vmemmap = Vmemmap(range(FIRST_SECTION, FIRST_SECTION + SECTIONS))
    try:
        vmemmap.words[:] = np.uint64(1)
        found = {kind: _cost(run, pieces, what) for kind, run, pieces, what in _passes(vmemmap.words)}
        return found | {SIBLING: _sibling(found[ALONE])}
    finally:
        vmemmap.close()


def _sibling(alone: Cost) -> Cost:
    # Which of this host's CPUs are siblings is not known for sure: their part is kept as it is by default.
    known = default_costs()
    ns = alone.ns * known[SIBLING].ns / known[ALONE].ns
    return Cost(ns=ns, source=f"{alone.source}; as much slower beside a sibling as by default")


def _cost(run: Callable[[], object], pieces: int, what: str) -> Cost:
    run()  # compiles
    ns = min(_ns(run) for _ in range(ROUNDS)) / pieces
    return Cost(ns=ns, source=f"{MEASURED}: {what}, best of {ROUNDS} rounds of {pieces} pieces")


def _ns(run: Callable[[], object]) -> int:
    begin = time.perf_counter_ns()
    run()
    return time.perf_counter_ns() - begin


def _passes(words: Words) -> Iterator[Pass]:
    yield from _page_passes(words)
    yield from _copy_passes(words)
    view = memoryview(b"\xa5" * DIGEST_BYTES)
    yield "sha256_generic_byte", lambda: sha256_generic([view]), DIGEST_BYTES, "scalar SHA-256"
    yield "sha256_accelerated_byte", lambda: hashlib.sha256(view).digest(), DIGEST_BYTES, "SHA-256 of OpenSSL"


def _page_passes(words: Words) -> Iterator[Pass]:
    pages, u64 = len(words), np.uint64
    pfn = FIRST_SECTION * PAGES_PER_SECTION
    keep = u64(~int(RESERVED) & 2**64 - 1)

    def init() -> None:
        page_kernels.init_linux(words, FLAGS, LRU)

    def reserved() -> None:
        init()
        page_kernels.set_flags(words, RESERVED)

    def deferred() -> None:
        page_kernels.init_and_free(words, FLAGS, LRU, pfn, MAX_BLOCK)

    def tails() -> None:
        page_kernels.prep_compound_tails(words, u64(LRU), u64(0xDEAD000000000400))

    def init_tails() -> None:
        init()
        tails()

    yield "struct_page_init", init, pages, "__init_single_page, one thread"
    yield "struct_page_free", lambda: page_kernels.free_pages(words, keep, LRU), pages, "pages freed, one thread"
    yield "reserved_page_init", reserved, pages, "initialised, then marked reserved, one thread"
    yield "reserved_page_set", lambda: page_kernels.set_flags(words, RESERVED), pages, "marked reserved, one thread"
    yield "deferred_page_init", deferred, pages, "initialised and freed by 1024, one thread"
    yield "compound_tail_prep", tails, pages, "tails prepared, one thread"
    yield "compound_tail_init_prep", init_tails, pages, "tails initialised and prepared, one thread"
    cores = host_cores()
    with ThreadPoolExecutor(cores) as pool:
        parts = np.array_split(words, cores)
        stores = f"memory map stored by {cores} threads, as if each node had this host's bandwidth"
        yield "node_store_per_page", lambda: list(pool.map(_fill, parts)), pages, stores


def _copy_passes(words: Words) -> Iterator[Pass]:
    half = words.nbytes // 2
    low, pages = words.ctypes.data, half // PAGE_SIZE

    def copy() -> None:
        ctypes.memmove(low, low + half, half)

    def swap() -> None:
        for _ in range(3):
            copy()

    yield "relocate_page_direct", copy, pages, "pages copied"
    yield "relocate_page", swap, pages, "pages exchanged through a third"
    yield "hash_table_page", lambda: ctypes.memset(low, 0, half), pages, "pages cleared"


def _fill(words: Words) -> None:
    ctypes.memset(words.ctypes.data, 0xA5, len(words) * STRUCT_PAGE_SIZE)
