"""Memory of this computer for the memory map: taken, given back in part, and kept for the next boot."""

from __future__ import annotations

import contextlib
import mmap
from functools import cache
from threading import Lock

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]  # rows of eight

HOST_HUGE_BYTES = 2 << 20


class Arena:
    """Anonymous memory of this computer, filled with zeros on first touch."""

    def __init__(self, size: int) -> None:
        # Private: huge pages and giving memory back do not work on shared anonymous memory, which is the default.
        private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
        self._map = mmap.mmap(-1, size, **private)
        self.size = size
        # A gigantic page's map may have one page touched of 4096: huge pages only where much is written.
        self._advise("MADV_NOHUGEPAGE", 0, size)

    def _advise(self, name: str, start: int, size: int) -> None:
        if hasattr(mmap, name):
            with contextlib.suppress(OSError):  # a kernel without transparent huge pages serves small ones
                self._map.madvise(getattr(mmap, name), start, size)

    def want_huge(self, start: int, size: int) -> None:
        """Serve [start, start + size) bytes from huge pages of this computer if it is large and will be written."""
        if size >= HOST_HUGE_BYTES:
            low = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
            self._advise("MADV_HUGEPAGE", low, (start + size - low) // mmap.PAGESIZE * mmap.PAGESIZE)

    def words(self, slots: int) -> Words:
        """The first ``slots`` rows of eight words."""
        return np.frombuffer(self._map, dtype=np.uint64, count=slots * 8).reshape(slots, 8)

    def release(self, start: int, size: int) -> bool:
        """Give host memory back; True if this host can. Bytes read as zero afterwards."""
        if not hasattr(mmap, "MADV_DONTNEED") or start % mmap.PAGESIZE or size % mmap.PAGESIZE:
            return False
        self._map.madvise(mmap.MADV_DONTNEED, start, size)
        return True


class ArenaPool:
    """Keeps the last arena for the next boot of the same process, so that its memory need not be faulted in again."""

    def __init__(self) -> None:
        self._spare: Arena | None = None
        self._lock = Lock()

    def take(self, size: int) -> Arena:
        """An arena of at least ``size`` bytes; its content is left over from whoever had it."""
        with self._lock:
            spare, self._spare = self._spare, None
        if spare is not None and size <= spare.size <= 2 * size:
            return spare
        del spare  # before the new one is made: both together might not fit
        return Arena(size)

    def give_back(self, arena: Arena) -> None:
        """Keep ``arena`` for the next boot."""
        with self._lock:
            self._spare = arena


@cache
def arena_pool() -> ArenaPool:
    """The pool of this process."""
    return ArenaPool()
