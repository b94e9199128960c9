"""An independent look over the whole memory map: is every ``struct page`` what its page's state says it must be?

What is expected comes from memblock, the zones, the free lists and the huge pages; nothing of it comes from the code
that wrote the pages. The comparison itself is a JIT function over rows of words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from minikern.jit import jit
from minikern.mm.struct_page import STRUCT_PAGE, Words, format_page

_U64 = 2**64 - 1
_NOBODY, _SKIP = "memory that nobody owns", "not initialised yet"


class Expected(NamedTuple):
    """What the words of pages in one state hold; pages at multiples of ``heads`` are block heads (0: none are).

    ``link`` is the content of lru.next, None for a list head that points at itself. Heads have ``head_private`` and
    ``head_counts``. With ``origin`` >= 0, private counts up every 512 pages from that pfn on.
    """

    state: str
    flag_bits: int = 0
    counts: int = 0x00000001_FFFFFFFF
    link: int | None = None
    mapping: int = 0
    bootmem_type: int = 0
    private: int = 0
    origin: int = -1
    heads: int = 0
    head_private: int = 0
    head_counts: int = 0


class Span(NamedTuple):
    """Pages [start, end) that are expected to look like ``expected``."""

    start: int
    end: int
    expected: Expected


class Place(NamedTuple):
    """Pages [start, end) that must carry ``nid`` and ``zone``; ``memory`` is False for holes."""

    start: int
    end: int
    nid: int
    zone: int
    memory: bool


@dataclass
class CheckResult:
    """Outcome: pages compared, pages whose content is not at hand, and the first wrong pfn if there is one."""

    checked: int = 0
    skipped: int = 0
    first_wrong_pfn: int | None = None
    message: str = ""

    @property
    def ok(self) -> bool:
        """True if nothing was wrong."""
        return self.first_wrong_pfn is None


@jit
def first_wrong(words: Words, want: Words, lru: np.uint64, self_link: bool, heads: int, first: int, infos: int) -> int:
    """First row that differs from what is wanted, -1 if none does.

    ``want`` is two rows: of ordinary pages and of block heads, which are rows ``first``, ``first + heads``, ... Word 1
    is compared with the row's own ``lru`` if ``self_link``, word 2 always. With ``infos`` >= 0, word 5 grows by one
    every 512 rows, ``infos`` rows having gone before.
    """
    size = np.uint64(64)
    for i in range(words.shape[0]):
        kind = 1 if heads > 0 and i >= first and (i - first) % heads == 0 else 0
        link = lru if self_link else want[kind, 1]
        private = want[kind, 5]
        if infos >= 0:
            private = private + np.uint64((infos + i) // 512)
        bad = (words[i, 0] ^ want[kind, 0]) | (words[i, 1] ^ link) | (words[i, 2] ^ lru) | (words[i, 3] ^ want[kind, 3])
        bad |= (words[i, 4] ^ want[kind, 4]) | (words[i, 5] ^ private) | (words[i, 6] ^ want[kind, 6]) | words[i, 7]
        if bad != np.uint64(0):
            return i
        lru += size
    return -1


def check_memmap(k: Any) -> CheckResult:
    """Compare every page of every present section with what it must be, as far as the map holds it.

    In a window only what is still there is compared. Deferred memory that is not initialised yet, and memory map that
    HVO gave back, has no content and is skipped.
    """
    result = CheckResult()
    spans = expected_spans(k)
    for place, span in _cut(places(k), spans):
        _check_span(k, place, span, result)
        if not result.ok:
            break
    return result


def _check_span(k: Any, place: Place, span: Span, result: CheckResult) -> None:
    vmemmap = k.vmemmap
    for run in vmemmap.runs(place.start, place.end):
        if span.expected.state == _NOBODY:
            _fail(result, run.pfn, f"pfn {run.pfn:#x}: {_NOBODY}")
            return
        if span.expected.state == _SKIP:
            result.skipped += run.pages
        elif vmemmap.holds(run):
            _compare(k, place, span, run, result)
        elif vmemmap.backing == "full":
            _fail(result, run.pfn, f"pfn {run.pfn:#x}: expected a {span.expected.state} page, was never initialised")
        else:
            result.skipped += run.pages
        if not result.ok:
            return


def _compare(k: Any, place: Place, span: Span, run: Any, result: CheckResult) -> None:
    want = span.expected
    flags = k.page_alloc.pages.flags
    word0 = place.nid << flags.nodes_shift | place.zone << flags.zones_shift | want.flag_bits
    word0 |= ((1 << flags.cpupid_width) - 1) << flags.cpupid_shift
    rows = np.zeros((2, 8), dtype=np.uint64)
    rows[:, 0] = word0 & _U64
    rows[:, 1] = want.link or 0
    rows[:, 3], rows[:, 4] = want.mapping, want.bootmem_type
    rows[0, 5], rows[0, 6] = want.private, want.counts
    rows[1, 5], rows[1, 6] = want.head_private, want.head_counts
    infos = run.pfn - want.origin if want.origin >= 0 else -1
    first = -run.pfn % want.heads if want.heads else 0
    lru = np.uint64(k.vmemmap.start + run.pfn * 64 + 8)
    words = k.vmemmap.rows(run)
    wrong = first_wrong(words, rows, lru, want.link is None, want.heads, first, infos)
    if wrong < 0:
        result.checked += run.pages
        return
    result.checked += wrong
    pfn = run.pfn + wrong
    page = words[wrong].copy().view(STRUCT_PAGE)[0]
    found = flags.describe(int(words[wrong, 0]))
    told = f"expected a {want.state} page of node {place.nid} zone {place.zone}, came {found}"
    _fail(result, pfn, f"{format_page(page, pfn)}: {told}")


def _fail(result: CheckResult, pfn: int, message: str) -> None:
    result.first_wrong_pfn, result.message = pfn, message


# where pages belong


def places(k: Any) -> list[Place]:
    """Node and zone of every pfn up to the end of the last section; a hole takes those of the memory after it."""
    found: list[Place] = []
    cursor = 0
    node = k.nodes[0]
    by_nid = {item.nid: item for item in k.nodes}
    for region in k.memblock.memory_regions():
        start, end = (region.base + 4095) >> 12, region.end >> 12
        if start >= end:
            continue
        node = by_nid[max(region.nid, 0)]
        for zone in node.zones:
            low, high = max(start, zone.start_pfn), min(end, zone.start_pfn + zone.spanned_pages)
            if not zone.present_pages or low >= high:
                continue
            if cursor < low:
                found.append(Place(cursor, low, node.nid, zone.index, False))
            found.append(Place(low, high, node.nid, zone.index, True))
            cursor = high
    end = -(-cursor // 32768) * 32768
    if cursor < end:
        highest = max(zone.index for zone in node.zones if zone.present_pages)
        found.append(Place(cursor, end, node.nid, highest, False))
    return found


# what pages are


def expected_spans(k: Any) -> list[Span]:
    """The state of every pfn, later layers over earlier ones."""
    flags = k.page_alloc.pages.flags
    reserved = Expected("reserved", flags.reserved)
    spans = [Span(p.start, p.end, Expected(_NOBODY) if p.memory else reserved) for p in places(k)]
    spans = overlay(spans, _not_yet(k))
    skipped = [r for r in k.memblock.reserved_regions() if r.flags & 0x10]  # RSRV_NOINIT: HugeTLB's tails
    rest = [r for r in k.memblock.reserved_regions() if not r.flags & 0x10]
    spans = overlay(spans, (Span(r.base >> 12, (r.end + 4095) >> 12, Expected(_SKIP)) for r in skipped))
    spans = overlay(spans, (Span(r.base >> 12, (r.end + 4095) >> 12, reserved) for r in rest))
    spans = overlay(spans, _memmap_frames(k))
    spans = overlay(spans, _handed_out(k))
    spans = overlay(spans, _free_blocks(k))
    return overlay(spans, _huge_pages(k)) if k.hugetlb is not None else spans


def _not_yet(k: Any) -> Iterator[Span]:
    for node in k.nodes:
        if node.first_deferred_pfn is not None:
            for place in places(k):
                low, high = max(place.start, node.first_deferred_pfn), min(place.end, node.end_pfn)
                if place.memory and place.nid == node.nid and low < high:
                    yield Span(low, high, Expected(_SKIP))


def _memmap_frames(k: Any) -> Iterator[Span]:
    if k.vmemmap.bootmem_registered:
        flags = k.page_alloc.pages.flags
        bits = flags.reserved | flags.private
        for section, count, phys in sorted(k.vmemmap.memmaps, key=lambda entry: entry[2]):
            first = phys >> 12
            want = Expected("memory-map", bits, 0x00000002_FFFFFFFF, bootmem_type=12, private=section, origin=first)
            yield Span(first, first + count * 512, want)


def _handed_out(k: Any) -> Iterator[Span]:
    for pfn, order in sorted(k.page_alloc.allocated.items()):
        want = Expected("allocated", counts=0x00000000_FFFFFFFF, heads=1 << order, head_counts=0x00000001_FFFFFFFF)
        yield Span(pfn, pfn + (1 << order), want)


def _free_blocks(k: Any) -> Iterator[Span]:
    buddy = k.page_alloc.pages.flags.buddy_type
    blocks = sorted(block for area in k.page_alloc.areas.values() for block in area.stretches())
    for pfn, order, count in blocks:
        want = Expected("free", counts=0x00000000_FFFFFFFF, heads=1 << order, head_private=order, head_counts=buddy)
        yield Span(pfn, pfn + (count << order), want)


def _huge_pages(k: Any) -> Iterator[Span]:
    flags = k.page_alloc.pages.flags
    kind = 0xFFFFFFFF if flags.hugetlb_type is None else flags.hugetlb_type
    for pfn, order in sorted(k.hugetlb.folios()):
        folded = pfn in k.hugetlb.optimized
        yield Span(pfn, pfn + 1, Expected("huge head", flags.head, kind, private=0x18 if folded else 0x08))
        # The first two tails hold fields of the compound page; tests look at those one by one.
        yield Span(pfn + 1, pfn + 3, Expected(_SKIP))
        tail = Expected("huge tail", counts=0xFFFFFFFF, link=k.vmemmap.start + pfn * 64 + 1, mapping=0xDEAD000000000400)
        end = pfn + (64 if folded else 1 << order)
        yield Span(pfn + 3, end, tail)
        if folded:
            yield Span(end, pfn + (1 << order), Expected(_SKIP))


# lists of spans


def overlay(under: list[Span], over: Iterable[Span]) -> list[Span]:
    """``over`` laid on ``under``; both ascending and disjoint. What lies outside of ``under`` is dropped."""
    result: list[Span] = []
    pending = iter(over)
    top = next(pending, None)
    for start, end, expected in under:
        while start < end:
            while top is not None and top.end <= start:
                top = next(pending, None)
            if top is None or top.start >= end:
                result.append(Span(start, end, expected))
                break
            if start < top.start:
                result.append(Span(start, top.start, expected))
            high = min(end, top.end)
            result.append(Span(max(start, top.start), high, top.expected))
            start = high
    return result


def _cut(under: list[Place], spans: list[Span]) -> Iterator[tuple[Place, Span]]:
    """Every span with the part of a place that it covers."""
    at = 0
    for place in under:
        while at < len(spans) and spans[at].start < place.end:
            span = spans[at]
            low, high = max(place.start, span.start), min(place.end, span.end)
            if low < high:
                yield place._replace(start=low, end=high), span
            if span.end > place.end:
                break
            at += 1
