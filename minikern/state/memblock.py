"""memblock: the allocator before the allocators. Two sorted lists of ranges, memory and reserved.

Source: mm/memblock.c @ v6.12
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from enum import IntFlag
from typing import NamedTuple

from hw.units import PAGE_SIZE

NUMA_NO_NODE = -1
PHYS_ADDR_MAX = 2**64 - 1
INIT_MEMBLOCK_REGIONS = 128  # size of the static arrays; Source: include/linux/memblock.h
MEMBLOCK_LOW_LIMIT = 0


class Flags(IntFlag):
    """Region flags. Source: include/linux/memblock.h:enum memblock_flags @ v7.3"""

    NONE = 0x0
    HOTPLUG = 0x1
    MIRROR = 0x2
    NOMAP = 0x4
    RSRV_NOINIT = 0x10
    RSRV_KERN = 0x20  # the kernel's own, which the next kernel will want as much of
    KHO_SCRATCH = 0x40  # no memory handed over lies in it
    HUGETLB = 0x80


class Region(NamedTuple):
    """[base, end) bytes of node ``nid`` (-1: none) with ``flags``."""

    base: int
    end: int
    nid: int = NUMA_NO_NODE
    flags: int = 0

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.base


class MemblockType:
    """One sorted list of disjoint regions; neighbours of the same node and flags are merged."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.regions: list[Region] = []

    def add_range(self, base: int, size: int, nid: int, flags: int) -> None:
        """Insert [base, base+size) where it is not covered yet; covered parts keep what they had.

        Source: mm/memblock.c:memblock_add_range() @ v6.12
        """
        end = min(base + size, PHYS_ADDR_MAX)
        if end <= base:
            return
        first = self._first_ending_after(base)
        last = first
        pieces: list[Region] = []
        cursor = base
        while last < len(self.regions) and self.regions[last].base < end:
            old = self.regions[last]
            if cursor < old.base:
                pieces.append(Region(cursor, old.base, nid, flags))
            pieces.append(old)
            cursor = max(cursor, old.end)
            last += 1
        if cursor < end:
            pieces.append(Region(cursor, end, nid, flags))
        # Neighbours just outside may merge with the new pieces.
        low = max(first - 1, 0)
        high = min(last + 1, len(self.regions))
        self.regions[low:high] = merge([*self.regions[low:first], *pieces, *self.regions[last:high]])

    def remove_range(self, base: int, size: int) -> None:
        """Take [base, base+size) out, splitting regions at its ends. Source: mm/memblock.c:memblock_remove_range()"""
        end = base + size
        first = self._first_ending_after(base)
        last, kept = first, list[Region]()
        while last < len(self.regions) and self.regions[last].base < end:
            old = self.regions[last]
            if old.base < base:
                kept.append(old._replace(end=base))
            if old.end > end:
                kept.append(old._replace(base=end))
            last += 1
        self.regions[first:last] = kept

    def change_range(
        self, base: int, size: int, *, nid: int | None = None, set_flags: int = 0, clear_flags: int = 0
    ) -> None:
        """Give the regions inside [base, base+size) a node or flags, splitting at the ends.

        Source: mm/memblock.c:memblock_set_node(), memblock_setclr_flag() @ v6.12
        """
        end = base + size
        first = self._first_ending_after(base)
        last, pieces = first, list[Region]()
        while last < len(self.regions) and self.regions[last].base < end:
            old = self.regions[last]
            low, high = max(old.base, base), min(old.end, end)
            if old.base < low:
                pieces.append(old._replace(end=low))
            flags = old.flags & ~clear_flags | set_flags
            pieces.append(Region(low, high, old.nid if nid is None else nid, flags))
            if high < old.end:
                pieces.append(old._replace(base=high))
            last += 1
        low_index, high_index = max(first - 1, 0), min(last + 1, len(self.regions))
        self.regions[low_index:high_index] = merge(
            [*self.regions[low_index:first], *pieces, *self.regions[last:high_index]]
        )

    def overlaps(self, base: int, end: int) -> bool:
        """True if any region meets [base, end)."""
        index = self._first_ending_after(base)
        return index < len(self.regions) and self.regions[index].base < end

    def total(self) -> int:
        """Bytes in all regions."""
        return sum(region.size for region in self.regions)

    def check(self) -> None:
        """Invariants: sorted, disjoint, not empty, no mergeable neighbours. AssertionError names the first fault."""
        for left, right in zip(self.regions, self.regions[1:], strict=False):
            assert left.end <= right.base, f"memblock.{self.name}: {left} overlaps {right}"
            same = left.nid == right.nid and left.flags == right.flags
            assert not (left.end == right.base and same), f"memblock.{self.name}: {left} and {right} were not merged"
        for region in self.regions:
            assert region.base < region.end, f"memblock.{self.name}: {region} is empty"

    def _first_ending_after(self, base: int) -> int:
        # Regions are disjoint and sorted, so their ends are sorted as well.
        return bisect_right(self.regions, base, key=lambda region: region.end)


def merge(regions: Iterable[Region]) -> list[Region]:
    """Join touching regions of equal node and flags. Source: mm/memblock.c:memblock_merge_regions() @ v6.12"""
    merged: list[Region] = []
    for region in regions:
        last = merged[-1] if merged else None
        if last and last.end == region.base and last.nid == region.nid and last.flags == region.flags:
            merged[-1] = last._replace(end=region.end)
        else:
            merged.append(region)
    return merged


class Memblock:
    """The two lists and the allocation over them. Addresses and sizes in bytes.

    ``bottom_up`` allocates from the lowest address instead of the highest, ``skip_hotplug`` leaves memory alone that
    is marked as hot-pluggable: both are what ``movable_node`` asks for. ``kho_scratch_only`` allocates from scratch.
    """

    def __init__(self) -> None:
        self.memory = MemblockType("memory")
        self.reserved = MemblockType("reserved")
        self.current_limit = PHYS_ADDR_MAX
        self.bottom_up = False
        self.skip_hotplug = False
        self.kho_scratch_only = False

    def add(self, base: int, size: int) -> None:
        """Add RAM."""
        self.memory.add_range(base, size, NUMA_NO_NODE, Flags.NONE)

    def remove(self, base: int, size: int) -> None:
        """Take RAM away."""
        self.memory.remove_range(base, size)

    def reserve(self, base: int, size: int, flags: int = 0, nid: int = NUMA_NO_NODE) -> None:
        """Mark a range as used."""
        self.reserved.add_range(base, size, nid, flags)

    def reserve_kern(self, base: int, size: int) -> None:
        """Mark a range as used by the kernel itself."""
        self.reserve(base, size, Flags.RSRV_KERN)

    def phys_free(self, base: int, size: int) -> None:
        """Give a reserved range back."""
        self.reserved.remove_range(base, size)

    def trim_memory(self, align: int) -> None:
        """Cut every memory region to ``align``; what becomes empty goes. Source: memblock_trim_memory()"""
        for region in list(self.memory.regions):
            start = -(-region.base // align) * align
            end = region.end // align * align
            if start >= end:
                self.remove(region.base, region.size)
                continue
            if start > region.base:
                self.remove(region.base, start - region.base)
            if end < region.end:
                self.remove(end, region.end - end)

    def set_node(self, base: int, size: int, nid: int) -> None:
        """Give the memory inside a range its node."""
        self.memory.change_range(base, size, nid=nid)

    def set_reserved_node(self, base: int, size: int, nid: int) -> None:
        """Give what is reserved inside a range its node."""
        self.reserved.change_range(base, size, nid=nid)

    def mark_hotplug(self, base: int, size: int) -> None:
        """Flag memory that may be taken away later."""
        self.memory.change_range(base, size, set_flags=Flags.HOTPLUG)

    def clear_hotplug(self, base: int, size: int) -> None:
        """Take that flag away again."""
        self.memory.change_range(base, size, clear_flags=Flags.HOTPLUG)

    def mark_kho_scratch(self, base: int, size: int) -> None:
        """Flag memory as scratch."""
        self.memory.change_range(base, size, set_flags=Flags.KHO_SCRATCH)

    def clear_kho_scratch(self, base: int, size: int) -> None:
        """Take that flag away again."""
        self.memory.change_range(base, size, clear_flags=Flags.KHO_SCRATCH)

    def reserved_kern_bytes(self, limit: int = PHYS_ADDR_MAX, nid: int = NUMA_NO_NODE) -> int:
        """Bytes reserved for the kernel itself below ``limit``, of ranges of node ``nid`` if one is given.

        Huge pages that are flagged as such are not counted.

        Source: mm/memblock.c:memblock_reserved_kern_size() @ v7.2
        """
        return sum(
            min(region.end, limit) - region.base
            for region in self.reserved.regions
            if region.flags & (Flags.RSRV_KERN | Flags.HUGETLB) == Flags.RSRV_KERN
            and nid in (NUMA_NO_NODE, region.nid)
            and region.base <= limit
        )

    def reserved_mark_noinit(self, base: int, size: int) -> None:
        """Flag reserved memory whose struct pages must not be initialised (since 6.7)."""
        self.reserved.change_range(base, size, set_flags=Flags.RSRV_NOINIT)

    def memory_regions(self) -> list[Region]:
        """Memory, ascending."""
        return self.memory.regions

    def reserved_regions(self) -> list[Region]:
        """Reserved ranges, ascending."""
        return self.reserved.regions

    def phys_mem_size(self) -> int:
        """Bytes of memory."""
        return self.memory.total()

    def start_of_dram(self) -> int:
        """First byte of memory."""
        return self.memory.regions[0].base

    def end_of_dram(self) -> int:
        """First byte after memory."""
        return self.memory.regions[-1].end

    def free_ranges(
        self, nid: int = NUMA_NO_NODE, skip_hotplug: bool = False, scratch_only: bool = False
    ) -> Iterator[tuple[int, int, int]]:
        """Memory minus reserved as (start, end, nid), ascending. Source: mm/memblock.c:__next_mem_range() @ v6.12"""
        reserved = self.reserved.regions
        index = 0
        for region in self.memory.regions:
            if nid not in (NUMA_NO_NODE, region.nid) or (skip_hotplug and region.flags & Flags.HOTPLUG):
                continue
            if scratch_only and not region.flags & Flags.KHO_SCRATCH:
                continue
            while index > 0 and reserved[index - 1].end > region.base:
                index -= 1
            while index < len(reserved) and reserved[index].end <= region.base:
                index += 1
            cursor, at = region.base, index
            while at < len(reserved) and reserved[at].base < region.end:
                if cursor < reserved[at].base:
                    yield cursor, reserved[at].base, region.nid
                cursor = max(cursor, reserved[at].end)
                at += 1
            if cursor < region.end:
                yield cursor, region.end, region.nid

    def find_in_range(self, start: int, end: int, size: int, align: int, nid: int = NUMA_NO_NODE) -> int | None:
        """Highest aligned free place for ``size`` bytes inside [start, end), None if there is none.

        With ``bottom_up`` it is the lowest place. Page 0 is never given out.
        Source: mm/memblock.c:__memblock_find_range_top_down(), __memblock_find_range_bottom_up() @ v6.12
        """
        start = max(start, PAGE_SIZE)
        end = max(start, min(end or self.current_limit, self.current_limit))
        if self.bottom_up:
            return self._find_bottom_up(start, end, size, align, nid)
        for low, high in self._free_ranges_top_down(nid, size):
            low, high = max(low, start), min(high, end)
            if high - low < size:
                continue
            place = (high - size) // align * align
            if place >= low:
                return place
        return None

    def _find_bottom_up(self, start: int, end: int, size: int, align: int, nid: int) -> int | None:
        for low, high, _ in self.free_ranges(nid, self.skip_hotplug, self.kho_scratch_only):
            low, high = max(low, start), min(high, end)
            place = -(-low // align) * align
            if place < high and high - place >= size:
                return place
        return None

    def _free_ranges_top_down(self, nid: int, size: int) -> Iterator[tuple[int, int]]:
        # Those of at least ``size`` bytes. Once huge pages are taken, hundreds of reservations lie above what is looked
        # for, so little is done for each.
        reserved = self.reserved.regions
        for region in reversed(self.memory.regions):
            if nid not in (NUMA_NO_NODE, region.nid) or (self.skip_hotplug and region.flags & Flags.HOTPLUG):
                continue
            if self.kho_scratch_only and not region.flags & Flags.KHO_SCRATCH:
                continue
            bottom, top = region.base, region.end
            cursor = top
            for at in range(bisect_right(reserved, top - 1, key=lambda item: item.base) - 1, -1, -1):
                base, end, _, _ = reserved[at]
                if end <= bottom:
                    break
                # Between neighbours that were not merged lies an empty range, where nothing at all fits.
                if cursor - end >= size and end < top:
                    yield end, cursor
                if base < cursor:
                    cursor = base
            if cursor > bottom:
                yield bottom, cursor

    def alloc(
        self,
        size: int,
        align: int,
        nid: int = NUMA_NO_NODE,
        min_addr: int = MEMBLOCK_LOW_LIMIT,
        max_addr: int = 0,
        exact_nid: bool = False,
    ) -> int | None:
        """Reserve ``size`` bytes top-down for the kernel and return their address, None if there is no room.

        The node is a preference unless ``exact_nid``, and the range carries it only where it was met; the lower limit
        is given up before failing. Source: mm/memblock.c:memblock_alloc_range_nid(), memblock_alloc_internal() @ v7.2
        """
        for low in (min_addr, MEMBLOCK_LOW_LIMIT) if min_addr else (min_addr,):
            place, found_on = self.find_in_range(low, max_addr, size, align, nid), nid
            if place is None and nid != NUMA_NO_NODE and not exact_nid:
                place, found_on = self.find_in_range(low, max_addr, size, align), NUMA_NO_NODE
            if place is not None:
                self.reserve(place, size, Flags.RSRV_KERN, found_on)
                return place
        return None

    def alloc_hugetlb(self, size: int, nid: int, exact_nid: bool, areas: Iterable[tuple[int, int]]) -> int | None:
        """Reserve a huge page, aligned to its size, that touches none of the scratch ``areas`` (address, size).

        Those are for the kernels to come, while a huge page may itself be handed over. Extended scratch will do.
        Source: mm/memblock.c:memblock_alloc_hugetlb() @ v7.3
        """
        taken = [(base, base + length) for base, length in areas]
        for node in (nid,) if exact_nid or nid == NUMA_NO_NODE else (nid, NUMA_NO_NODE):
            start, end = 0, 0
            while (place := self.find_in_range(start, end, size, size, node)) is not None:
                if not any(low < place + size and place < high for low, high in taken):
                    self.reserve(place, size, Flags.RSRV_KERN | Flags.HUGETLB, node)
                    return place
                start, end = (place + size, 0) if self.bottom_up else (0, place)
        return None

    def phys_alloc_range(self, size: int, align: int, start: int, end: int) -> int | None:
        """Reserve inside [start, end) and nowhere else. Source: mm/memblock.c:memblock_phys_alloc_range() @ v6.12"""
        place = self.find_in_range(start, end, size, align)
        if place is not None:
            self.reserve_kern(place, size)
        return place

    def check(self) -> None:
        """Invariants of both lists."""
        self.memory.check()
        self.reserved.check()
