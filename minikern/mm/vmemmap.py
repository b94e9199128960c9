"""The memory map: where the ``struct page`` of a pfn lives on this computer, and whether its content still stands.

Linux maps 2 MiB of ``struct page`` for each present 128 MiB section. Here the present sections are laid side by side in
one arena (``full``), or written round and round into a smaller one (``window``) when the whole map would not fit into
this computer's memory: every ``struct page`` is computed and stored either way, but a window only remembers the last
ones. A pfn's place is ``index % slots``, its index counting pages of present sections.

Source: mm/sparse.c, mm/sparse-vmemmap.c @ v6.12
"""

from __future__ import annotations

import contextlib
import mmap
import weakref
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hw.errors import InputError
from minikern.mm.mmzone import PAGES_PER_SECTION
from minikern.mm.struct_page import (
    PAGES_PER_MEMMAP_PAGE,
    STRUCT_PAGE,
    STRUCT_PAGE_SIZE,
    VMEMMAP_START_4LEVEL,
    Words,
    vmemmap_start,
)

MIB = 1 << 20
WINDOW_BYTES = 128 * MIB
LLC_FALLBACK_BYTES = 64 * MIB
WINDOW_LIMIT_BYTES = 1024 * MIB
HOST_HUGE_BYTES = 2 * MIB
BACKINGS = ("auto", "full", "window")


class PageStateGone(InputError):  # noqa: N818 - the name says what happened
    """The content of a ``struct page`` was asked for that the window no longer holds, or that nobody wrote yet."""


class Run(NamedTuple):
    """Consecutive pages with consecutive places: ``pages`` pages from ``pfn`` at row ``slot``."""

    slot: int
    pfn: int
    pages: int


class Group(NamedTuple):
    """Neighbouring present sections: first pfn, first pfn after them, index of the first page."""

    start_pfn: int
    end_pfn: int
    first_index: int


class Memmap(NamedTuple):
    """Physical memory that holds the map of ``sections`` sections from ``section``: address of its first byte."""

    section: int
    sections: int
    phys: int


class HeldRanges:
    """Which rows hold what: disjoint intervals of rows, each with the lap (index // slots) that was written last."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._laps: list[int] = []

    def claim(self, start: int, end: int, lap: int) -> None:
        """Rows [start, end) now belong to ``lap``."""
        first = bisect_right(self._ends, start - 1)  # intervals that touch [start, end) or end where it starts
        last = first
        starts, ends, laps = [start], [end], [lap]
        while last < len(self._starts) and self._starts[last] <= end:
            s, e, old = self._starts[last], self._ends[last], self._laps[last]
            if old == lap:
                at = laps.index(lap)
                starts[at], ends[at] = min(starts[at], s), max(ends[at], e)
            else:
                if s < start:
                    starts.insert(0, s)
                    ends.insert(0, start)
                    laps.insert(0, old)
                if e > end:
                    starts.append(end)
                    ends.append(e)
                    laps.append(old)
            last += 1
        self._starts[first:last], self._ends[first:last], self._laps[first:last] = starts, ends, laps

    def covers(self, start: int, end: int, lap: int) -> bool:
        """True if all rows of [start, end) belong to ``lap``."""
        while start < end:
            at = bisect_right(self._starts, start) - 1
            if at < 0 or self._ends[at] <= start or self._laps[at] != lap:
                return False
            start = self._ends[at]
        return True

    def pieces(self, start: int, end: int, lap: int) -> Iterator[tuple[int, int, bool]]:
        """[start, end) cut where it begins or ceases to belong to ``lap``: (start, end, belongs)."""
        while start < end:
            at = bisect_right(self._starts, start) - 1
            inside = at >= 0 and start < self._ends[at]
            held = inside and self._laps[at] == lap
            stop = self._ends[at] if inside else (self._starts[at + 1] if at + 1 < len(self._starts) else end)
            yield start, min(stop, end), held
            start = stop

    def intervals(self) -> Iterator[tuple[int, int, int]]:
        """(start, end, lap), ascending."""
        return zip(self._starts, self._ends, self._laps, strict=True)

    def check(self) -> None:
        """Invariants: not empty, ascending, disjoint, equal neighbours joined."""
        previous_end, previous_lap = -1, -1
        for start, end, lap in self.intervals():
            assert start < end, f"empty interval at row {start}"
            assert start >= previous_end, f"row {start} is in two intervals"
            assert start > previous_end or lap != previous_lap, f"intervals at row {start} were not joined"
            previous_end, previous_lap = end, lap


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


class Vmemmap:
    """The memory map of one boot.

    ``sections`` are the present section numbers, ``slots`` how many ``struct page`` the arena holds (at most as many
    as there are pages in present sections), ``start`` the virtual address of page 0's ``struct page``.
    """

    def __init__(self, sections: Iterable[int], start: int = VMEMMAP_START_4LEVEL, slots: int | None = None) -> None:
        self.start = start
        self.sections = sorted(set(sections))
        self.total = len(self.sections) * PAGES_PER_SECTION
        if not self.sections:
            raise InputError("the memory map has no present section: expected some memory, came none")
        if slots is not None and (slots <= 0 or slots % PAGES_PER_SECTION):
            raise InputError(f"window of {slots} struct pages: expected a positive multiple of {PAGES_PER_SECTION}")
        self.slots = self.total if slots is None else min(slots, self.total)
        self.backing = "full" if self.slots == self.total else "window"
        self.groups = _groups(self.sections)
        self._group_starts = [group.start_pfn for group in self.groups]
        self.arena = arena_pool().take(self.slots * STRUCT_PAGE_SIZE)
        if self.backing == "window":
            self.arena.want_huge(0, self.slots * STRUCT_PAGE_SIZE)
        self.words = self.arena.words(self.slots)
        self.held = HeldRanges()
        self.memmaps: list[Memmap] = []
        self.bootmem_registered = False
        self._folded: dict[int, set[int]] = {}
        # The arena goes to the next boot only when nobody can look at this map any more.
        self._closer = weakref.finalize(self, arena_pool().give_back, self.arena)

    def close(self) -> None:
        """Give the arena to the next boot of this process; afterwards the map holds nothing. Happens by itself too."""
        self.words = np.empty((0, 8), dtype=np.uint64)
        self.held = HeldRanges()
        self._closer()

    @property
    def section_slot(self) -> npt.NDArray[np.int64]:
        """Row of each section's first page, by section number; -1 for absent sections."""
        table = np.full(self.sections[-1] + 1, -1, dtype=np.int64)
        indices = np.arange(len(self.sections), dtype=np.int64) * PAGES_PER_SECTION
        table[self.sections] = indices % self.slots
        return table

    def pfn_valid(self, pfn: int) -> bool:
        """True if the pfn lies in a present section. Source: include/linux/mmzone.h:pfn_valid() @ v6.12"""
        return self._group(pfn) is not None

    def address(self, pfn: int) -> int:
        """Virtual address of the ``struct page``."""
        return self.start + pfn * STRUCT_PAGE_SIZE

    def valid_ranges(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The parts of [start, end) that lie in present sections."""
        at = max(bisect_right(self._group_starts, start) - 1, 0)
        for group in self.groups[at:]:
            if group.start_pfn >= end:
                return
            low, high = max(start, group.start_pfn), min(end, group.end_pfn)
            if low < high:
                yield low, high

    def runs(self, start: int, end: int) -> Iterator[Run]:
        """[start, end) as stretches of consecutive rows; pfns in absent sections are left out."""
        for low, high in self.valid_ranges(start, end):
            index = self._index(low)
            while low < high:
                slot = index % self.slots
                count = min(high - low, self.slots - slot)
                yield Run(slot, low, count)
                low, index = low + count, index + count

    def rows(self, run: Run) -> Words:
        """The words of a run."""
        return self.words[run.slot : run.slot + run.pages]

    def claim(self, run: Run) -> None:
        """Record that a run is (about to be) written whole."""
        if self.backing == "full":
            self.arena.want_huge(run.slot * STRUCT_PAGE_SIZE, run.pages * STRUCT_PAGE_SIZE)
        self.held.claim(run.slot, run.slot + run.pages, self._index(run.pfn) // self.slots)

    def holds(self, run: Run) -> bool:
        """True if the content of every page of the run was written during this boot and is still there."""
        return self.held.covers(run.slot, run.slot + run.pages, self._index(run.pfn) // self.slots)

    def pieces(self, run: Run) -> Iterator[tuple[Run, bool]]:
        """A run cut into what is held and what is not."""
        lap = self._index(run.pfn) // self.slots
        for start, end, held in self.held.pieces(run.slot, run.slot + run.pages, lap):
            yield Run(start, run.pfn + start - run.slot, end - start), held

    def row(self, pfn: int) -> Words | None:
        """The eight words of one page for writing, None if its content is not held (or folded away)."""
        group = self._group(pfn)
        if group is None or self._head_of_folded(pfn) is not None:
            return None
        index = group.first_index + pfn - group.start_pfn
        slot = index % self.slots
        return self.words[slot] if self.held.covers(slot, slot + 1, index // self.slots) else None

    def page(self, pfn: int) -> np.void:
        """A copy of one ``struct page``; a folded tail reads what the page table maps in its place.

        Raises PageStateGone when the pfn is in no present section, was not written yet, or left the window.
        """
        if not self.pfn_valid(pfn):
            raise PageStateGone(f"pfn {pfn:#x} lies in no present section")
        head = self._head_of_folded(pfn)
        row = self.row(pfn if head is None else head + pfn % PAGES_PER_MEMMAP_PAGE)
        if row is None:
            why = "was never initialised" if self.backing == "full" else "is not in the window (any more)"
            raise PageStateGone(f"struct page of pfn {pfn:#x} {why}")
        record: np.void = row.copy().view(STRUCT_PAGE)[0]
        return record

    def fold(self, head_pfn: int, order: int) -> bool:
        """Let all but the first 64 ``struct page`` of a block alias those; True if host memory was released.

        Source: mm/hugetlb_vmemmap.c:vmemmap_remap_free() @ v6.12
        """
        self._folded.setdefault(order, set()).add(head_pfn >> order)
        tails = (1 << order) - PAGES_PER_MEMMAP_PAGE
        if self.backing != "full":
            return False
        run = next(self.runs(head_pfn + PAGES_PER_MEMMAP_PAGE, head_pfn + (1 << order)))
        return run.pages == tails and self.arena.release(run.slot * STRUCT_PAGE_SIZE, tails * STRUCT_PAGE_SIZE)

    def folded_head(self, pfn: int) -> int | None:
        """Head of the folded block whose tail ``pfn`` is, None for pages with a ``struct page`` of their own."""
        return self._head_of_folded(pfn)

    def _head_of_folded(self, pfn: int) -> int | None:
        for order, blocks in self._folded.items():
            if pfn >> order in blocks and pfn & ((1 << order) - 1) >= PAGES_PER_MEMMAP_PAGE:
                return pfn >> order << order
        return None

    def _group(self, pfn: int) -> Group | None:
        at = bisect_right(self._group_starts, pfn) - 1
        return self.groups[at] if at >= 0 and pfn < self.groups[at].end_pfn else None

    def _index(self, pfn: int) -> int:
        group = self._group(pfn)
        if group is None:
            raise PageStateGone(f"pfn {pfn:#x} lies in no present section")
        return group.first_index + pfn - group.start_pfn


def vmemmap_init(k: Any, memmaps: Sequence[Memmap]) -> None:
    """Set ``k.vmemmap``: an arena for the map of the sections that ``sparse_init`` found.

    ``k.options.vmemmap`` chooses the backing. Raises InputError for an unknown one, or without any section.
    """
    sections = [entry.section + offset for entry in memmaps for offset in range(entry.sections)]
    slots = choose_slots(len(sections), k.options.vmemmap)
    k.vmemmap = Vmemmap(sections, vmemmap_start(k.pgtable_l5_enabled()), slots)
    k.vmemmap.memmaps = list(memmaps)


def _groups(sections: list[int]) -> list[Group]:
    groups: list[Group] = []
    for at, section in enumerate(sections):
        start = section * PAGES_PER_SECTION
        if groups and groups[-1].end_pfn == start:
            groups[-1] = groups[-1]._replace(end_pfn=start + PAGES_PER_SECTION)
        else:
            groups.append(Group(start, start + PAGES_PER_SECTION, at * PAGES_PER_SECTION))
    return groups


def choose_slots(sections: int, backing: str) -> int | None:
    """How many ``struct page`` to hold for a map of ``sections``; None means all.

    ``auto`` keeps the whole map when it fits into a quarter of the memory this computer has available.
    Raises InputError for an unknown backing.
    """
    if backing not in BACKINGS:
        raise InputError(f"unknown memory-map backing {backing!r}: expected one of {', '.join(BACKINGS)}")
    size = sections * PAGES_PER_SECTION * STRUCT_PAGE_SIZE
    if backing == "full" or (backing == "auto" and size <= available_bytes() // 4):
        return None
    return window_bytes() // STRUCT_PAGE_SIZE


def available_bytes() -> int:
    """Memory of this computer that new work may use; 1 GiB where the host does not say."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                return int(value.split()[0]) * 1024
    return 1024 * MIB


def window_bytes() -> int:
    """Size of the window: more than the last-level cache, or writing it would not be writing memory."""
    wanted = WINDOW_BYTES
    while wanted <= last_level_cache_bytes() and wanted < WINDOW_LIMIT_BYTES:
        wanted *= 2
    return wanted


def last_level_cache_bytes() -> int:
    """Largest cache of CPU 0, 64 MiB where the host does not say."""
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    sizes = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            text = path.read_text(encoding="ascii").strip()
            sizes.append(int(text[:-1]) * units[text[-1]])
    return max(sizes, default=LLC_FALLBACK_BYTES)
