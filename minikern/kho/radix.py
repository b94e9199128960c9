"""The map of preserved memory since kho-v2: a radix tree in pages of physical memory, one bit a preserved block.

A block's key holds its order and its number; five levels of tables lead to a page of bits. Tables and bit pages are
read from and written to the emulated machine's memory, so that what is handed over is what lies there.
Source: kernel/liveupdate/kexec_handover.c:kho_radix_*(), include/linux/kho/abi/kexec_handover.h @ v7.2
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Protocol

import numpy as np
import numpy.typing as npt

from hw.errors import MachineStopped
from minikern.host.jit import jit
from minikern.state.kho_abi import PAGE_SIZE

PAGE_SHIFT = 12
ORDER_0_LOG2 = 64 - PAGE_SHIFT  # the bit of a key that stands for order 0; each order more takes the next lower one
BITMAP_LOG2 = 15  # bits of a page
TABLE_LOG2 = 9  # addresses of a page
MAX_DEPTH = 6
ADDRESS = np.dtype("<u8")

Keys = npt.NDArray[np.uint64]


class Memory(Protocol):
    """What a tree is kept in."""

    def read(self, addr: int, size: int) -> bytes:
        """Bytes at a physical address."""

    def write(self, addr: int, data: bytes) -> None:
        """Put bytes there."""


def encode_key(phys: int, order: int) -> int:
    """The key of the block of 2**order pages at ``phys``."""
    return 1 << (ORDER_0_LOG2 - order) | phys >> (PAGE_SHIFT + order)


def decode_key(key: int) -> tuple[int, int]:
    """(physical address, order) of a key; the address modulo 2**64, as the kernel's arithmetic has it.

    MachineStopped: its first bit lies above that of order 0, where the kernel would shift by less than nothing.
    """
    order = ORDER_0_LOG2 - key.bit_length() + 1
    if order < 0:
        why = f"its first bit is above {ORDER_0_LOG2}"
        raise MachineStopped(f"the key {key:#x} of preserved memory has no order: {why}")
    return (key << (PAGE_SHIFT + order)) & (2**64 - 1), order


def table_shift(level: int) -> int:
    """Right shift that makes a table's index of a key, at levels 1 to 5."""
    return BITMAP_LOG2 + TABLE_LOG2 * (level - 1)


@jit
def set_bits(bits: npt.NDArray[np.uint64], keys: Keys, first: int, end: int, mask: int) -> None:
    """Set the bits whose numbers are ``keys`` [first, end) modulo a power of two, of which ``mask`` is one less."""
    for i in range(first, end):
        bit = keys[i] & np.uint64(mask)
        bits[bit >> np.uint64(6)] |= np.uint64(1) << (bit & np.uint64(63))


@jit
def find_bits(bits: npt.NDArray[np.uint64], base: np.uint64, out: Keys) -> int:
    """Put ``base`` plus the number of each bit that is set into ``out``, ascending; returns how many."""
    count = 0
    for word in range(bits.shape[0]):
        rest = bits[word]
        at = base + np.uint64(64 * word)
        while rest != np.uint64(0):
            if rest & np.uint64(1):
                out[count] = at
                count += 1
            rest >>= np.uint64(1)
            at += np.uint64(1)
    return count


class RadixTree:
    """A tree whose root page lies at ``root``; ``get_zeroed_page`` gives the address of a page for a node."""

    def __init__(self, memory: Memory, root: int, get_zeroed_page: Callable[[], int]) -> None:
        self._memory = memory
        self.root = root
        self._get_zeroed_page = get_zeroed_page

    def add(self, phys: int, order: int) -> None:
        """Mark one block."""
        self.add_keys(np.array([encode_key(phys, order)], dtype=np.uint64))

    def add_keys(self, keys: Keys) -> None:
        """Mark blocks by their ascending keys, a page of bits at a time."""
        pages = keys >> np.uint64(BITMAP_LOG2)
        borders = [0, *(np.flatnonzero(pages[1:] != pages[:-1]) + 1).tolist(), len(keys)]
        for first, end in pairwise(borders):
            if first < end:
                leaf = self._leaf(int(keys[first]))
                bits = np.frombuffer(self._memory.read(leaf, PAGE_SIZE), dtype=ADDRESS).astype(np.uint64)
                set_bits(bits, keys, first, end, (1 << BITMAP_LOG2) - 1)
                self._memory.write(leaf, bits.astype(ADDRESS).tobytes())

    def _leaf(self, key: int) -> int:
        node = self.root
        for level in range(MAX_DEPTH - 1, 0, -1):
            at = node + 8 * (key >> table_shift(level) & (1 << TABLE_LOG2) - 1)
            below = int.from_bytes(self._memory.read(at, 8), "little")
            if not below:
                below = self._get_zeroed_page()
                self._memory.write(at, below.to_bytes(8, "little"))
            node = below
        return node


def blocks_of_range(start_pfn: int, end_pfn: int) -> Iterator[tuple[int, int]]:
    """[start, end) as the (pfn, order) of the blocks it is preserved in. Source: kho_preserve_pages() @ v7.2"""
    pfn = start_pfn
    while pfn < end_pfn:
        order = (end_pfn - pfn).bit_length() - 1
        if pfn:
            order = min(order, (pfn & -pfn).bit_length() - 1)
        yield pfn, order
        pfn += 1 << order


def walk(read: Callable[[int], bytes], root: int, max_nodes: int) -> Iterator[Keys]:
    """The keys of a tree in ascending order, a page of bits at a time; ``read`` gives the page at an address.

    Whatever ``read`` raises goes through. OverflowError: the tree has more than ``max_nodes`` pages, so it leads into
    itself.
    """
    out = np.empty(1 << BITMAP_LOG2, dtype=np.uint64)
    nodes = 0
    stack = [(root, MAX_DEPTH - 1, 0)]
    while stack:
        address, level, start = stack.pop()
        nodes += 1
        if nodes > max_nodes:
            raise OverflowError("a tree of preserved memory without end")
        words = np.frombuffer(read(address), dtype=ADDRESS).astype(np.uint64)
        if level == 0:
            yield out[: find_bits(words, np.uint64(start), out)].copy()
            continue
        used = np.flatnonzero(words)[::-1].tolist()
        stack += [(int(words[i]), level - 1, start | i << table_shift(level)) for i in used]


def runs(keys: Keys) -> Iterator[tuple[int, int]]:
    """Ascending keys as (first, how many that follow one another)."""
    breaks = np.flatnonzero(keys[1:] - keys[:-1] != np.uint64(1)) + 1
    borders = [0, *breaks.tolist(), len(keys)]
    for first, end in pairwise(borders):
        if first < end:
            yield int(keys[first]), end - first
