"""Is a user's algorithm right, and how fast is it? Page by page against a reference, then against the clock.

The reference is written here with whole-array operations, from what a page must look like; it shares no code with the
built-in kernels, which are only timed (see ``check_time``).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import Any, NamedTuple

import numpy as np

from minikern.host.arena import Arena
from minikern.lab.algorithms import Found
from minikern.lab.cases import MAX_PIECE, Case, Piece, corner_cases
from minikern.lab.check_time import Timing, time_algorithm
from minikern.lab.supervise import Steps
from minikern.mm.page.mmzone import MAX_PAGE_ORDER, PAGES_PER_SECTION
from minikern.mm.page.struct_page import FIELDS, TAIL_MAPPING, Words, as_pages

GUARD = 16  # rows around the range that nobody may touch
GARBAGE = np.uint64(0xA5A5A5A5A5A5A5A5)
PLAIN_PYTHON_PAGES = 5000  # larger machines take too long without compilation
HUGE_PAGES = 512
MADE_UP = 150  # machines made up by hypothesis


SplitJob = tuple[int, int, int, int, int]


class Call(NamedTuple):
    """One call of an algorithm: pfn of the first row, arguments after ``words``, rows before and rows expected."""

    pfn: int
    arguments: tuple[Any, ...]
    before: Words | None
    after: Words


@dataclass(frozen=True)
class Wrong:
    """The first thing that was wrong on one machine."""

    case: Case
    pfn: int
    field: str
    expected: str
    found: str

    def __str__(self) -> str:
        """One line."""
        return f"pfn {self.pfn:#x}: field {self.field}: expected {self.expected}, found {self.found}"


@dataclass
class Verdict:
    """What came out for one function."""

    found: Found
    wrong: Wrong | None = None
    hand_picked: int = 0
    made_up: int = 0
    left_out: int = 0
    pages: int = 0
    note: str = ""
    timings: list[Timing] = field(default_factory=list)


class Trial:
    """Runs one algorithm on machines; counts the pages compared."""

    def __init__(self, found: Found, steps: Steps | None = None) -> None:
        self.found = found
        self.steps = steps or Steps()
        self.pages = 0
        self._words = Arena((MAX_PIECE + 2 * GUARD) * 64).words(MAX_PIECE + 2 * GUARD)

    def fits(self, case: Case) -> bool:
        """False for machines that would take a plain Python function too long."""
        return self.found.compiled or self.found.hook.name == "padata_split" or case.pages <= PLAIN_PYTHON_PAGES

    def first_wrong(self, case: Case) -> Wrong | None:
        """The first wrong page on this machine, None if all are right."""
        if self.found.hook.name == "padata_split":
            return self._split(case)
        for call in CALLS[self.found.hook.name](case):
            wrong = self._call(case, call)
            if wrong is not None:
                return wrong
        return None

    def _call(self, case: Case, call: Call) -> Wrong | None:
        count = len(call.after)
        around = self._words[: count + 2 * GUARD]
        around[:] = GARBAGE
        words = around[GUARD : GUARD + count]
        if call.before is not None:
            words[:] = call.before
        try:
            self._run(case, call.pfn, (words, *call.arguments))
        except (Exception, SystemExit) as error:
            return Wrong(case, call.pfn, "(call)", "no exception", f"{type(error).__name__}: {_told(error)}")
        self.pages += count
        bad = np.flatnonzero((words != call.after).any(axis=1))
        if len(bad):
            row = int(bad[0])
            return _field_of(case, call.pfn + row, words[row], call.after[row])
        outside = np.flatnonzero((around != GARBAGE).any(axis=1) & _outside(count))
        if len(outside):
            row = int(outside[0])
            what = f"{count} pages from pfn {call.pfn:#x} were given"
            return Wrong(case, call.pfn + row - GUARD, "(any)", f"an untouched page, {what}", "it was written")
        return None

    def _run(self, case: Case, pfn: int, arguments: tuple[Any, ...]) -> Any:
        self.steps.begin(f"{self.found.name} ({self.found.hook.name}), pfn {pfn:#x}, machine {case.describe()}")
        try:
            return self.found.function(*arguments)
        finally:
            self.steps.end()

    def _pieces(self, case: Case, job: SplitJob) -> list[tuple[int, int]]:
        # As many pieces as there can be, and one more: what never ends is wrong, too.
        returned = self._run(case, job[0], job)
        self.steps.begin(f"{self.found.name}, the pieces of padata_split{job}")
        try:
            return [(int(start), int(end)) for start, end in islice(returned, job[1] + 2)]
        finally:
            self.steps.end()

    def _split(self, case: Case) -> Wrong | None:
        for job in split_jobs(case):
            expected = reference_split(*job)
            try:
                found = self._pieces(case, job)
            except (Exception, SystemExit) as error:
                return Wrong(case, job[0], "(call)", "no exception", f"{type(error).__name__}: {_told(error)}")
            self.pages += job[1]
            if found != expected:
                at = next(i for i in range(len(expected) + 1) if found[i : i + 1] != expected[i : i + 1])
                pfn = expected[at][0] if at < len(expected) else job[0] + job[1]
                told = [_piece(pieces, at) for pieces in (expected, found)]
                name = f"piece {at} of padata_split{job}"
                return Wrong(case, pfn, name, told[0], told[1])
        return None


def _told(error: BaseException) -> str:
    # A compiler's message has a heading that says nothing; what it is about comes after it.
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["no message"]
    if lines[0].startswith("Failed in nopython mode pipeline"):
        where = next((line for line in lines if line.startswith('File "')), "")
        lines = [line.lstrip(" >") for line in lines[1:] if line[0] not in "-^"] or lines
        told = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
        return f"{told} {where}".strip()[:240]
    return lines[0][:160]


def _piece(pieces: list[tuple[int, int]], at: int) -> str:
    return f"({pieces[at][0]:#x}, {pieces[at][1]:#x})" if at < len(pieces) else "no further piece"


def _outside(count: int) -> Any:
    mask = np.ones(count + 2 * GUARD, dtype=bool)
    mask[GUARD : GUARD + count] = False
    return mask


def _field_of(case: Case, pfn: int, found: Words, expected: Words) -> Wrong:
    pages = [as_pages(np.ascontiguousarray(row).reshape(1, 8))[0] for row in (found, expected)]
    for entry in FIELDS:
        came, wanted = (int(page[entry.name]) for page in pages)
        if came != wanted:
            mask = 2**64 - 1 if entry.type == "<u8" else 2**32 - 1
            return Wrong(case, pfn, entry.name, f"{wanted & mask:#x}", f"{came & mask:#x}")
    raise AssertionError("rows that differ have a field that differs")


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


CALLS: dict[str, Callable[[Case], Iterator[Call]]] = {
    "memmap_init_range": _init_calls,
    "deferred_init_range": _deferred_calls,
    "free_range": _free_calls,
    "reserve_range": _reserve_calls,
    "prep_compound_tails": _tail_calls,
}


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


# verdict


def check_algorithm(
    found: Found, machines: Sequence[Case] = (), made_up: int = MADE_UP, steps: Steps | None = None
) -> Verdict:
    """Try a function on the hand-picked machines, on ``machines`` and on made-up ones; time it if it is right."""
    trial, verdict = Trial(found, steps), Verdict(found)
    for case in [*corner_cases(), *machines]:
        if not trial.fits(case):
            verdict.left_out += 1
            continue
        verdict.hand_picked += 1
        verdict.wrong = trial.first_wrong(case)
        if verdict.wrong is not None:
            break
    smaller = verdict.wrong.case.pages if verdict.wrong else None
    invented = _invent(trial, verdict, made_up) if smaller is None or smaller > 1 else None
    if invented is not None and (smaller is None or invented.case.pages < smaller):
        verdict.wrong = invented
    verdict.pages = trial.pages
    if verdict.wrong is None:
        trial.steps.begin(f"{found.name} ({found.hook.name}), the clock")
        verdict.timings = time_algorithm(found)
        trial.steps.end()
    return verdict


def _invent(trial: Trial, verdict: Verdict, count: int) -> Wrong | None:
    # The smallest made-up machine on which the function is wrong.
    try:
        from hypothesis import HealthCheck, Phase, find, settings
        from hypothesis.errors import NoSuchExample

        from minikern.lab.strategies import memory_layouts
    except ImportError:
        verdict.note = "hypothesis is not installed: no made-up machines were tried"
        return None

    def is_wrong(case: Case) -> bool:
        verdict.made_up += 1
        return trial.first_wrong(case) is not None

    phases = (Phase.generate, Phase.shrink)
    how = settings(max_examples=max(count, 1), database=None, deadline=None, derandomize=True, phases=phases,
                   suppress_health_check=list(HealthCheck))  # fmt: skip
    try:
        case = find(memory_layouts(max_pages=3000), is_wrong, settings=how)
    except NoSuchExample:
        return None
    return trial.first_wrong(copy.copy(case))
