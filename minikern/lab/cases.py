"""Machines to try an algorithm on: hand-picked corners, and any booted machine's memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from minikern.mm.page.mmzone import MAX_DMA32_PFN, MAX_DMA_PFN, PAGES_PER_SECTION, ZONE_DMA, ZONE_DMA32, ZONE_NORMAL
from minikern.mm.page.page_flags import PageFlags
from minikern.mm.page.struct_page import VMEMMAP_START_4LEVEL, VMEMMAP_START_5LEVEL

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

MAX_PIECE = 1 << 19  # pages handed over in one call at most
OLD = PageFlags(6, 3, 16, 0, reserved_bit=12, private_bit=13, head_bit=16)
NEW = PageFlags(10, 3, 21, 3, reserved_bit=13, private_bit=14, head_bit=6)
NO_NUMA = PageFlags(0, 2, 0, 3, reserved_bit=13, private_bit=14, head_bit=6, buddy_type=0xF0000000)


class Piece(NamedTuple):
    """Pages [start, end) of one node and zone."""

    start: int
    end: int
    nid: int
    zone: int


@dataclass(frozen=True)
class Case:
    """One machine: memory as (start pfn, end pfn, node), reserved pfn ranges, and how its kernel lays flags out."""

    name: str
    memory: tuple[tuple[int, int, int], ...]
    reserved: tuple[tuple[int, int], ...] = ()
    flags: PageFlags = OLD
    vmemmap: int = VMEMMAP_START_4LEVEL
    threads: int = 4
    zoned: tuple[Piece, ...] = ()

    @property
    def pages(self) -> int:
        """Pages of memory."""
        return sum(end - start for start, end, _ in self.memory)

    @property
    def size(self) -> int:
        """What a smaller machine has less of."""
        return self.pages

    def pieces(self) -> Iterator[Piece]:
        """The memory by node and zone, in calls of bounded size."""
        for piece in self.zoned or self._by_zone():
            for start in range(piece.start, piece.end, MAX_PIECE):
                yield piece._replace(start=start, end=min(piece.end, start + MAX_PIECE))

    def _by_zone(self) -> Iterator[Piece]:
        low_zones = ((ZONE_DMA, 0, MAX_DMA_PFN), (ZONE_DMA32, MAX_DMA_PFN, MAX_DMA32_PFN))
        limits = (*low_zones, (ZONE_NORMAL, MAX_DMA32_PFN, 1 << 52))
        for start, end, nid in self.memory:
            for zone, low, high in limits:
                if max(start, low) < min(end, high):
                    yield Piece(max(start, low), min(end, high), nid, zone)

    def reserved_in(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The reserved parts of [start, end)."""
        for low, high in self.reserved:
            if max(low, start) < min(high, end):
                yield max(low, start), min(high, end)

    def describe(self) -> str:
        """The machine in one line."""
        ranges = ", ".join(f"[{start:#x}, {end:#x}) on node {nid}" for start, end, nid in self.memory[:6])
        more = f" and {len(self.memory) - 6} more" if len(self.memory) > 6 else ""
        held = ", ".join(f"[{low:#x}, {high:#x})" for low, high in self.reserved[:4])
        return f"{self.name}: pfns {ranges}{more}" + (f"; reserved {held}" if held else "")


def corner_cases() -> list[Case]:
    """Machines chosen by hand, smallest first."""
    section, block = PAGES_PER_SECTION, 1024
    big = MAX_DMA32_PFN + 8 * section
    four_gib = MAX_DMA32_PFN
    found = [
        Case("one page", ((5, 6, 0),)),
        Case("pfn 0", ((0, 1, 0),)),
        Case("two pages", ((6, 8, 0),)),
        Case("last page of DMA", ((0xFFF, 0x1000, 0),)),
        Case("across the DMA limit", ((0xFFF, 0x1001, 0),)),
        Case("across the DMA32 limit", ((four_gib - 1, four_gib + 1, 0),)),
        Case("node 1 only", ((0x5000, 0x5003, 1),)),
        Case("highest node of 6 bits", ((0x5000, 0x5003, 63),)),
        Case("highest node of 10 bits", ((0x5000, 0x5003, 1023),), flags=NEW),
        Case("no node bits", ((0x1001, 0x1009, 0),), flags=NO_NUMA),
        Case("five page-table levels", ((0x1001, 0x1009, 0),), vmemmap=VMEMMAP_START_5LEVEL, flags=NEW),
        Case("highest pfn of 46 bits", (((1 << 34) - 7, 1 << 34, 0),)),
        Case("highest pfn of 52 bits", (((1 << 40) - 7, 1 << 40, 0),), vmemmap=VMEMMAP_START_5LEVEL),
        Case("a reserved page", ((0x2000, 0x2010, 0),), ((0x2003, 0x2004),)),
        Case("all reserved", ((0x2000, 0x2010, 0),), ((0x2000, 0x2010),)),
        Case("reserved ends", ((0x2000, 0x2010, 0),), ((0x2000, 0x2001), (0x200F, 0x2010))),
        Case("low memory of a PC", ((1, 0x9F, 0), (0x100, 0x200, 0)), ((0x9E, 0x9F),)),
        Case("one page short of a block", ((0x2000, 0x2000 + block - 1, 0),)),
        Case("one page into a block", ((0x2001, 0x2000 + block, 0),)),
        Case("one block", ((0x2000, 0x2000 + block, 0),)),
        Case("a block and a page", ((0x2000, 0x2000 + block + 1, 0),)),
        Case("a page and a block", ((0x1FFF, 0x2000 + block, 0),)),
        Case("a block across its alignment", ((0x2000 + 512, 0x2000 + block + 512, 0),)),
        Case("two blocks less a page at each end", ((0x2001, 0x2000 + 2 * block - 1, 0),)),
        Case("three blocks", ((0x2000, 0x2000 + 3 * block, 0),), flags=NEW),
        Case("a huge page's worth", ((0x2000, 0x2000 + 512, 0),), flags=NEW),
        Case("nodes that alternate", tuple((0x4000 + 100 * i, 0x4000 + 100 * i + 90, i % 3) for i in range(12))),
        Case("holes of one page", tuple((0x3000 + 8 * i, 0x3000 + 8 * i + 7, 0) for i in range(20))),
        Case("one section less a page", ((section, 2 * section - 1, 0),)),
        Case("one section", ((section, 2 * section, 0),), threads=1),
        Case("a section and a page", ((section, 2 * section + 1, 0),)),
        Case("two nodes in one section", ((section, section + 9000, 0), (section + 9000, 2 * section, 1))),
        Case("sections off alignment", ((section + 77, 3 * section + 1000, 0),), ((2 * section, 2 * section + 5),)),
        Case("many sections", ((four_gib, four_gib + 9 * section, 0),), threads=3, flags=NEW),
        Case("two big nodes", ((four_gib, big, 0), (big, big + 7 * section, 1))),
    ]  # fmt: skip
    return sorted(found, key=lambda case: case.pages)


def case_of_kernel(name: str, k: Kernel) -> Case:
    """The machine of a finished boot, as its kernel divided it."""
    pages = k.page_alloc.pages
    regions = [(-(-r.base >> 12), r.end >> 12, max(r.nid, 0)) for r in k.memblock.memory_regions()]
    memory = tuple((start, end, nid) for start, end, nid in regions if start < end)
    zoned = tuple(Piece(*item) for start, end, _ in memory for item in pages.links(start, end))
    held = tuple((r.base >> 12, -(-r.end >> 12)) for r in k.memblock.reserved_regions())
    threads = max([len(cpus) for cpus in k.cpus.node_cpus().values()] or [1])
    return Case(name, memory, held, pages.flags, k.vmemmap.start, max(threads, 1), zoned)
