"""Slow twins of the struct-page rooms, written from the description of what Linux does, a page at a time."""

from __future__ import annotations

import struct
from collections.abc import Iterator

SECTION = 32768
VMEMMAP = 0xFFFFEA0000000000


def flags_of(
    nid: int, zone: int, node_shift: int = 58, zone_shift: int = 55, cpupid: tuple[int, int] = (39, 16)
) -> int:
    """page->flags of a fresh page; the defaults are 6 node bits, 5 zones, 240 CPUs."""
    shift, width = cpupid
    return nid << node_shift | zone << zone_shift | ((1 << width) - 1) << shift


def fresh_page(pfn: int, flags: int, refcount: int = 1, start: int = VMEMMAP) -> bytes:
    """The 64 bytes after __init_single_page(): zero, links, references, an empty list head."""
    page = bytearray(64)
    struct.pack_into("<Q", page, 0x00, flags)
    own = start + pfn * 64 + 8
    struct.pack_into("<Q", page, 0x08, own)
    struct.pack_into("<Q", page, 0x10, own)
    struct.pack_into("<i", page, 0x30, -1)
    struct.pack_into("<i", page, 0x34, refcount)
    return bytes(page)


def tail_page(pfn: int, head: int, flags: int, start: int = VMEMMAP) -> bytes:
    """A prepared tail: fresh, mapping poisoned, linked to its head, reference frozen."""
    page = bytearray(fresh_page(pfn, flags, 0, start))
    struct.pack_into("<Q", page, 0x08, start + head * 64 + 1)
    struct.pack_into("<Q", page, 0x18, 0xDEAD000000000400)
    return bytes(page)


class NaiveDefer:
    """defer_init() of 6.12 asked for each page."""

    def __init__(self) -> None:
        self.prev_end = 0
        self.count = 0
        self.first: dict[int, int] = {}

    def __call__(self, nid: int, node_end: int, pfn: int, zone_end: int) -> bool:
        if zone_end < node_end:
            return False
        if nid in self.first:
            return True
        if self.prev_end != zone_end:
            self.prev_end, self.count = zone_end, 0
        self.count += 1
        if self.count > SECTION and pfn % SECTION == 0:
            self.first[nid] = pfn
            return True
        return False


def memmap_init(
    ranges: list[tuple[int, int, int]], zones: dict[int, list[tuple[int, int, int]]], defer: bool
) -> tuple[dict[int, tuple[int, int, bool]], list[str], dict[int, int]]:
    """(nid, zone, reserved) of every initialised pfn; the lines about holes; first deferred pfns.

    ``ranges`` are (start, end, nid) pfns of memory, ``zones`` each node's populated (index, start, end).
    """
    names = ("DMA", "DMA32", "Normal", "Movable", "Device")
    present = {pfn // SECTION for start, end, _ in ranges for pfn in (*range(start, end, SECTION), end - 1)}
    pages: dict[int, tuple[int, int, bool]] = {}
    lines: list[str] = []
    test = NaiveDefer()

    def hole(start: int, end: int, nid: int, zone: int) -> None:
        count = 0
        for pfn in range(start, end):
            if pfn // SECTION in present:
                pages[pfn] = (nid, zone, True)
                count += 1
        if count:
            lines.append(f"On node {nid}, zone {names[zone]}: {count} pages in unavailable ranges")

    at = 0
    for start, end, nid in ranges:
        node_end = max(high for _, _, high in zones[nid])
        for zone, low, high in zones[nid]:
            first, last = max(start, low), min(end, high)
            if first >= last:
                continue
            for pfn in range(first, last):
                if defer and test(nid, node_end, pfn, high):
                    break
                pages[pfn] = (nid, zone, False)
            hole(at, first, nid, zone)
            at = last
    _, end, nid = ranges[-1]
    hole(at, -(-end // SECTION) * SECTION, nid, zones[nid][-1][0])
    return pages, lines, test.first


def padata_chunks(start: int, size: int, align: int, min_chunk: int, max_threads: int) -> list[tuple[int, int]]:
    """Pieces in the order in which they are taken."""
    workers = size // max(min_chunk, align)
    workers = max(1, workers)
    workers = min(workers, max_threads)
    if workers == 1:
        return [(start, start + size)]
    chunk = size // (workers * 4)
    chunk = max(chunk, min_chunk)
    chunk = max(chunk, 1)
    while chunk % align:
        chunk += 1
    pieces = []
    left = size
    while left > 0:
        step = 1
        while (start + step) % chunk and step < left:
            step += 1
        pieces.append((start, start + step))
        start, left = start + step, left - step
    return pieces


class NaiveBuddy:
    """Free blocks as a set; a block and its buddy become one while both are there."""

    def __init__(self) -> None:
        self.blocks: set[tuple[int, int]] = set()

    def free(self, pfn: int, order: int) -> None:
        while order < 10 and (pfn ^ (1 << order), order) in self.blocks:
            self.blocks.remove((pfn ^ (1 << order), order))
            pfn = min(pfn, pfn ^ (1 << order))
            order += 1
        self.blocks.add((pfn, order))

    def pages(self) -> Iterator[int]:
        for pfn, order in self.blocks:
            yield from range(pfn, pfn + (1 << order))


class NaiveHeld:
    """Which lap was written last into each row, a row at a time."""

    def __init__(self) -> None:
        self.lap: dict[int, int] = {}

    def claim(self, start: int, end: int, lap: int) -> None:
        for row in range(start, end):
            self.lap[row] = lap

    def covers(self, start: int, end: int, lap: int) -> bool:
        return all(self.lap.get(row) == lap for row in range(start, end))


class NaiveMapTable:
    """Page table of the memory map as a dictionary: page of map -> [frame, writable]."""

    def __init__(self, sections: int, first_frame: int) -> None:
        self.entries = {page: [first_frame + page, True] for page in range(sections * 512)}

    def fold(self, head: int, pages: int, frame: int) -> list[int]:
        old = []
        for page in range(head // 64, (head + pages) // 64):
            old.append(self.entries[page][0])
            self.entries[page] = [frame, page == head // 64]
        return old

    def restore(self, head: int, pages: int, frames: list[int]) -> None:
        for page, frame in zip(range(head // 64 + 1, (head + pages) // 64), frames, strict=True):
            self.entries[page] = [frame, True]
