"""Slow, obviously right twins, written from the descriptions and not from the code under test.

Maps and allocators here are dictionaries and sets of single pages or bytes; they fit small numbers only.
"""

from __future__ import annotations

PAGE = 4096


def sanitise(entries: list[tuple[int, int, int]], granule: int = 1) -> list[tuple[int, int, int]]:
    """An e820 map resolved byte by byte (in steps of ``granule``): the highest type wins, equal neighbours join.

    Types 12 and 0xefffffff are left out: they are never joined, which a map of single bytes cannot show.
    """
    owner: dict[int, int] = {}
    for addr, size, kind in entries:
        for byte in range(addr, addr + size, granule):
            owner[byte] = max(owner.get(byte, 0), kind)
    result: list[list[int]] = []
    for byte in sorted(owner):
        last = result[-1] if result else None
        if last and last[0] + last[1] == byte and last[2] == owner[byte]:
            last[1] += granule
        else:
            result.append([byte, granule, owner[byte]])
    return [(addr, size, kind) for addr, size, kind in result]


class PageSet:
    """memblock as sets of page numbers."""

    def __init__(self) -> None:
        self.memory: set[int] = set()
        self.reserved: set[int] = set()

    def free(self) -> set[int]:
        """Pages of memory nobody has."""
        return self.memory - self.reserved

    def alloc(self, pages: int, align: int, low: int, high: int) -> int | None:
        """Highest aligned run of free pages inside [low, high); page 0 is never given out."""
        free = self.free()
        start = (high - pages) // align * align
        while start >= max(low, 1):
            if all(page in free for page in range(start, start + pages)):
                self.reserved |= set(range(start, start + pages))
                return start
            start -= align
        return None


def runs(pages: set[int]) -> list[tuple[int, int]]:
    """A set of page numbers as half-open runs."""
    result: list[tuple[int, int]] = []
    for page in sorted(pages):
        if result and result[-1][1] == page:
            result[-1] = (result[-1][0], page + 1)
        else:
            result.append((page, page + 1))
    return result


def gaps(used: list[tuple[int, int]], top: int) -> list[tuple[int, int]]:
    """Holes below ``top`` that half-open ``used`` ranges leave, as (start, size), by start."""
    holes, cursor = [], 0
    for start, end in sorted(used):
        if start > cursor:
            holes.append((cursor, min(start, top) - cursor))
        cursor = max(cursor, end)
    if cursor < top:
        holes.append((cursor, top - cursor))
    return [(start, size) for start, size in holes if size > 0]


def hash_buckets(kernel_pages: int, all_pages: int, bucket: int, scale: int) -> int:
    """Buckets of a system hash table: one for each 2^scale bytes of kernel memory, fewer per byte above 64 GiB."""
    mib = -(-kernel_pages * PAGE // 2**20)
    memory = mib * 2**20
    threshold = 64 * 2**30
    while memory > threshold:
        scale += 1
        threshold *= 4
    wanted = max(memory // 2**scale, PAGE // bucket)
    power = 1
    while power < wanted:
        power *= 2
    limit = min(all_pages * PAGE // 16 // bucket, 2**31)
    while power > limit:
        power //= 2
    return power
