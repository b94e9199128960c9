"""What every page must be: its place (node, zone) and its state, from memblock, zones, free lists and huge pages.

For the verifier; nothing here comes from the code that wrote the pages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

_U64 = 2**64 - 1
NOBODY, NOT_YET, GIVEN_BACK = "memory that nobody owns", "not initialised yet", "memory map given back"
NO_CONTENT = (NOT_YET, GIVEN_BACK)


class Expected(NamedTuple):
    """What the words of pages in one state hold; pages at multiples of ``heads`` are block heads (0: none are).

    ``link`` is the content of lru.next, None for a list head that points at itself. Heads have ``head_private`` and
    ``head_counts``. With ``origin`` >= 0, private counts up every 512 pages from that pfn on. ``exact`` are the
    words 1 to 7 of a page that keeps something else there.
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
    exact: tuple[int, ...] = ()


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


# where pages belong


def places(k: Kernel) -> list[Place]:
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


def expected_spans(k: Kernel) -> list[Span]:
    """The state of every pfn, later layers over earlier ones."""
    flags = k.page_alloc.pages.flags
    reserved = Expected("reserved", flags.reserved)
    spans = [Span(p.start, p.end, Expected(NOBODY) if p.memory else reserved) for p in places(k)]
    spans = overlay(spans, _not_yet(k))
    skipped = [r for r in k.memblock.reserved_regions() if r.flags & 0x10]  # RSRV_NOINIT: HugeTLB's tails
    rest = [r for r in k.memblock.reserved_regions() if not r.flags & 0x10]
    spans = overlay(spans, (Span(r.base >> 12, (r.end + 4095) >> 12, Expected(NOT_YET)) for r in skipped))
    spans = overlay(spans, (Span(r.base >> 12, (r.end + 4095) >> 12, reserved) for r in rest))
    spans = overlay(spans, _preserved(k))
    spans = overlay(spans, _memmap_frames(k))
    spans = overlay(spans, _handed_out(k))
    spans = overlay(spans, _free_blocks(k))
    return overlay(spans, _huge_pages(k))


def _not_yet(k: Kernel) -> Iterator[Span]:
    for node in k.nodes:
        if node.first_deferred_pfn is not None:
            for place in places(k):
                low, high = max(place.start, node.first_deferred_pfn), min(place.end, node.end_pfn)
                if place.memory and place.nid == node.nid and low < high:
                    yield Span(low, high, Expected(NOT_YET))


def _preserved(k: Kernel) -> Iterator[Span]:
    # Blocks the kernel before handed over: initialised, owned by nobody yet, named by their first page.
    blocks = k.kho.incoming.blocks if k.kho.incoming is not None else ()
    for item in sorted(blocks):
        first, private = item.phys >> 12, 0x4B484F50 << 32 | item.order
        want = Expected("preserved", heads=1 << item.order, head_private=private, head_counts=0x1_FFFFFFFF)
        yield Span(first, first + (item.count << item.order), want)


def _memmap_frames(k: Kernel) -> Iterator[Span]:
    if k.vmemmap.bootmem_registered:
        flags = k.page_alloc.pages.flags
        bits = flags.reserved | flags.private
        maps = [(phys >> 12, count * 512, section) for section, count, phys in k.vmemmap.memmaps]
        folded = k.hugetlb.preinit if k.hugetlb.hvo is not None else ()
        maps += [(entry.frame, 1, entry.head // 32768) for entry in folded]
        for first, frames, section in _neighbours(sorted(maps)):
            want = Expected("memory-map", bits, 0x00000002_FFFFFFFF, bootmem_type=12, private=section, origin=first)
            yield Span(first, first + frames, want)


def _neighbours(maps: list[tuple[int, int, int]]) -> Iterator[tuple[int, int, int]]:
    # Maps that lie side by side as their sections do, as one: there are hundreds of thousands on a large machine.
    first = frames = section = 0
    for at, count, number in maps:
        if frames and at == first + frames and number * 512 == section * 512 + frames:
            frames += count
            continue
        if frames:
            yield first, frames, section
        first, frames, section = at, count, number
    if frames:
        yield first, frames, section


def _handed_out(k: Kernel) -> Iterator[Span]:
    for pfn, order in sorted(k.page_alloc.allocated.items()):
        want = Expected("allocated", counts=0x00000000_FFFFFFFF, heads=1 << order, head_counts=0x00000001_FFFFFFFF)
        yield Span(pfn, pfn + (1 << order), want)


def _free_blocks(k: Kernel) -> Iterator[Span]:
    buddy = k.page_alloc.pages.flags.buddy_type
    blocks = sorted(block for area in k.page_alloc.areas.values() for block in area.stretches())
    for pfn, order, count in blocks:
        want = Expected("free", counts=0x00000000_FFFFFFFF, heads=1 << order, head_private=order, head_counts=buddy)
        yield Span(pfn, pfn + (count << order), want)


def _huge_pages(k: Kernel) -> Iterator[Span]:
    flags = k.page_alloc.pages.flags
    kind = 0xFFFFFFFF if flags.hugetlb_type is None else flags.hugetlb_type
    for pfn, order in sorted(k.hugetlb.folios()):
        folded = pfn in k.hugetlb.optimized
        yield Span(pfn, pfn + 1, Expected("huge head", flags.head, kind, private=0x18 if folded else 0x08))
        yield from _first_tails(k, pfn, order)
        tail = Expected("huge tail", counts=0xFFFFFFFF, link=k.vmemmap.start + pfn * 64 + 1, mapping=0xDEAD000000000400)
        end = pfn + (64 if folded else 1 << order)
        yield Span(pfn + 3, end, tail)
        if folded:
            yield Span(end, pfn + (1 << order), Expected(GIVEN_BACK))


def _first_tails(k: Kernel, pfn: int, order: int) -> Iterator[Span]:
    # They hold fields of the compound page: order, map counts and size in the first, an empty list in the second.
    link = k.vmemmap.start + pfn * 64 + 1
    first = (link, _U64, 0, 1 << order, 0, 0xFFFFFFFF, 0)
    empty = k.vmemmap.start + (pfn + 2) * 64 + 16
    second = (link, empty, empty, 0, 0, 0xFFFFFFFF, 0)
    yield Span(pfn + 1, pfn + 2, Expected("first huge tail", order, exact=first))
    yield Span(pfn + 2, pfn + 3, Expected("second huge tail", exact=second))


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


def cut(under: list[Place], spans: list[Span]) -> Iterator[tuple[Place, Span]]:
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
