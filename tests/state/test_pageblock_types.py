from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minikern.state.pageblock_types import LEAF, PageblockTypes

BLOCKS = 2 * LEAF + 100
EDGES = st.one_of(st.integers(0, BLOCKS), st.sampled_from([0, LEAF, 2 * LEAF, BLOCKS]))


@given(st.lists(st.tuples(EDGES, EDGES, st.integers(0, 4)), max_size=8), EDGES, EDGES, st.integers(1, 3))
def test_reads_like_an_array(writes: list[tuple[int, int, int]], low: int, high: int, step: int) -> None:
    types, plain = PageblockTypes(BLOCKS), np.zeros(BLOCKS, dtype=np.uint8)
    for start, stop, kind in writes:
        types[start:stop] = plain[start:stop] = kind
        if start < BLOCKS:
            types[start] = plain[start] = 4 - kind
    assert len(types) == BLOCKS
    assert np.array_equal(np.asarray(types), plain)
    assert np.array_equal(types[low:high:step], plain[low:high:step])
    assert [types[at] for at in (0, LEAF - 1, LEAF, BLOCKS - 1)] == plain[[0, LEAF - 1, LEAF, -1]].tolist()


def test_no_such_block() -> None:
    types = PageblockTypes(3)
    with pytest.raises(IndexError, match="pageblock 3: there are 3"):
        types[3] = 1
    with pytest.raises(IndexError, match="pageblock -1"):
        types[-1]
