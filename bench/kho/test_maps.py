"""Maps of preserved memory, 16 GiB in 4 KiB folios: radix tree and chain of chunks, written down and walked.

pytest bench/kho --benchmark-enable
MINIKERN_BENCH_GOALS=1 pytest bench/kho -k goal
"""

from __future__ import annotations

import itertools
import os
import time
from typing import Any

import numpy as np
import pytest

from hw.memory import PhysicalMemory
from minikern.kho.chunks import serialize, walk_chunks
from minikern.kho.radix import RadixTree, encode_key, walk

PAGE, ROOT = 4096, 1 << 40
FIRST, PAGES = 1 << 20, (16 << 30) // PAGE
GOAL = 20e6  # pages a second, written and walked


def radix() -> int:
    memory, nodes = PhysicalMemory(), itertools.count(ROOT + PAGE, PAGE)
    keys = np.arange(encode_key(FIRST * PAGE, 0), encode_key(FIRST * PAGE, 0) + PAGES, dtype=np.uint64)
    RadixTree(memory, ROOT, lambda: next(nodes)).add_keys(keys)
    return sum(len(part) for part in walk(lambda address: memory.read(address, PAGE), ROOT, 1000))


def chunks() -> int:
    memory, places = PhysicalMemory(), itertools.count(ROOT, PAGE)
    numbers = np.arange(FIRST, FIRST + PAGES, dtype=np.uint64)
    first = serialize(memory, [(0, numbers)], lambda size: next(places))
    return sum(len(part) for part in walk_chunks(memory.read, first, 1000))


WAYS = {"radix": radix, "chunks": chunks}


@pytest.mark.benchmark(group="preserved memory")
@pytest.mark.parametrize("way", WAYS)
def test_written_and_walked(benchmark: Any, way: str) -> None:
    assert benchmark.pedantic(WAYS[way], rounds=2) == PAGES


@pytest.mark.skipif(not os.environ.get("MINIKERN_BENCH_GOALS"), reason="MINIKERN_BENCH_GOALS is not set")
@pytest.mark.parametrize("way", WAYS)
def test_goal_twenty_million_pages_a_second(way: str) -> None:
    best = float("inf")
    for _ in range(6):
        began = time.perf_counter()
        assert WAYS[way]() == PAGES
        best = min(best, time.perf_counter() - began)
    print(f"{way}: {PAGES / best / 1e6:.0f} million pages a second")
    assert PAGES / best >= GOAL
