"""``struct page``: 64 bytes for each page of memory, declared once.

The table below gives the numpy dtype, its size assertion and the printed table. JIT kernels see the same bytes as
rows of eight little-endian 64-bit words: word 6 holds ``_mapcount`` in its low and ``_refcount`` in its high half.
Source: include/linux/mm_types.h:struct page @ v6.12
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hw.units import PAGE_SIZE

STRUCT_PAGE_SIZE = 64
STRUCT_PAGE_ORDER = 6
WORDS = STRUCT_PAGE_SIZE // 8
PAGES_PER_MEMMAP_PAGE = PAGE_SIZE // STRUCT_PAGE_SIZE  # struct pages in one page of the memory map

VMEMMAP_START_4LEVEL = 0xFFFFEA0000000000  # Source: Documentation/arch/x86/x86_64/mm.rst @ v6.12
VMEMMAP_START_5LEVEL = 0xFFD4000000000000  # same table

# Source: include/linux/list.h, poison.h:TAIL_MAPPING with CONFIG_ILLEGAL_POINTER_VALUE of x86-64 @ v6.12
TAIL_MAPPING = 0xDEAD000000000400

Words = npt.NDArray[np.uint64]
Pages = npt.NDArray[np.void]


class Field(NamedTuple):
    """One field: byte offset, numpy type, and what else lives in the same bytes."""

    name: str
    offset: int
    type: str
    other_uses: str = ""


FIELDS = (
    Field("flags", 0x00, "<u8", "node | zone | last_cpupid | page flags"),
    Field("lru_next", 0x08, "<u8", "compound_head of a tail (head + 1), buddy_list, pcp_list"),
    Field("lru_prev", 0x10, "<u8"),
    Field("mapping", 0x18, "<u8", "TAIL_MAPPING of a tail"),
    Field("index", 0x20, "<u8", "bootmem type of a page that holds boot-time data"),
    Field("private", 0x28, "<u8", "order of a free block, flags of a hugetlb page"),
    Field("mapcount", 0x30, "<i4", "page_type"),
    Field("refcount", 0x34, "<i4"),
    Field("memcg_data", 0x38, "<u8"),
)

STRUCT_PAGE: np.dtype[np.void] = np.dtype(
    {
        "names": [field.name for field in FIELDS],
        "formats": [field.type for field in FIELDS],
        "offsets": [field.offset for field in FIELDS],
        "itemsize": STRUCT_PAGE_SIZE,
    }
)
assert sum(np.dtype(field.type).itemsize for field in FIELDS) == STRUCT_PAGE_SIZE == STRUCT_PAGE.itemsize

# Words of a row, for kernels that see pages as (n, 8) 64-bit words.
W_FLAGS, W_LRU_NEXT, W_LRU_PREV, W_MAPPING, W_INDEX, W_PRIVATE, W_COUNTS, W_MEMCG = range(WORDS)


def as_pages(words: Words) -> Pages:
    """The rows of ``words`` seen as ``struct page`` records; the same memory."""
    view: Any = words.view(STRUCT_PAGE)
    return view.reshape(len(words))  # type: ignore[no-any-return]


def counts_word(mapcount: int, refcount: int) -> int:
    """``_mapcount`` (or page_type) and ``_refcount`` as one 64-bit word."""
    return (mapcount & 0xFFFFFFFF) | (refcount & 0xFFFFFFFF) << 32


def vmemmap_start(five_level: bool) -> int:
    """Virtual address of page 0's ``struct page``, without KASLR."""
    return VMEMMAP_START_5LEVEL if five_level else VMEMMAP_START_4LEVEL


def format_layout() -> str:
    """The layout as a table for people."""
    lines = [f"{'offset':>6} {'size':>4}  {'field':<11} other uses of the bytes"]
    for field in FIELDS:
        size = np.dtype(field.type).itemsize
        lines.append(f"{field.offset:#06x} {size:>4}  {field.name:<11} {field.other_uses}".rstrip())
    return "\n".join(lines)


def format_page(page: Any, pfn: int) -> str:
    """One ``struct page`` as one line of hexadecimal fields."""
    mask = {"<u8": 2**64 - 1, "<i4": 2**32 - 1}
    parts = (f"{field.name}={int(page[field.name]) & mask[field.type]:#x}" for field in FIELDS)
    return f"pfn {pfn:#x}: " + " ".join(parts)
