"""Writing ``struct page``: small JIT kernels over rows of eight words, and the algorithms by name.

An algorithm fills rows as ``__init_single_page()`` does: ``algorithm(words, flags, lru)`` where ``words`` is (n, 8)
64-bit words of consecutive pages, ``flags`` the node and zone links, and ``lru`` the virtual address of the first
page's ``lru`` field, which is its own content and grows by 64 from page to page.
Source: mm/mm_init.c:__init_single_page() @ v6.12
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from hw.errors import InputError
from minikern.host import jit as _jit
from minikern.host.jit import jit
from minikern.mm.page.page_stream import stream, stream_free_blocks
from minikern.mm.page.struct_page import Words

Algorithm = Callable[[Words, np.uint64, np.uint64], None]

_ROW_BYTES = 64  # one row is one cache line; also the alignment the vector store wants


@jit
def init_linux(words: Words, flags: np.uint64, lru: np.uint64) -> None:
    """Zero the row, then set the fields that are not zero."""
    zero, step = np.uint64(0), np.uint64(64)
    counts = np.uint64(0x00000001FFFFFFFF)  # _mapcount -1, _refcount 1
    for i in range(words.shape[0]):
        for j in range(8):
            words[i, j] = zero
        words[i, 0] = flags
        words[i, 6] = counts
        words[i, 1] = lru
        words[i, 2] = lru
        lru += step


@jit
def init_fused(words: Words, flags: np.uint64, lru: np.uint64) -> None:
    """Each word of the row written once, by ordinary stores."""
    zero, step = np.uint64(0), np.uint64(64)
    counts = np.uint64(0x00000001FFFFFFFF)
    for i in range(words.shape[0]):
        words[i, 0] = flags
        words[i, 1] = lru
        words[i, 2] = lru
        words[i, 3] = zero
        words[i, 4] = zero
        words[i, 5] = zero
        words[i, 6] = counts
        words[i, 7] = zero
        lru += step


def can_stream(words: Words) -> bool:
    """True if rows can be stored past the cache: compiled code, and every row a cache line of its own."""
    return not _jit.DISABLED and words.ctypes.data % _ROW_BYTES == 0 and words.flags.c_contiguous


def store_image(words: Words, flags: int, lru: int, counts: int, head: int | None = None, mapping: int = 0) -> None:
    """Store whole pages of one kind: ``lru`` points at itself, or with ``head`` lru.next is the compound-head link.

    ``counts`` is word 6; index, private and memcg_data are 0. Rows are stored past the cache.
    """
    nxt, step = (lru, 64) if head is None else (head | 1, 0)
    if len(words) == 1:  # as the head of each huge page: not worth a call into compiled code
        words[0] = (flags, nxt, lru, mapping, 0, 0, counts, 0)
    elif not can_stream(words):
        _store_plain(words, flags, nxt, step, lru, mapping, counts)
    else:
        u64 = np.uint64
        stream(words, u64(flags), u64(nxt), u64(step), u64(lru), u64(mapping), u64(counts))


def _store_plain(words: Words, flags: int, nxt: int, step: int, prev: int, mapping: int, counts: int) -> None:
    offsets = np.arange(len(words), dtype=np.uint64)
    words[:, 0] = np.uint64(flags)
    words[:, 1] = np.uint64(nxt) + offsets * np.uint64(step)
    words[:, 2] = np.uint64(prev) + offsets * np.uint64(64)
    words[:, 3] = np.uint64(mapping)
    words[:, 4:6] = np.uint64(0)
    words[:, 6] = np.uint64(counts)
    words[:, 7] = np.uint64(0)


def init_nontemporal(words: Words, flags: np.uint64, lru: np.uint64) -> None:
    """One full cache line a page, stored past the cache: nothing is read from memory and no cached line is lost."""
    store_image(words, int(flags), int(lru), 0x00000001FFFFFFFF)


@jit
def set_flags(words: Words, mask: np.uint64) -> None:
    """Set flag bits of every page."""
    for i in range(words.shape[0]):
        words[i, 0] |= mask


@jit
def free_pages(words: Words, keep: np.uint64, lru: np.uint64) -> int:
    """Keep only the flag bits in ``keep`` and set _refcount to 0; returns the first row that was no initialised page.

    -1 if all were: ``lru`` pointing at itself and _mapcount -1. Source: mm/page_alloc.c:__free_pages_core() @ v6.12
    """
    step, counts = np.uint64(64), np.uint64(0xFFFFFFFF)
    wrong = -1
    for i in range(words.shape[0]):
        if wrong < 0 and (words[i, 1] != lru or words[i, 6] & counts != counts):
            wrong = i
        words[i, 0] &= keep
        words[i, 6] = counts
        lru += step
    return wrong


@jit
def init_and_free(words: Words, flags: np.uint64, lru: np.uint64, pfn: int, run: int) -> None:
    """Initialise pages and free them in Linux's order: two passes over each run up to a multiple of ``run`` pfns.

    The second pass finds its lines in the cache. Source: mm/mm_init.c:deferred_init_maxorder() @ v6.12
    """
    free = np.uint64(0xFFFFFFFF)
    n = words.shape[0]
    start = 0
    while start < n:
        end = min(n, start + run - (pfn + start) % run)
        init_linux(words[start:end], flags, lru)
        for i in range(start, end):
            words[i, 6] = free
        lru += np.uint64(64 * (end - start))
        start = end


def init_free_blocks(words: Words, flags: int, lru: int, pfn: int, order: int, head_type: int) -> None:
    """What :func:`init_and_free` and :func:`set_heads` leave, stored at once and past the cache.

    Nobody can see a deferred page before its block is on a free list, so the passes may be one. Heads are the first
    pages of whole blocks of 2**``order`` pages; ``head_type`` is their page_type.
    """
    blocks = 1 << order
    first = -pfn % blocks
    whole = max(0, len(words) - first) // blocks * blocks
    split = first + whole if whole else 0  # rows after the last whole block have no head
    u64 = np.uint64
    head = words[:split]
    if len(head):
        stream_free_blocks(head, u64(flags), u64(lru), first, blocks, u64(order), u64(head_type))
    if split < len(words):
        store_image(words[split:], flags, lru + 64 * split, 0xFFFFFFFF)


@jit
def set_heads(words: Words, first: int, step: int, order: np.uint64, page_type: np.uint64) -> None:
    """Make every ``step``-th page from row ``first`` the head of a free block: page_type and private = order."""
    high = np.uint64(0xFFFFFFFF00000000)
    for i in range(first, words.shape[0], step):
        words[i, 5] = order
        words[i, 6] = (words[i, 6] & high) | page_type


@jit
def prep_compound_tails(words: Words, link: np.uint64, mapping: np.uint64) -> None:
    """Make initialised pages tails, in Linux's order of effects: poisoned mapping, head link, frozen reference.

    ``link`` is the head's address with bit 0 set. Source: mm/page_alloc.c:prep_compound_tail() @ v6.12
    """
    low = np.uint64(0xFFFFFFFF)
    for i in range(words.shape[0]):
        words[i, 3] = mapping
        words[i, 1] = link
        words[i, 5] = np.uint64(0)
        words[i, 6] &= low


@jit
def get_page_bootmem(words: Words, first_info: int, frame: int, kind: np.uint64, private: np.uint64) -> None:
    """Mark pages that hold the memory map: type in index, section in private, one more reference.

    Row 0 is frame number ``frame`` of section ``first_info``; each section has 512. Source: mm/bootmem_info.c @ v6.12
    """
    one = np.uint64(1 << 32)
    for i in range(words.shape[0]):
        words[i, 4] = kind
        words[i, 5] = np.uint64(first_info + (frame + i) // 512)
        words[i, 0] |= private
        words[i, 6] += one


ALGORITHMS: Mapping[str, Algorithm] = MappingProxyType(
    {"nontemporal": init_nontemporal, "fused": init_fused, "linux": init_linux}
)
"""Built-in algorithms by name, the default first."""


def algorithm(name: str = "") -> Algorithm:
    """The algorithm called ``name``; empty means the default. InputError lists the known ones."""
    if not name:
        return next(iter(ALGORITHMS.values()))
    if name not in ALGORITHMS:
        raise InputError(f"unknown struct-page kernel {name!r}: expected one of {', '.join(ALGORITHMS)}")
    return ALGORITHMS[name]
