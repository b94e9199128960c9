"""kimage: the loaded image as a list in memory that says which page goes where.

An entry is a 64-bit word, a page address with flags in its low bits. The list and the pages it names live in emulated
memory; source pages are chosen so that no page is overwritten before it was moved.
Source: include/linux/kexec.h, kernel/kexec_core.c @ v6.12
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence

from hw.memory import PhysicalMemory
from hw.units import PAGE_SIZE
from minikern.kexec.errors import KexecError
from minikern.kexec.segments import Segment

IND_DESTINATION, IND_INDIRECTION, IND_DONE, IND_SOURCE = 1, 2, 4, 8
PAGE_MASK = ~(PAGE_SIZE - 1)
ENTRY_BYTES = 8
KIMAGE_NO_DEST = -1
PIECE_BYTES = 1 << 20  # copied at a time
SOURCE_MEMORY_LIMIT = 1 << 46  # Source: arch/x86/include/asm/kexec.h, KEXEC_SOURCE_MEMORY_LIMIT


def load_in_place(memory: PhysicalMemory, segment: Segment) -> None:
    """Copy a segment to where it will run, zeros behind its bytes."""
    memory.clear(segment.mem, segment.memsz)
    view = memoryview(segment.buf)[: segment.bufsz]
    for offset in range(0, segment.bufsz, PIECE_BYTES):
        memory.write(segment.mem + offset, bytes(view[offset : offset + PIECE_BYTES]))


class Kimage:
    """An image being built, then finished. ``free_pages`` gives page addresses of the running kernel, each once."""

    def __init__(
        self,
        memory: PhysicalMemory,
        segments: Sequence[Segment],
        start: int,
        free_pages: Iterator[int],
        limit: int = SOURCE_MEMORY_LIMIT,
    ) -> None:
        self.memory = memory
        self.segments = list(segments)
        self.start = start
        self.head = 0
        self._free = free_pages
        self._limit = limit
        self._bounds = sorted((segment.mem, segment.end) for segment in segments)
        self._starts = [start for start, _ in self._bounds]
        self._entry = -1  # address of the newest entry, -1: it is the head
        self._last_entry = -1
        self._parked: dict[int, None] = {}  # destination pages got too early
        self._unusable: list[int] = []
        self._used: dict[int, int] = {}  # destination -> address of its SOURCE entry
        self.control_page = self._alloc_control_page()
        self.swap_page = self._alloc_control_page()

    # -- pages --------------------------------------------------------------------------------------------------------

    def is_destination(self, page: int) -> bool:
        """True if the page at this address will be written by the relocation."""
        at = bisect_right(self._starts, page)
        return at > 0 and page < self._bounds[at - 1][1]

    def _alloc_control_page(self) -> int:
        # Control pages keep their contents during the relocation, so they are no destination of anything.
        while True:
            page = self._alloc_from_kernel()
            if not self.is_destination(page):
                return page
            self._parked[page] = None

    def _alloc_from_kernel(self) -> int:
        while True:
            page = next(self._free, None)
            if page is None:
                raise KexecError("ENOMEM", "source pages", "a free page for every page to load", "no free page left")
            if page < self._limit:
                return page
            self._unusable.append(page)

    def _alloc_page(self, destination: int) -> int:
        """A page to hold what goes to ``destination``, or any place (KIMAGE_NO_DEST) for a page of entries.

        A page that lies where it belongs is best. One that is some other destination is exchanged for the page that
        already holds the contents for there, or kept until its turn comes.
        Source: kernel/kexec_core.c:kimage_alloc_page() @ v6.12
        """
        if destination in self._parked:
            del self._parked[destination]
            return destination
        while True:
            page = self._alloc_from_kernel()
            if page == destination or not self.is_destination(page):
                return page
            entry = self._used.get(page)
            if entry is None:
                self._parked[page] = None
                continue
            word = self._read_entry(entry)
            old = word & PAGE_MASK
            self.memory.copy(page, old, PAGE_SIZE)
            self._write_entry(entry, page | word & ~PAGE_MASK)
            return old

    # -- entries ------------------------------------------------------------------------------------------------------

    def _read_entry(self, at: int) -> int:
        return self.head if at < 0 else self.memory.read_int(at, ENTRY_BYTES)

    def _write_entry(self, at: int, word: int) -> None:
        if at < 0:
            self.head = word
        else:
            self.memory.write_int(at, ENTRY_BYTES, word)

    def _add_entry(self, word: int) -> int:
        """Append an entry and return its address. Source: kernel/kexec_core.c:kimage_add_entry() @ v6.12"""
        if self._read_entry(self._entry):
            self._entry = self._entry + ENTRY_BYTES if self._entry >= 0 else self._entry
        if self._entry == self._last_entry:
            page = self._alloc_page(KIMAGE_NO_DEST)
            self.memory.clear(page, PAGE_SIZE)
            self._write_entry(self._entry, page | IND_INDIRECTION)
            self._entry = page
            self._last_entry = page + PAGE_SIZE - ENTRY_BYTES
        at = self._entry
        self._write_entry(at, word)
        self._entry += ENTRY_BYTES
        return at

    def load_segment(self, segment: Segment) -> None:
        """Copy a segment into source pages, zeros behind its bytes, and append its entries.

        One in CMA is copied to its place, and the list does not name it.
        Source: kernel/kexec_core.c:kimage_load_normal_segment(), kimage_load_cma_segment() @ v6.17
        """
        if segment.cma:
            load_in_place(self.memory, segment)
            return
        self._add_entry(segment.mem & PAGE_MASK | IND_DESTINATION)
        view = memoryview(segment.buf)[: segment.bufsz]
        for offset in range(0, segment.memsz, PAGE_SIZE):
            destination = segment.mem + offset
            page = self._alloc_page(destination)
            self._used[destination] = self._add_entry(page | IND_SOURCE)
            piece = view[offset : offset + PAGE_SIZE]
            if len(piece) < PAGE_SIZE:
                self.memory.clear(page, PAGE_SIZE)
            if piece:
                self.memory.write(page, bytes(piece))

    def terminate(self) -> None:
        """Close the list. Source: kernel/kexec_core.c:kimage_terminate() @ v6.12"""
        if self._entry >= 0 and self._read_entry(self._entry):
            self._entry += ENTRY_BYTES
        self._write_entry(self._entry, IND_DONE)

    # -- looking at it ------------------------------------------------------------------------------------------------

    def source_of(self, address: int) -> int:
        """Where the byte meant for ``address`` is now. KeyError if no segment covers it."""
        if any(segment.cma and segment.mem <= address < segment.end for segment in self.segments):
            return address
        word = self._read_entry(self._used[address & PAGE_MASK])
        return word & PAGE_MASK | address & ~PAGE_MASK

    def check(self) -> None:
        """Raise AssertionError unless every source page is used once and is no other page's destination."""
        pages = {destination: self.source_of(destination) for destination in self._used}
        assert len(set(pages.values())) == len(pages), "a source page is used twice"
        for destination, page in pages.items():
            assert page == destination or not self.is_destination(page), f"{page:#x} is overwritten before its turn"
        for page in (self.control_page, self.swap_page):
            assert not self.is_destination(page), f"control page {page:#x} is a destination"
        moved = sum(segment.memsz for segment in self.segments if not segment.cma)
        assert moved == PAGE_SIZE * len(pages), "a page is missing"


class CrashKimage:
    """An image that waits where it will run, in memory kept for it: nothing is moved, the list is only its end.

    Source: kernel/kexec_core.c:kimage_load_crash_segment(), kimage_alloc_crash_control_pages() @ v6.12
    """

    def __init__(
        self, memory: PhysicalMemory, segments: Sequence[Segment], start: int, region: tuple[int, int]
    ) -> None:
        self.memory = memory
        self.segments = list(segments)
        self.start = start
        self.head = 0
        self.swap_page = 0
        self.control_page = self._alloc_control_page(*region)

    def _alloc_control_page(self, start: int, end: int) -> int:
        # The first page of the region that no segment covers.
        for segment in sorted(self.segments, key=lambda one: one.mem):
            if start < segment.mem:
                break
            start = max(start, segment.end)
        if start + PAGE_SIZE > end:
            raise KexecError("ENOMEM", "control page", "a page of the crash region outside every segment", "none")
        return start

    def load_segment(self, segment: Segment) -> None:
        """Copy a segment to its place."""
        load_in_place(self.memory, segment)

    def terminate(self) -> None:
        """Close the list."""
        self.head = IND_DONE

    def source_of(self, address: int) -> int:
        """Where the byte meant for ``address`` is now. KeyError if no segment covers it."""
        if not any(segment.mem <= address < segment.end for segment in self.segments):
            raise KeyError(address)
        return address

    def check(self) -> None:
        """Raise AssertionError unless the control page is out of every segment's way."""
        assert not any(segment.mem <= self.control_page < segment.end for segment in self.segments)
        assert self.head == IND_DONE
