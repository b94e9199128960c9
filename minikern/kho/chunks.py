"""The map of preserved memory of kho-v1: bitmaps by order, listed in a chain of pages that is written at the end.

Source: kernel/kexec_handover.c:kho_mem_serialize(), kho_mem_deserialize() @ v6.16
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from hw.units import PAGE_SHIFT, PAGE_SIZE
from minikern.kho.radix import Keys, Memory, encode_key, find_bits, set_bits
from minikern.state.kho_abi import CHUNK_BITMAP, CHUNK_HEAD, PRESERVE_BITS, PRESERVE_BYTES

BITMAPS_A_CHUNK = (PAGE_SIZE - CHUNK_HEAD.size) // CHUNK_BITMAP.size
BITS_LOG2 = PRESERVE_BITS.bit_length() - 1


def serialize(memory: Memory, numbers: Sequence[tuple[int, Keys]], alloc: Callable[[int], int]) -> int:
    """Write the map of blocks given by order as ascending numbers (pfn >> order); the address of the first chunk.

    ``alloc(bytes)`` gives zeroed memory. 0: there is nothing to write.
    """
    first = before = 0
    for order, blocks in sorted(numbers, key=lambda item: item[0]):
        rows = [CHUNK_BITMAP.pack(*row) for row in _bitmaps(memory, order, blocks, alloc)]
        for start in range(0, len(rows), BITMAPS_A_CHUNK):
            part = rows[start : start + BITMAPS_A_CHUNK]
            chunk = alloc(PAGE_SIZE)
            memory.write(chunk, CHUNK_HEAD.pack(0, order, len(part)) + b"".join(part))
            if before:
                memory.write(before, chunk.to_bytes(8, "little"))
            first, before = first or chunk, chunk
    return first


def _bitmaps(memory: Memory, order: int, blocks: Keys, alloc: Callable[[int], int]) -> Iterator[tuple[int, int]]:
    groups = blocks >> np.uint64(BITS_LOG2)
    borders = [0, *(np.flatnonzero(groups[1:] != groups[:-1]) + 1).tolist(), len(blocks)]
    for start, end in pairwise(borders):
        if start < end:
            bits = np.zeros(PRESERVE_BYTES // 8, dtype=np.uint64)
            set_bits(bits, blocks, start, end, PRESERVE_BITS - 1)
            place = alloc(PRESERVE_BYTES)
            memory.write(place, bits.astype("<u8").tobytes())
            yield int(groups[start]) * PRESERVE_BITS << order + PAGE_SHIFT, place


def walk_chunks(read: Callable[[int, int], bytes], first: int, max_chunks: int) -> Iterator[Keys]:
    """The blocks of a map as keys (see radix), a bitmap at a time; ``read(address, bytes)`` gives memory.

    OverflowError: the chain has more than ``max_chunks`` pages, so it leads into itself.
    """
    out: npt.NDArray[np.uint64] = np.empty(PRESERVE_BITS, dtype=np.uint64)
    chunk, seen = first, 0
    while chunk:
        seen += 1
        if seen > max_chunks:
            raise OverflowError("a chain of preserved memory without end")
        page = read(chunk, PAGE_SIZE)
        following, order, count = CHUNK_HEAD.unpack_from(page)
        for index in range(min(count, BITMAPS_A_CHUNK)):
            start, place = CHUNK_BITMAP.unpack_from(page, CHUNK_HEAD.size + index * CHUNK_BITMAP.size)
            words = np.frombuffer(read(place, PRESERVE_BYTES), dtype="<u8").astype(np.uint64)
            base = np.uint64(encode_key(start, order))
            yield out[: find_bits(words, base, out)].copy()
        chunk = following
