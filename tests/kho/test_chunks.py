"""The chunk list of kho-v1 against a set of blocks."""

from __future__ import annotations

import itertools
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.memory import PhysicalMemory
from minikern.kho.chunks import BITMAPS_A_CHUNK, serialize, walk_chunks
from minikern.kho.radix import decode_key

PAGE = 4096
GIB = 1 << 30

blocks = st.integers(0, 10).flatmap(
    lambda order: st.tuples(st.integers(0, (1 << 22) >> order), st.just(order))
)


def written(chosen: dict[int, np.ndarray[tuple[int], np.dtype[np.uint64]]]) -> tuple[PhysicalMemory, int, list[int]]:
    memory, places, sizes = PhysicalMemory(), itertools.count(1 << 40, PAGE), list[int]()

    def alloc(size: int) -> int:
        sizes.append(size)
        return next(places)

    return memory, serialize(memory, list(chosen.items()), alloc), sizes


def walked(memory: PhysicalMemory, first: int) -> list[tuple[int, int]]:
    return [decode_key(key) for keys in walk_chunks(memory.read, first, 1000) for key in keys.tolist()]


@settings(max_examples=60)
@given(st.sets(blocks, max_size=60))
def test_against_a_set(chosen: set[tuple[int, int]]) -> None:
    by_order = defaultdict(list)
    for number, order in sorted(chosen):
        by_order[order].append(number)
    memory, first, _ = written({order: np.array(numbers, dtype=np.uint64) for order, numbers in by_order.items()})
    wanted = [(number << order + 12, order) for order in sorted(by_order) for number in by_order[order]]
    assert walked(memory, first) == wanted


def test_nothing_is_no_chunk() -> None:
    assert written({})[1] == 0
    assert walked(PhysicalMemory(), 0) == []


def sixteen_gib() -> dict[int, np.ndarray[tuple[int], np.dtype[np.uint64]]]:
    return {0: np.arange(1 << 20, (1 << 20) + 16 * GIB // PAGE, dtype=np.uint64)}


def test_sixteen_gib_in_small_folios_take_half_a_mib_of_bits() -> None:
    memory, first, sizes = written(sixteen_gib())
    assert sum(size for size in sizes if size != PAGE) == 512 << 10
    assert sum(size == PAGE for size in sizes) == -(-1024 // BITMAPS_A_CHUNK)
    assert sum(len(keys) for keys in walk_chunks(memory.read, first, 1000)) == 16 * GIB // PAGE


def test_a_chain_that_leads_into_itself_ends() -> None:
    memory = PhysicalMemory()
    memory.write(PAGE, PAGE.to_bytes(8, "little") + bytes(8))
    with pytest.raises(OverflowError):
        walked(memory, PAGE)
