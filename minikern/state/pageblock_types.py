"""Migrate types by pageblock. Source: mm/page_alloc.c:set_pageblock_migratetype() @ v6.12"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, overload

import numpy as np
import numpy.typing as npt

LEAF = 1 << 12  # pageblocks, 8 GiB of memory
Types = npt.NDArray[np.uint8]


class PageblockTypes:
    """The types of ``blocks`` pageblocks, 0 at first, read and written like an array of bytes.

    On a large machine nearly all have one type, and 64 TiB are 32 million: a leaf all of one type is kept as that type.
    """

    def __init__(self, blocks: int) -> None:
        self._blocks = blocks
        self._leaves: list[int | Types] = [0] * -(-blocks // LEAF)

    def __len__(self) -> int:
        return self._blocks

    @overload
    def __getitem__(self, where: int) -> int: ...
    @overload
    def __getitem__(self, where: slice) -> Types: ...
    def __getitem__(self, where: int | slice) -> int | Types:
        """One block's type, or a copy of those of a stretch. IndexError: there is no such block."""
        if isinstance(where, slice):
            start, stop, step = where.indices(self._blocks)
            found = np.empty(max(stop - start, 0), dtype=np.uint8)
            for number, low, high in _parts(start, stop):
                leaf, at = self._leaves[number], number * LEAF + low - start
                found[at : at + high - low] = leaf if isinstance(leaf, int) else leaf[low:high]
            return found[::step]
        leaf = self._leaves[self._place(where) // LEAF]
        return leaf if isinstance(leaf, int) else int(leaf[where % LEAF])

    def __setitem__(self, where: int | slice, migratetype: int) -> None:
        """Give one block, or a stretch of neighbours, a type. IndexError: there is no such block."""
        if isinstance(where, slice):
            start, stop, _ = where.indices(self._blocks)
        else:
            start, stop = self._place(where), where + 1
        for number, low, high in _parts(start, stop):
            leaf = self._leaves[number]
            if high - low == LEAF:
                self._leaves[number] = migratetype
            elif isinstance(leaf, int) and leaf != migratetype:
                leaf = self._leaves[number] = np.full(LEAF, leaf, dtype=np.uint8)
            if not isinstance(leaf, int) and high - low < LEAF:
                leaf[low:high] = migratetype

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """All types, one after the other."""
        return self[:].astype(dtype or np.uint8)

    def _place(self, block: int) -> int:
        if not 0 <= block < self._blocks:
            raise IndexError(f"pageblock {block}: there are {self._blocks}")
        return block


def _parts(start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """A stretch by leaves: leaf, its first block and one after its last, counted from the leaf's own first."""
    while start < stop:
        number, low = divmod(start, LEAF)
        high = min(LEAF, low + stop - start)
        yield number, low, high
        start += high - low
