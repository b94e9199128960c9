"""The memory map as the kernel works on it: ranges of pfns in, kernels run over the rows that hold them.

Where the map holds the pages (see ``vmemmap``), later steps read and change what earlier ones wrote, as Linux does.
Where a window has lost them, a step stores the whole page as it would be by then.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from minikern.mm.page.mmzone import MAX_PAGE_ORDER
from minikern.mm.page.page_flags import PageFlags
from minikern.mm.page.page_kernels import (
    ALGORITHMS,
    Algorithm,
    can_stream,
    free_pages,
    get_page_bootmem,
    init_and_free,
    init_free_blocks,
    init_nontemporal,
    set_flags,
    set_heads,
    store_image,
)
from minikern.mm.page.struct_page import TAIL_MAPPING, W_COUNTS, W_FLAGS, W_PRIVATE, Words, counts_word
from minikern.mm.page.vmemmap import PageStateGone, Run, Vmemmap

INITIALISED = counts_word(-1, 1)
FREE = counts_word(-1, 0)
MAX_ORDER_NR_PAGES = 1 << MAX_PAGE_ORDER
SECTION_INFO = 12  # type of a page that holds memory map; Source: include/linux/bootmem_info.h @ v6.1

_LOW, _HIGH = np.uint64(0xFFFFFFFF), np.uint64(0xFFFFFFFF00000000)


class Links(NamedTuple):
    """Pages [start, end) that get the links of ``nid`` and ``zone``."""

    start: int
    end: int
    nid: int
    zone: int


class Task(NamedTuple):
    """Pages to initialise and free in one go, on any host thread: rows, and what goes into them."""

    run: Run
    words: Words
    flags: int
    lru: int


class PageMap:
    """``struct page`` operations on one boot's memory map."""

    def __init__(self, vmemmap: Vmemmap, flags: PageFlags, algorithm: Algorithm) -> None:
        self.vmemmap = vmemmap
        self.flags = flags
        self.algorithm = algorithm
        self.pages_written = 0
        self._links: list[Links] = []

    # which node and zone a pfn is linked to

    def add_links(self, start: int, end: int, nid: int, zone: int) -> None:
        """Pages [start, end) belong to ``nid`` and ``zone``, whether they are initialised now or later."""
        insort(self._links, Links(start, end, nid, zone))

    def links(self, start: int, end: int) -> Iterator[Links]:
        """[start, end) divided by node and zone; pfns that belong to none are left out."""
        at = max(bisect_right(self._links, start, key=lambda item: item.start) - 1, 0)
        while at < len(self._links) and self._links[at].start < end:
            item = self._links[at]
            low, high = max(start, item.start), min(end, item.end)
            if low < high:
                yield Links(low, high, item.nid, item.zone)
            at += 1

    def _runs(self, start: int, end: int) -> Iterator[tuple[Run, int]]:
        for item in self.links(start, end):
            flags = self.flags.links(item.nid, item.zone)
            for run in self.vmemmap.runs(item.start, item.end):
                yield run, flags

    def _lru(self, pfn: int) -> int:
        return self.vmemmap.address(pfn) + 8

    # steps of initialisation

    def init_range(self, start: int, end: int, reserved: bool = False) -> int:
        """Initialise every valid page of [start, end), setting PG_reserved too if asked; returns how many."""
        count = 0
        for run, flags in self._runs(start, end):
            flags |= self.flags.reserved if reserved else 0
            self.vmemmap.claim(run)
            self.algorithm(self.vmemmap.rows(run), np.uint64(flags), np.uint64(self._lru(run.pfn)))
            count += run.pages
        self.pages_written += count
        return count

    def reserve_range(self, start: int, end: int) -> int:
        """Set PG_reserved on every valid page of [start, end), initialised before; returns how many."""
        count = 0
        for run, flags in self._runs(start, end):
            words = self.vmemmap.rows(run)
            if self.vmemmap.holds(run):
                set_flags(words, np.uint64(self.flags.reserved))
            else:
                store_image(words, flags | self.flags.reserved, self._lru(run.pfn), INITIALISED)
                self._claim_lost(run)
            count += run.pages
        return count

    def free_range(self, start: int, end: int) -> int:
        """Clear PG_reserved and the reference of every page of [start, end); returns how many.

        Raises PageStateGone when a page that must be there was never initialised.
        """
        count = 0
        keep = np.uint64(~self.flags.reserved & (2**64 - 1))
        for run, flags in self._runs(start, end):
            words, lru = self.vmemmap.rows(run), self._lru(run.pfn)
            if self.vmemmap.holds(run):
                wrong = free_pages(words, keep, np.uint64(lru))
                if wrong >= 0:
                    raise PageStateGone(f"freeing pfn {run.pfn + wrong:#x}: expected an initialised struct page")
            else:
                store_image(words, flags, lru, FREE)
                self._claim_lost(run)
            count += run.pages
        return count

    def free_bootmem_range(self, start: int, end: int) -> int:
        """Pages of the boot-time memory map go back as if freshly initialised; returns how many.

        Source: include/linux/bootmem_info.h:free_bootmem_page() @ v6.12
        """
        count = 0
        for run, flags in self._runs(start, end):
            store_image(self.vmemmap.rows(run), flags, self._lru(run.pfn), FREE)
            self.vmemmap.claim(run)
            count += run.pages
        return count

    def bootmem_info(self, start: int, end: int, section: int) -> int:
        """Mark frames [start, end), which hold the map of the sections from ``section`` on; returns how many."""
        count = 0
        for run, flags in self._runs(start, end):
            words = self.vmemmap.rows(run)
            if not self.vmemmap.holds(run):
                store_image(words, flags | self.flags.reserved, self._lru(run.pfn), INITIALISED)
                self._claim_lost(run)
            private = np.uint64(self.flags.private)
            get_page_bootmem(words, section, run.pfn - start, np.uint64(SECTION_INFO), private)
            count += run.pages
        return count

    def _claim_lost(self, run: Run) -> None:
        if self.vmemmap.backing == "full":
            raise PageStateGone(f"pfn {run.pfn:#x} (and {run.pages - 1} after it): struct page was never initialised")
        self.vmemmap.claim(run)

    # deferred initialisation

    def deferred_tasks(self, start: int, end: int) -> list[Task]:
        """The work of initialising and freeing [start, end), claimed now and done by :meth:`run_task`."""
        tasks = []
        for run, flags in self._runs(start, end):
            self.vmemmap.claim(run)
            tasks.append(Task(run, self.vmemmap.rows(run), flags, self._lru(run.pfn)))
            self.pages_written += run.pages
        return tasks

    def run_task(self, task: Task) -> None:
        """Do a task: past the cache at once, or as Linux does, a maximal-order run after the other.

        An algorithm that is not built in is called once for each such run.
        """
        if self.algorithm is init_nontemporal and can_stream(task.words):
            kind = self.flags.buddy_type
            init_free_blocks(task.words, task.flags, task.lru, task.run.pfn, MAX_PAGE_ORDER, kind)
            return
        if self.algorithm in ALGORITHMS.values():
            init_and_free(task.words, np.uint64(task.flags), np.uint64(task.lru), task.run.pfn, MAX_ORDER_NR_PAGES)
        else:
            self._run_foreign(task)
        first = -task.run.pfn % MAX_ORDER_NR_PAGES
        whole = (task.run.pages - first) // MAX_ORDER_NR_PAGES * MAX_ORDER_NR_PAGES
        if whole > 0:
            self._heads(task.words[: first + whole], first, MAX_PAGE_ORDER)

    def _run_foreign(self, task: Task) -> None:
        keep, at = np.uint64(2**64 - 1), 0
        while at < task.run.pages:
            end = min(task.run.pages, at + MAX_ORDER_NR_PAGES - (task.run.pfn + at) % MAX_ORDER_NR_PAGES)
            lru = np.uint64(task.lru + 64 * at)
            self.algorithm(task.words[at:end], np.uint64(task.flags), lru)
            wrong = free_pages(task.words[at:end], keep, lru)
            if wrong >= 0:
                pfn = task.run.pfn + at + wrong
                raise PageStateGone(f"pfn {pfn:#x}: the algorithm left no initialised struct page")
            at = end

    # heads of free blocks

    def _heads(self, words: Words, first: int, order: int) -> None:
        set_heads(words, first, 1 << order, np.uint64(order), np.uint64(self.flags.buddy_type))

    def set_buddy_blocks(self, start: int, end: int, order: int) -> None:
        """Mark the heads of the free blocks of one order that fill [start, end), where the map holds them.

        Source: mm/page_alloc.c:set_buddy_order() @ v6.12
        """
        for run in self.vmemmap.runs(start, end):
            for piece, held in self.vmemmap.pieces(run):
                first = -piece.pfn % (1 << order)
                if held and first < piece.pages:
                    self._heads(self.vmemmap.rows(piece), first, order)

    def set_buddy(self, pfn: int, order: int) -> None:
        """Make one page the head of a free block."""
        row = self.vmemmap.row(pfn)
        if row is not None:
            row[W_PRIVATE] = np.uint64(order)
            row[W_COUNTS] = (row[W_COUNTS] & _HIGH) | np.uint64(self.flags.buddy_type)

    def clear_buddy(self, pfn: int) -> None:
        """The page is no head of a free block any more."""
        row = self.vmemmap.row(pfn)
        if row is not None:
            row[W_PRIVATE] = np.uint64(0)
            row[W_COUNTS] = row[W_COUNTS] | _LOW

    def set_private(self, start: int, end: int, step: int, value: int) -> None:
        """page->private of every ``step``-th page of [start, end), where the map holds it."""
        for run in self.vmemmap.runs(start, end):
            for piece, held in self.vmemmap.pieces(run):
                if held:
                    self.vmemmap.rows(piece)[(start - piece.pfn) % step :: step, W_PRIVATE] = np.uint64(value)

    def set_refcount(self, pfn: int, refcount: int) -> None:
        """_refcount of one page. Source: include/linux/page_ref.h:set_page_count() @ v6.12"""
        row = self.vmemmap.row(pfn)
        if row is not None:
            row[W_COUNTS] = (row[W_COUNTS] & _LOW) | np.uint64(refcount << 32)

    # compound pages

    def prep_tails(self, head: int, first: int, end: int) -> int:
        """Write tails ``first`` .. ``end``-1 of the compound page at pfn ``head``; returns how many.

        Each ends as a page initialised, without PG_reserved, linked to the head and with its reference frozen to 0.
        Source: mm/hugetlb.c:hugetlb_folio_init_tail_vmemmap(), mm/page_alloc.c:prep_compound_tail() @ v6.12
        """
        flags = self._flags_of(head)
        count = 0
        for run in self.vmemmap.runs(head + first, head + end):
            words = self.vmemmap.rows(run)
            store_image(words, flags, self._lru(run.pfn), FREE, head=self.vmemmap.address(head), mapping=TAIL_MAPPING)
            self.vmemmap.claim(run)
            count += run.pages
        self.pages_written += count
        return count

    def prep_head(self, head: int, order: int, private: int) -> None:
        """Write the head and what it keeps in its first tails. Layout of 6.12.

        Source: mm/hugetlb.c:hugetlb_folio_init_vmemmap(), mm/page_alloc.c:prep_compound_head() @ v6.12
        """
        run = next(self.vmemmap.runs(head, head + 1))
        flags = self._flags_of(head) | self.flags.head
        kind = self.flags.hugetlb_type
        counts = FREE if kind is None else counts_word(kind, 0)
        store_image(self.vmemmap.rows(run), flags, self._lru(head), counts)
        self.vmemmap.claim(run)
        self.vmemmap.rows(run)[0, W_PRIVATE] = np.uint64(private)
        self._prep_first_tails(head, order)

    def _prep_first_tails(self, head: int, order: int) -> None:
        one, two = self.vmemmap.row(head + 1), self.vmemmap.row(head + 2)
        if one is not None:
            one[W_FLAGS] = one[W_FLAGS] & np.uint64(2**64 - 256) | np.uint64(order)
            one[2] = np.uint64(2**64 - 1)  # _large_mapcount -1, _entire_mapcount -1
            one[3] = np.uint64(0)  # _nr_pages_mapped, _pincount
            one[4] = np.uint64(1 << order)  # _folio_nr_pages
        if two is not None:
            deferred_list = self.vmemmap.address(head + 2) + 16
            two[2] = two[3] = np.uint64(deferred_list)

    def _flags_of(self, pfn: int) -> int:
        item = next(self.links(pfn, pfn + 1))
        return self.flags.links(item.nid, item.zone)
