"""Struct-page hooks: rows of eight words compared page by page with what pages must look like.

The reference is written here with whole-array operations, from what a page must look like; it shares no code with the
built-in kernels, which are only timed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from minikern.host.arena import Arena
from minikern.lab.cases import MAX_PIECE, Case, Piece, corner_cases
from minikern.lab.kinds.kind import Attempt, CallError, Hook, Kind, Wrong, pairs
from minikern.lab.kinds.struct_page_load import builtins_of, load_of, split_load
from minikern.mm.page.mmzone import MAX_PAGE_ORDER, PAGES_PER_SECTION
from minikern.mm.page.struct_page import FIELDS, TAIL_MAPPING, Words, as_pages

GUARD = 16  # rows around the range that nobody may touch
GARBAGE = np.uint64(0xA5A5A5A5A5A5A5A5)
PLAIN_PYTHON_PAGES = 5000  # larger machines take too long without compilation
HUGE_PAGES = 512
AROUND = 2  # pages shown on either side of a wrong one


SplitJob = tuple[int, int, int, int, int]


class Call(NamedTuple):
    """One call of an algorithm: pfn of the first row, arguments after ``words``, rows before and rows expected."""

    pfn: int
    arguments: tuple[Any, ...]
    before: Words | None
    after: Words


def first_wrong(calls: Callable[[Case], Iterator[Call]], case: Case, attempt: Attempt) -> Wrong | None:
    """The first wrong page on this machine, None if all are right."""
    space = Arena((min(case.size, MAX_PIECE) + 2 * GUARD) * 64)
    for call in calls(case):
        words = space.words(len(call.after) + 2 * GUARD)
        wrong = _judged(case, call, words, attempt)
        if wrong is not None:
            return wrong
    return None


def _judged(case: Case, call: Call, around: Words, attempt: Attempt) -> Wrong | None:
    count = len(call.after)
    around[:] = GARBAGE
    words = around[GUARD : GUARD + count]
    if call.before is not None:
        words[:] = call.before
    try:
        attempt.call(f"pfn {call.pfn:#x}, machine {case.describe()}", (words, *call.arguments))
    except CallError as error:
        return Wrong(case, "pfn", call.pfn, "(call)", "no exception", str(error), error.picture)
    attempt.tally(count)
    bad = np.flatnonzero((words != call.after).any(axis=1))
    if len(bad):
        return _field_of(case, call, words, int(bad[0]), len(bad))
    outside = np.flatnonzero((around != GARBAGE).any(axis=1) & _outside(count))
    if len(outside):
        pfn = call.pfn + int(outside[0]) - GUARD
        what = f"{count} pages from pfn {call.pfn:#x} were given"
        return Wrong(case, "pfn", pfn, "(any)", f"an untouched page, {what}", "it was written")
    return None


def _outside(count: int) -> Any:
    mask = np.ones(count + 2 * GUARD, dtype=bool)
    mask[GUARD : GUARD + count] = False
    return mask


def _field_of(case: Case, call: Call, found: Words, row: int, bad: int) -> Wrong:
    for name, type_ in ((entry.name, entry.type) for entry in FIELDS):
        mask = 2**64 - 1 if type_ == "<u8" else 2**32 - 1
        wanted, came = (_field(rows, row, name) & mask for rows in (call.after, found))
        if came != wanted:
            picture = _picture(call, found, row, name, mask, bad)
            return Wrong(case, "pfn", call.pfn + row, name, f"{wanted:#x}", f"{came:#x}", picture)
    raise AssertionError("rows that differ have a field that differs")


def _field(rows: Words, row: int, name: str) -> int:
    return int(as_pages(np.ascontiguousarray(rows[row]).reshape(1, 8))[0][name])


def _picture(call: Call, found: Words, row: int, name: str, mask: int, bad: int) -> tuple[str, ...]:
    # The field on the pages around: what was right before, and whether it is wrong again after.
    low, high = max(0, row - AROUND), min(len(found), row + AROUND + 1)
    lines = [f"{'pfn':>14}  {'expected':<18}  found"]
    for at in range(low, high):
        wanted, came = (_field(rows, at, name) & mask for rows in (call.after, found))
        told = "" if came == wanted else "  < never written" if came == int(GARBAGE) & mask else "  < wrong"
        lines.append(f"{call.pfn + at:#14x}  {f'{wanted:#x}':<18}  {came:#x}{told}")
    lines.append(f"{bad} of the {len(found)} pages of this call are wrong; the first is row {row} of words")
    return tuple(lines)


def split_wrong(case: Case, attempt: Attempt) -> Wrong | None:
    """The first piece that padata would not have cut so."""
    for job in split_jobs(case):
        expected = reference_split(*job)
        read = partial(pairs, "padata_split", most=job[1] + 2, expected="pairs (start, end)")
        try:
            found = attempt.call(f"pfn {job[0]:#x}, machine {case.describe()}", job, read)
        except CallError as error:
            return Wrong(case, "pfn", job[0], "(call)", "no exception", str(error), error.picture)
        attempt.tally(job[1])
        if found != expected:
            at = next(i for i in range(len(expected) + 1) if found[i : i + 1] != expected[i : i + 1])
            pfn = expected[at][0] if at < len(expected) else job[0] + job[1]
            told = [_piece(pieces, at) for pieces in (expected, found)]
            name = f"piece {at} of padata_split{job}"
            return Wrong(case, "pfn", pfn, name, told[0], told[1], _pieces_shown(expected, found, at))
    return None


def _piece(pieces: list[tuple[int, int]], at: int) -> str:
    return f"({pieces[at][0]:#x}, {pieces[at][1]:#x})" if at < len(pieces) else "no further piece"


def _pieces_shown(expected: list[tuple[int, int]], found: list[tuple[int, int]], at: int) -> tuple[str, ...]:
    lines = [f"{'piece':>8}  {'expected':<26}  found"]
    for number in range(max(0, at - AROUND), min(max(len(expected), len(found)), at + AROUND + 1)):
        mark = "  <" if number == at else ""
        lines.append(f"{number:>8}  {_piece(expected, number):<26}  {_piece(found, number)}{mark}")
    return tuple(lines)


# reference


def fresh(case: Case, piece: Piece, refcount: int = 1) -> Words:
    """Rows of initialised pages."""
    rows = np.zeros((piece.end - piece.start, 8), dtype=np.uint64)
    rows[:, 0] = np.uint64(case.flags.links(piece.nid, piece.zone))
    rows[:, 1] = rows[:, 2] = _lists(case, piece)
    rows[:, 6] = np.uint64(refcount << 32 | 0xFFFFFFFF)
    return rows


def _lists(case: Case, piece: Piece) -> Any:
    pfns = np.arange(piece.start, piece.end, dtype=np.uint64)
    return pfns * np.uint64(64) + np.uint64(case.vmemmap + 8)


def _links(case: Case, piece: Piece) -> tuple[Any, Any]:
    return np.uint64(case.flags.links(piece.nid, piece.zone)), np.uint64(case.vmemmap + 64 * piece.start + 8)


def _init_calls(case: Case) -> Iterator[Call]:
    for piece in case.pieces():
        yield Call(piece.start, _links(case, piece), None, fresh(case, piece))


def _deferred_calls(case: Case) -> Iterator[Call]:
    size = 1 << MAX_PAGE_ORDER
    for piece in case.pieces():
        rows = fresh(case, piece, 0)
        heads = np.arange(-(-piece.start // size) * size, piece.end - size + 1, size) - piece.start
        rows[heads, 5] = np.uint64(MAX_PAGE_ORDER)
        rows[heads, 6] = np.uint64(case.flags.buddy_type)
        more = (piece.start, MAX_PAGE_ORDER, np.uint64(case.flags.buddy_type))
        yield Call(piece.start, (*_links(case, piece), *more), None, rows)


def _free_calls(case: Case) -> Iterator[Call]:
    mask = np.uint64(case.flags.reserved)
    for piece in case.pieces():
        before = fresh(case, piece)
        for low, high in case.reserved_in(piece.start, piece.end):
            before[low - piece.start : high - piece.start, 0] |= mask
        yield Call(piece.start, (mask,), before, fresh(case, piece, 0))


def _reserve_calls(case: Case) -> Iterator[Call]:
    mask = np.uint64(case.flags.reserved)
    for piece in case.pieces():
        for low, high in [(piece.start, piece.end), *case.reserved_in(piece.start, piece.end)]:
            part = piece._replace(start=low, end=high)
            after = fresh(case, part)
            after[:, 0] |= mask
            yield Call(low, (mask,), fresh(case, part), after)


def _tail_calls(case: Case) -> Iterator[Call]:
    # Wherever a huge page fits, its tails; else those of a compound page as large as the piece.
    for piece in case.pieces():
        first = -(-piece.start // HUGE_PAGES) * HUGE_PAGES
        heads = range(first, piece.end - HUGE_PAGES + 1, HUGE_PAGES)
        chosen = [(head, head + HUGE_PAGES) for head in (*heads[:2], *heads[-1:])]
        for head, end in chosen or [(piece.start, piece.end)]:
            tails = piece._replace(start=head + 1, end=end)
            if head + 1 < end:
                rows, address = fresh(case, tails, 0), case.vmemmap + 64 * head
                rows[:, 1], rows[:, 3] = np.uint64(address + 1), np.uint64(TAIL_MAPPING)
                yield Call(head + 1, (*_links(case, tails), np.uint64(address)), None, rows)


def split_jobs(case: Case) -> Iterator[SplitJob]:
    """What a machine asks of padata: each range to the end of its section, and the range by itself in small units."""
    unit = PAGES_PER_SECTION
    for start, end, _ in case.memory:
        yield start, -(-end // unit) * unit - start, unit, unit, case.threads
        yield start, end - start, 1, 1, case.threads
        yield start, end - start, 10, 100, case.threads


def reference_split(start: int, size: int, align: int, min_chunk: int, max_threads: int) -> list[tuple[int, int]]:
    """The pieces, from the description: enough threads, four chunks each, borders at absolute multiples."""
    works = max(1, min(size // max(min_chunk, align), max_threads))
    if works == 1:
        return [(start, start + size)] if size else []
    chunk = max(size // (works * 4), min_chunk, 1)
    chunk += -chunk % align
    borders = [start, *range(start - start % chunk + chunk, start + size, chunk), start + size]
    return list(pairwise(borders))


def made_up() -> Any:
    """Machines of any shape."""
    from minikern.lab.strategies import memory_layouts

    return memory_layouts(max_pages=3000)


def _page_kind(
    name: str, hook: Hook, calls: Callable[[Case], Iterator[Call]], example: str, mistake: tuple[str, str]
) -> Kind:
    return Kind(
        name, hook, "pages", "machine", partial(first_wrong, calls), corner_cases, made_up,
        partial(builtins_of, hook.name), partial(load_of, hook.name), example, mistake,
        row_bytes=64, roofline="write", threaded=True, plain_size=PLAIN_PYTHON_PAGES,
    )  # fmt: skip


INIT = """\
    words[:] = 0
    words[:, 0] = flags
    words[:, 1] = words[:, 2] = lru + np.arange(len(words), dtype=np.uint64) * np.uint64(64)
    words[:, 6] = np.uint64(0x1FFFFFFFF)
"""

KINDS = (
    _page_kind(
        "struct-page",
        Hook(
            "memmap_init_range",
            ("words", "flags", "lru"),
            "Initialise every page: flags, both list pointers to the page's own list head (lru grows by 64 from page to"
            " page), _mapcount -1 and _refcount 1 in word 6, every other word 0.",
        ),
        _init_calls,
        INIT,
        ("words[:] = 0", "words[:, :7] = 0"),
    ),
    _page_kind(
        "deferred-pages",
        Hook(
            "deferred_init_range",
            ("words", "flags", "lru", "pfn", "order", "buddy_type"),
            "Initialise and free every page (_refcount 0). Rows that start a whole block of 2**order pages, by pfn"
            " (that of the first row), become heads: word 5 is order, the low half of word 6 is buddy_type.",
        ),
        _deferred_calls,
        INIT.replace("0x1FFFFFFFF", "0xFFFFFFFF") + """\
    size = 1 << order
    heads = np.arange(-pfn % size, len(words) - size + 1, size)
    words[heads, 5] = np.uint64(order)
    words[heads, 6] = buddy_type
""",
        ("np.arange(-pfn % size, ", "np.arange(0, "),
    ),
    _page_kind(
        "free-pages",
        Hook(
            "free_range",
            ("words", "reserved"),
            "The pages are initialised: clear the flag bits of reserved, and set _refcount (high half of word 6) to 0.",
        ),
        _free_calls,
        "    words[:, 0] &= ~reserved\n    words[:, 6] &= np.uint64(0xFFFFFFFF)\n",
        ("~reserved", "reserved"),
    ),
    _page_kind(
        "reserve-pages",
        Hook("reserve_range", ("words", "reserved"), "The pages are initialised: set the flag bits of reserved."),
        _reserve_calls,
        "    words[:, 0] |= reserved\n",
        ("|= reserved", "= reserved"),
    ),
    _page_kind(
        "compound-tails",
        Hook(
            "prep_compound_tails",
            ("words", "flags", "lru", "head"),
            "Write the tails of a compound page whose head is at virtual address head: as initialised, but word 1 is"
            " head + 1, mapping 0xdead000000000400 and _refcount 0.",
        ),
        _tail_calls,
        INIT.replace("0x1FFFFFFFF", "0xFFFFFFFF") + """\
    words[:, 1] = head + np.uint64(1)
    words[:, 3] = np.uint64(0xDEAD000000000400)
""",
        ("head + np.uint64(1)", "head"),
    ),
    Kind(
        "padata-split",
        Hook(
            "padata_split",
            ("start", "size", "align", "min_chunk", "max_threads"),
            "Return the pieces of [start, start + size) as a list of (start, end) in the order in which threads take"
            " them, cut as padata_do_multithreaded() cuts them.",
        ),
        "pages",
        "machine",
        split_wrong,
        corner_cases,
        made_up,
        partial(builtins_of, "padata_split"),
        split_load,
        """\
    # As many threads as there is work for, four chunks for each of them, borders at multiples of the chunk.
    threads = max(1, min(size // max(min_chunk, align), max_threads))
    if threads == 1:
        return [(start, start + size)] if size else []
    chunk = -(-max(size // (threads * 4), min_chunk, 1) // align) * align
    borders = [start, *range((start // chunk + 1) * chunk, start + size, chunk), start + size]
    return list(zip(borders, borders[1:]))
""",
        ("(start // chunk + 1) * chunk", "start + chunk"),
    ),
)
