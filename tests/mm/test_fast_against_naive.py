"""Fast kernels against a page at a time, and any division of the work against the whole.

``MINIKERN_EXAMPLES`` is the number of examples in all (default 2400, without the JIT 600).
"""

from __future__ import annotations

import os
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from minikern.host import jit
from minikern.host.arena import Arena
from minikern.mm.map.padata import MtJob
from minikern.mm.page import page_kernels as pk
from minikern.mm.page.mmzone import Pglist, Zone
from minikern.mm.page.page_flags import PageFlags
from minikern.mm.page.page_map import PageMap
from minikern.mm.page.vmemmap import Vmemmap
from minikern.state.page_alloc import PageAlloc
from minikern.verify.page_check import first_wrong
from tests.naive_mm import VMEMMAP, NaiveBuddy, flags_of, fresh_page, padata_chunks, tail_page

EXAMPLES = int(os.environ.get("MINIKERN_EXAMPLES", "600" if jit.DISABLED else "2400"))
U64 = np.uint64
BUDDY = 0xFFFFFF7F
FLAGS = PageFlags(6, 3, 16, 0, reserved_bit=12, private_bit=13, head_bit=16)
ROWS = 4200
WORDS = Arena(ROWS * 64).words(ROWS)


def share(percent: int) -> settings:
    return settings(max_examples=max(1, EXAMPLES * percent // 100), deadline=None)


def spoiled(count: int) -> np.ndarray:
    words = WORDS[:count]
    words[:] = U64(0xA5A5A5A5A5A5A5A5)
    return words


def lru(pfn: int) -> int:
    return VMEMMAP + 64 * pfn + 8


pfns = st.one_of(st.integers(0, 5000), st.integers(0, 2**34 - ROWS))
nodes_zones = st.tuples(st.integers(0, 63), st.integers(0, 4))


@share(25)
@given(st.sampled_from(sorted(pk.ALGORITHMS)), pfns, st.integers(1, 90), nodes_zones, st.booleans())
def test_init_and_free(name: str, pfn: int, count: int, where: tuple[int, int], reserved: bool) -> None:
    words, flags = spoiled(count), flags_of(*where)
    pk.algorithm(name)(words, U64(flags), U64(lru(pfn)))
    assert words.tobytes() == b"".join(fresh_page(pfn + i, flags) for i in range(count))
    if reserved:
        pk.set_flags(words, U64(0x1000))
        assert words.tobytes() == b"".join(fresh_page(pfn + i, flags | 0x1000) for i in range(count))
    assert pk.free_pages(words, U64(2**64 - 1 - 0x1000), U64(lru(pfn))) == -1
    assert words.tobytes() == b"".join(fresh_page(pfn + i, flags, 0) for i in range(count))


@share(15)
@given(pfns, st.integers(1, 90), nodes_zones, st.integers(0, 6))
def test_free_blocks_and_tails(pfn: int, count: int, where: tuple[int, int], order: int) -> None:
    flags = flags_of(*where)
    if pk.can_stream(WORDS):
        words = spoiled(count)
        pk.init_free_blocks(words, flags, lru(pfn), pfn, order, BUDDY)
        expected = [bytearray(fresh_page(pfn + i, flags, 0)) for i in range(count)]
        for i in range(count):
            if (pfn + i) % (1 << order) == 0 and i + (1 << order) <= count:
                expected[i][0x28:0x38] = order.to_bytes(8, "little") + BUDDY.to_bytes(8, "little")
        assert words.tobytes() == b"".join(expected)
    words = spoiled(count)
    pk.store_image(words, flags, lru(pfn + 1), 0xFFFFFFFF, VMEMMAP + 64 * pfn, 0xDEAD000000000400)
    assert words.tobytes() == b"".join(tail_page(pfn + 1 + i, pfn, flags) for i in range(count))


@share(10)
@given(pfns, st.integers(1, 200), st.integers(0, 199), st.integers(0, 511), st.booleans())
def test_any_bit_is_found(pfn: int, count: int, row: int, bit: int, free: bool) -> None:
    words, flags, row = spoiled(count), flags_of(0, 2), row % count
    want = np.zeros((2, 8), dtype=np.uint64)
    want[:, 0] = flags
    want[0, 6] = 0xFFFFFFFF if free else 0x1FFFFFFFF
    pk.store_image(words, flags, lru(pfn), int(want[0, 6]))
    assert first_wrong(words, want, U64(lru(pfn)), True, 0, 0, -1) == -1
    words[row, bit // 64] ^= U64(1 << (bit % 64))
    assert first_wrong(words, want, U64(lru(pfn)), True, 0, 0, -1) == row


@share(15)
@given(st.integers(0, 3000), st.integers(1, 1100), st.lists(st.integers(0, 1100), max_size=6), st.randoms())
def test_any_cut_gives_the_same_rows(pfn: int, count: int, cuts: list[int], order: object) -> None:
    flags = flags_of(1, 2)
    for name in pk.ALGORITHMS:
        words = spoiled(count)
        pk.algorithm(name)(words, U64(flags), U64(lru(pfn)))
        whole = words.tobytes()
        words = spoiled(count)
        borders = sorted({0, count, *(cut for cut in cuts if cut < count)})
        pieces = list(pairwise(borders))
        order.shuffle(pieces)  # type: ignore[attr-defined]
        for low, high in pieces:
            pk.algorithm(name)(words[low:high], U64(flags), U64(lru(pfn + low)))
        assert words.tobytes() == whole


@share(10)
@given(
    st.integers(0, 2000), st.integers(1, 4000), st.lists(st.integers(0, 6), max_size=4), st.sampled_from(["", "linux"])
)
def test_deferred_tasks_cut_at_blocks(start: int, count: int, cuts: list[int], name: str) -> None:
    results = []
    inside = {1024 * cut - start for cut in cuts if 0 < 1024 * cut - start < count}
    for borders in ([0, count], sorted({0, count} | inside)):
        vmemmap = Vmemmap([0])
        pages = PageMap(vmemmap, FLAGS, pk.algorithm(name))
        pages.add_links(start, start + count, 0, 1)
        for low, high in pairwise(borders):
            for task in pages.deferred_tasks(start + low, start + high):
                pages.run_task(task)
        results.append(vmemmap.words[start : start + count].tobytes())
        vmemmap.close()
    assert results[0] == results[1]


@share(10)
@given(st.integers(0, 5000), st.integers(1, 9000), st.integers(1, 64), st.integers(1, 300), st.integers(1, 70))
def test_padata(start: int, size: int, align: int, min_chunk: int, threads: int) -> None:
    job = MtJob(start, size, align, min_chunk, threads)
    works = job.nworks()
    pieces = [(start, start + size)] if works == 1 else list(job.chunks(job.chunk_size(works)))
    assert pieces == padata_chunks(start, size, align, min_chunk, threads)


@share(15)
@given(
    st.lists(st.tuples(st.integers(0, 900), st.integers(1, 2500)), min_size=1, max_size=4),
    st.integers(1, 5),
    st.randoms(),
)
def test_free_lists_do_not_depend_on_the_cut(ranges: list[tuple[int, int]], pieces: int, order: object) -> None:
    found, at = [], 0
    spans = []
    for gap, size in ranges:
        spans.append((at + gap, at + gap + size))
        at += gap + size
    naive = NaiveBuddy()
    for low, high in spans:
        for pfn in range(low, high):
            naive.free(pfn, 0)
    for parts in (1, pieces):
        vmemmap = Vmemmap([0])
        pages = PageMap(vmemmap, FLAGS, pk.algorithm())
        zone = Zone(0, 0, 0, 32768, 32768)
        page_alloc = PageAlloc(pages, [Pglist(0, 0, 32768, [zone])], 32768)
        work = [
            (low + (high - low) * i // parts, low + (high - low) * (i + 1) // parts)
            for low, high in spans
            for i in range(parts)
        ]
        order.shuffle(work)  # type: ignore[attr-defined]
        for low, high in work:
            page_alloc.free_range(zone, low, high)
        page_alloc.check()
        found.append(page_alloc.buddyinfo())
        blocks = {(p + (i << o), o) for p, o, n in page_alloc.areas[0, 0].stretches() for i in range(n)}
        assert blocks == naive.blocks
        vmemmap.close()
    assert found[0] == found[1]
