from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.errors import InputError
from minikern.host.arena import Arena
from minikern.mm.page import page_kernels as pk
from tests.naive_mm import VMEMMAP, flags_of, fresh_page, tail_page

U64 = np.uint64


def rows(count: int) -> np.ndarray:
    words = Arena(1 << 20).words(count)
    words[:] = U64(0xA5A5A5A5A5A5A5A5)
    return words


def lru(pfn: int) -> int:
    return VMEMMAP + pfn * 64 + 8


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(sorted(pk.ALGORITHMS)),
    st.integers(0, 2**34),
    st.integers(1, 70),
    st.integers(0, 63),
    st.integers(0, 4),
)
def test_algorithms_write_linux_s_bytes(name: str, pfn: int, count: int, nid: int, zone: int) -> None:
    words = rows(count)
    flags = flags_of(nid, zone)
    pk.algorithm(name)(words, U64(flags), U64(lru(pfn)))
    assert words.tobytes() == b"".join(fresh_page(pfn + i, flags) for i in range(count))


@pytest.mark.parametrize("name", sorted(pk.ALGORITHMS))
def test_algorithms_on_unaligned_memory(name: str) -> None:
    base = np.zeros(8 * 5 + 8, dtype=np.uint64)
    shift = next(n for n in range(8) if (base.ctypes.data + 8 * n) % 64)
    words = base[shift : shift + 40].reshape(5, 8)
    pk.algorithm(name)(words, U64(flags_of(0, 2)), U64(lru(3)))
    assert words.tobytes() == b"".join(fresh_page(3 + i, flags_of(0, 2)) for i in range(5))


def test_unknown_algorithm() -> None:
    assert pk.algorithm("") is pk.algorithm("nontemporal")
    with pytest.raises(InputError, match="'memset': expected one of nontemporal, fused, linux"):
        pk.algorithm("memset")


def test_tails() -> None:
    words = rows(63)
    flags = flags_of(1, 2)
    head = VMEMMAP + 512 * 64
    pk.store_image(words, flags, lru(513), 0xFFFFFFFF, head=head, mapping=0xDEAD000000000400)
    assert words.tobytes() == b"".join(tail_page(pfn, 512, flags) for pfn in range(513, 576))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 5000), st.integers(1, 2100))
def test_init_and_free_is_both_steps(pfn: int, count: int) -> None:
    fused = rows(count)
    pk.init_and_free(fused, U64(flags_of(0, 2)), U64(lru(pfn)), pfn, 1024)
    assert fused.tobytes() == b"".join(fresh_page(pfn + i, flags_of(0, 2), 0) for i in range(count))


def test_free_clears_reserved_and_reference() -> None:
    words = rows(100)
    flags = flags_of(0, 1)
    pk.algorithm()(words, U64(flags), U64(lru(1000)))
    pk.set_flags(words[10:20], U64(0x1000))
    assert words[10, 0] == flags | 0x1000
    assert pk.free_pages(words, U64(2**64 - 1 - 0x1000), U64(lru(1000))) == -1
    assert words.tobytes() == b"".join(fresh_page(1000 + i, flags, 0) for i in range(100))


@pytest.mark.parametrize(("word", "value"), [(1, 5), (6, 0x0000000100000000)])
def test_free_notices_what_was_no_page(word: int, value: int) -> None:
    words = rows(100)
    pk.algorithm()(words, U64(flags_of(0, 1)), U64(lru(0)))
    words[42, word] = value
    assert pk.free_pages(words, U64(2**64 - 1), U64(lru(0))) == 42


def test_heads_of_free_blocks() -> None:
    words = rows(64)
    pk.algorithm()(words, U64(0), U64(lru(8)))
    pk.set_heads(words, 8, 16, U64(4), U64(0xFFFFFF7F))
    heads = [i for i in range(64) if words[i, 6] != 0x00000001FFFFFFFF]
    assert heads == [8, 24, 40, 56]
    assert struct.unpack_from("<Iii", words[8].tobytes(), 0x30)[:2] == (0xFFFFFF7F, 1)
    assert words[8, 5] == 4
    assert words[9, 5] == 0


def test_bootmem_pages_count_sections() -> None:
    words = rows(1500)
    pk.algorithm()(words, U64(0), U64(lru(0)))
    pk.get_page_bootmem(words, 7, 100, U64(12), U64(1 << 13))
    assert words[:, 5].tolist() == [7 + (100 + i) // 512 for i in range(1500)]
    assert set(words[:, 6].tolist()) == {0x00000002FFFFFFFF}
    assert set(words[:, 4].tolist()) == {12}
    assert set(words[:, 0].tolist()) == {1 << 13}


def test_tails_in_linux_s_order_are_the_same() -> None:
    words, other = rows(63), rows(63)
    flags, head = flags_of(1, 2), VMEMMAP + 512 * 64
    pk.init_linux(words, U64(flags), U64(lru(513)))
    pk.prep_compound_tails(words, U64(head | 1), U64(0xDEAD000000000400))
    pk.store_image(other, flags, lru(513), 0xFFFFFFFF, head=head, mapping=0xDEAD000000000400)
    assert words.tobytes() == other.tobytes()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 5000), st.integers(1, 300), st.integers(0, 7))
def test_free_blocks_at_once_are_both_steps_and_heads(pfn: int, count: int, order: int) -> None:
    once, steps = rows(count), rows(count)
    flags = flags_of(0, 2)
    if pk.can_stream(once):
        pk.init_free_blocks(once, flags, lru(pfn), pfn, order, 0xFFFFFF7F)
        pk.init_and_free(steps, U64(flags), U64(lru(pfn)), pfn, 1024)
        first = -pfn % (1 << order)
        whole = max(0, count - first) >> order << order
        if whole:
            pk.set_heads(steps[: first + whole], first, 1 << order, U64(order), U64(0xFFFFFF7F))
        assert once.tobytes() == steps.tobytes()
