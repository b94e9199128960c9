"""A deferred split policy: how the struct pages left for later are shared out among threads.

Source: mm/mm_init.c:deferred_init_memmap(), kernel/padata.c @ v6.12: a chunk's pages are freed as they are made, and
freeing looks at the buddy's struct page, which another thread must not be making.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from heapq import heapreplace
from itertools import pairwise
from typing import Any

from minikern.lab.kinds.kind import Attempt, Function, Hook, Kind, Load, Merit, Wrong, pairs, table
from minikern.lab.kinds.ribbon import Ribbon
from minikern.mm.page.mmzone import MAX_PAGE_ORDER, PAGES_PER_SECTION

NAME = "deferred_split"
BLOCK, SECTION = 1 << MAX_PAGE_ORDER, PAGES_PER_SECTION
TIMED_SECTIONS, TIMED_THREADS = 2000, 64
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
LEAST = 2 * SECTION  # padata gives a thread of its own to what has two whole sections

Range = tuple[int, int]


@dataclass(frozen=True)
class Deferred:
    """Free pfn ranges of a node's last zone, and how many threads there are."""

    name: str
    ranges: tuple[Range, ...]
    threads: int

    @property
    def pages(self) -> int:
        """Free pages."""
        return sum(end - start for start, end in self.ranges)

    @property
    def size(self) -> int:
        """Free pages in blocks, ranges, threads: all that may get less."""
        return self.pages // BLOCK + len(self.ranges) + self.threads

    @property
    def largest(self) -> int:
        """Pages that a chunk may have: a thread's share or two sections, and a block for the borders."""
        return max(LEAST, -(-self.pages // self.threads)) + BLOCK

    @property
    def most(self) -> int:
        """Chunks that can have free pages of blocks of their own."""
        return self.pages // BLOCK + 2 * len(self.ranges)

    def describe(self) -> str:
        """One line."""
        told = ", ".join(f"[{start:#x}, {end:#x})" for start, end in self.ranges[:6])
        more = f" and {len(self.ranges) - 6} more" if len(self.ranges) > 6 else ""
        return f"{self.name}: free pfns {told}{more}; {self.threads} threads"


def first_wrong(case: Deferred, attempt: Attempt) -> Wrong | None:
    """The first page that is in no chunk, in two, or too near to another thread's; the first chunk too large."""
    expected = "a list of (start, end)"

    def read(value: Any) -> list[Range]:
        return pairs(NAME, value, case.most, expected)

    ranges = table(case.ranges, 2)
    chunks: list[Range] = attempt.call(case.describe(), (ranges, case.threads), read)
    attempt.tally(case.pages)
    fault = _fault(case, chunks)
    if fault is None:
        return None
    pfn, wanted, found = fault
    return Wrong(case, "pfn", pfn, "chunk", wanted, found, tuple(_picture(case, chunks, pfn)))


def _fault(case: Deferred, chunks: list[Range]) -> tuple[int, str, str] | None:
    """(pfn, expected, found) of the lowest page where something is wrong."""
    for number, (start, end) in enumerate(chunks):
        if start >= end or start < 0:
            return max(start, 0), "chunks of one page or more", f"chunk {number} is [{start:#x}, {end:#x})"
    if len(chunks) > case.most:
        return chunks[case.most][0], f"at most {case.most} chunks", "more"
    order = sorted(range(len(chunks)), key=lambda number: chunks[number])
    faults = [*_uncovered(case, chunks, order), *_too_near(case, chunks, order), *_too_large(case, chunks)]
    return min(faults, default=None)


def _uncovered(case: Deferred, chunks: list[Range], order: list[int]) -> list[tuple[int, str, str]]:
    for start, end in case.ranges:
        at = start
        for number in order:
            low, high = chunks[number]
            if high <= at or low >= end:
                continue
            if low > at:
                break
            at = high
        if at < end:
            return [(at, "one chunk that has the page", "none")]
    return []


def _too_near(case: Deferred, chunks: list[Range], order: list[int]) -> list[tuple[int, str, str]]:
    for left, right in pairwise(order):
        (_, end), (start, _) = chunks[left], chunks[right]
        if start < end:
            return [(start, "one chunk that has the page", f"chunks {left} and {right}")]
        last, first = _last_free(case, chunks[left]), _first_free(case, chunks[right])
        if last is not None and first is not None and last // BLOCK == first // BLOCK:
            told = f"a chunk that begins with a block of {BLOCK} pages: free pages before it in its block are another's"
            return [(first, told, f"chunk {right} begins {first % BLOCK} pages into it, chunk {left} ends there")]
    return []


def _last_free(case: Deferred, chunk: Range) -> int | None:
    return max((min(end, chunk[1]) - 1 for start, end in case.ranges if start < chunk[1] and chunk[0] < end),
               default=None)  # fmt: skip


def _first_free(case: Deferred, chunk: Range) -> int | None:
    return min((max(start, chunk[0]) for start, end in case.ranges if start < chunk[1] and chunk[0] < end),
               default=None)  # fmt: skip


def _too_large(case: Deferred, chunks: list[Range]) -> list[tuple[int, str, str]]:
    for number, (low, high) in enumerate(chunks):
        pages = sum(max(0, min(end, high) - max(start, low)) for start, end in case.ranges)
        if pages > case.largest:
            told = f"at most {case.largest} free pages, so that {case.threads} threads have work"
            return [(low, told, f"{pages} in chunk {number}")]
    return []


def _picture(case: Deferred, chunks: list[Range], pfn: int) -> list[str]:
    """The pages around, in columns; a letter for each chunk, ! where two meet."""
    ends = [edge for pair in (*case.ranges, *chunks) for edge in pair]
    near = [edge for edge in ends if abs(edge - pfn) <= 8 * BLOCK]
    low, high = min([pfn, *near]), max([pfn + 1, *near])
    whole_low, whole_high = low // BLOCK * BLOCK, -(-high // BLOCK) * BLOCK
    ribbon = Ribbon(whole_low, whole_high)
    shown = [(number, (a, b)) for number, (a, b) in enumerate(chunks) if a <= whole_high and whole_low <= b]

    def chunk_char(start: int, end: int) -> str:
        met = [number for number, (a, b) in shown if a < end and start < b]
        return " " if not met else LETTERS[met[0] % len(LETTERS)] if len(met) == 1 else "!"

    found = [f"{LETTERS[number % len(LETTERS)]} [{a:#x}, {b:#x})" for number, (a, b) in shown]
    return [
        f"one character for {ribbon.width} pages from pfn {ribbon.low:#x}; | begins a block of {BLOCK}",
        ribbon.line("blocks", lambda start, end: "|" if start % BLOCK == 0 else " ").rstrip(),
        ribbon.marked("free", case.ranges, "#", "."),
        ribbon.line("chunks", chunk_char).rstrip(),
        ribbon.marked("here", [(pfn, pfn + 1)], "^").rstrip(),
        f"chunks: {', '.join(found[:6]) or 'none'}{' ...' if len(found) > 6 else ''}",
    ]


# inputs


def corners() -> list[Deferred]:
    """Machines chosen by hand."""
    base = 4 * SECTION
    small = ((base + 3000 * at, base + 3000 * at + 100) for at in range(9))
    found = [
        Deferred("nothing left", (), 2),
        Deferred("one page", ((base, base + 1),), 1),
        Deferred("one page, many threads", ((base, base + 1),), 64),
        Deferred("one block", ((base, base + BLOCK),), 2),
        Deferred("two blocks, two threads", ((base, base + 2 * BLOCK),), 2),
        Deferred("off alignment at both ends", ((base + 5, base + 3 * BLOCK + 77),), 3),
        Deferred("two ranges in a block", ((base, base + 10), (base + 20, base + 30)), 2),
        Deferred("a hole of one page", ((base, base + 600), (base + 601, base + 2 * BLOCK)), 2),
        Deferred("a hole of many sections", ((base, base + BLOCK), (base + 9 * SECTION, base + 10 * SECTION)), 4),
        Deferred("two sections, two threads", ((base, base + 2 * SECTION),), 2),
        Deferred("sections off alignment", ((base + 300, base + 5 * SECTION + 300),), 4),
        Deferred("a share that ends inside of a block where another range begins",
                 ((base + 5, base + SECTION + 10), (base + SECTION + 20, base + 3 * SECTION)), 3),
        Deferred("one thread", ((base, base + 9 * SECTION + 5),), 1),
        Deferred("more threads than sections", ((base, base + 5 * SECTION),), 64),
        Deferred("small ranges and a large one", (*small, (base + SECTION, base + 20 * SECTION)), 8),
        Deferred("a server's node", ((1 << 20, (1 << 20) + 2000 * SECTION),), 64),
    ]  # fmt: skip
    return sorted(found, key=lambda case: case.size)


def made_up() -> Any:
    """A few ranges of any length, near each other or far apart."""
    from hypothesis import strategies as st

    length = st.one_of(st.integers(1, 40), st.integers(1, 3 * BLOCK), st.integers(1, 5 * SECTION))

    @st.composite
    def deferred(draw: st.DrawFn) -> Deferred:
        at, ranges = SECTION + draw(st.integers(0, 2 * BLOCK)), []
        for _ in range(draw(st.integers(1, 4))):
            size = draw(length)
            ranges.append((at, at + size))
            at += size + draw(st.one_of(st.integers(1, 100), st.integers(1, 2 * SECTION)))
        return Deferred("made up", tuple(ranges), draw(st.integers(1, 16)))

    return deferred()


def builtins() -> dict[str, Function]:
    """What padata makes of it: a job from the first range to the end of the last one, cut at sections."""
    from minikern.mm.map.padata import MtJob

    def padata(ranges: Any, threads: int) -> list[Range]:
        if not len(ranges):
            return []
        start, end = int(ranges[0][0]), -(-int(ranges[-1][1]) // SECTION) * SECTION
        job = MtJob(start, end - start, SECTION, SECTION, threads)
        works = job.nworks()
        return [(start, end)] if works == 1 else list(job.chunks(job.chunk_size(works)))

    return {"built-in": padata}


def load(_: int) -> Load:
    """A large node, for 64 threads."""
    ranges = _node()

    def bind(function: Function, low: int, high: int) -> Callable[[], object]:
        return lambda: function(ranges, TIMED_THREADS)

    return Load(f"{TIMED_SECTIONS * SECTION} pages for {TIMED_THREADS} threads", 1, bind)


def longest(function: Function) -> int:
    """Pages that the busiest of as many threads as are there gets, each taking the next chunk when it has done one."""
    threads = [0] * TIMED_THREADS
    for start, end in function(_node(), TIMED_THREADS):
        heapreplace(threads, threads[0] + int(end) - int(start))
    return max(threads)


def _node() -> Any:
    start = 1 << 20
    return table([(start, start + TIMED_SECTIONS * SECTION)], 2)


KIND = Kind(
    "deferred-split",
    Hook(
        NAME,
        ("ranges", "threads"),
        f"Return chunks (start, end) of pfns, in the order in which threads take them. ranges are rows (start, end) of"
        f" the free pfns, sorted (int64). Each free page is in one chunk; holes may be in any. Two chunks never have"
        f" free pages of the same block of {BLOCK} pages (pfn // {BLOCK}). No chunk has more free pages than a thread's"
        f" share (all / threads, rounded up) or {LEAST} (two sections), whichever is more, and a block besides.",
    ),
    "pages", "node", first_wrong, corners, made_up, builtins, load,
    f'''\
    # A share for each thread, at least a section; a chunk is ended at the end of a block when it has its share.
    pages = int(sum(end - start for start, end in ranges))
    share = max({SECTION}, -(-pages // threads))
    chunks, begin, held, last = [], None, 0, 0
    for start, end in ranges.tolist():
        if begin is not None and held >= share and last // {BLOCK} < start // {BLOCK}:
            chunks.append((begin, last + 1))
            begin, held = None, 0
        while start < end:
            begin = start if begin is None else begin
            stop = min(end, -(-(start + max(share - held, 1)) // {BLOCK}) * {BLOCK})
            held, last = held + stop - start, stop - 1
            if held >= share and stop % {BLOCK} == 0:
                chunks.append((begin, stop))
                begin, held = None, 0
            start = stop
    return chunks if begin is None else [*chunks, (begin, last + 1)]
''',
    (f" and stop % {BLOCK} == 0", ""),
    merit=Merit(f"pages of the busiest of {TIMED_THREADS} equally fast threads", longest),
)  # fmt: skip
