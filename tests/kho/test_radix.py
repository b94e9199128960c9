"""The radix tree of preserved memory against a set of blocks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.errors import MachineStopped
from hw.memory import PhysicalMemory
from minikern.kho.radix import (
    RadixTree,
    blocks_of_range,
    decode_key,
    encode_key,
    walk,
)

PAGE = 4096
ROOT = 1 << 40
GIB = 1 << 30

blocks = st.integers(0, 10).flatmap(
    lambda order: st.tuples(st.integers(0, (1 << 34) >> order).map(lambda n: n << 12 + order), st.just(order))
)


def tree() -> tuple[RadixTree, PhysicalMemory, Iterator[int]]:
    memory = PhysicalMemory()
    pages = itertools.count(ROOT + PAGE, PAGE)
    return RadixTree(memory, ROOT, lambda: next(pages)), memory, pages


def reader(memory: PhysicalMemory) -> Callable[[int], bytes]:
    return lambda address: memory.read(address, PAGE)


def walked(memory: PhysicalMemory) -> list[tuple[int, int]]:
    return [decode_key(key) for keys in walk(reader(memory), ROOT, 1000) for key in keys.tolist()]


@given(blocks)
def test_keys_there_and_back(block: tuple[int, int]) -> None:
    assert decode_key(encode_key(*block)) == block


@pytest.mark.parametrize("key", [1 << 53, (1 << 64) - 1])
def test_a_key_above_order_0_stops_the_machine(key: int) -> None:
    with pytest.raises(MachineStopped, match=f"the key {key:#x} of preserved memory has no order"):
        decode_key(key)


def test_the_headers_own_figures() -> None:
    assert encode_key(0x17D000000, 11) == 0x200000002FA
    assert encode_key(0x2914000, 0) == 0x10000000002914


@settings(max_examples=60)
@given(st.lists(blocks, max_size=60))
def test_against_a_set(chosen: list[tuple[int, int]]) -> None:
    real, memory, _ = tree()
    for block in chosen:
        real.add(*block)
    assert walked(memory) == sorted(set(chosen), key=lambda block: encode_key(*block))


@settings(max_examples=60)
@given(st.integers(0, 1 << 22), st.integers(0, 1 << 14))
def test_a_range_is_its_blocks(start: int, pages: int) -> None:
    found = list(blocks_of_range(start, start + pages))
    covered = [page for pfn, order in found for page in range(pfn, pfn + (1 << order))]
    assert covered == list(range(start, start + pages))
    assert all(pfn % (1 << order) == 0 for pfn, order in found)
    assert len(found) <= 2 * max(1, pages.bit_length())


def sixteen_gib() -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.arange(1 << 52 | 1 << 20, (1 << 52 | 1 << 20) + (16 * GIB // PAGE), dtype=np.uint64)


def test_sixteen_gib_in_small_folios_take_half_a_mib_of_bits() -> None:
    real, memory, pages = tree()
    keys = sixteen_gib()
    real.add_keys(keys)
    nodes = (next(pages) - ROOT) // PAGE
    assert nodes == 128 + 1 + 4, "bit pages, one table above them, and the way down from the root"
    assert np.array_equal(np.concatenate(list(walk(reader(memory), ROOT, 1000))), keys)


def test_a_tree_that_leads_into_itself_ends() -> None:
    memory = PhysicalMemory()
    memory.write(ROOT, ROOT.to_bytes(8, "little") * 512)
    with pytest.raises(OverflowError):
        for _ in walk(reader(memory), ROOT, 1000):
            pass
