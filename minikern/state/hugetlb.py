"""Huge page sizes and pages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from hw.units import PAGE_SIZE
from minikern.mm.page.mmzone import MAX_PAGE_ORDER
from minikern.mm.page.struct_page import STRUCT_PAGE_SIZE
from minikern.mm.page.vmemmap import PreinitMap
from minikern.mm.page.vmemmap_table import VmemmapPageTable


@dataclass
class Hstate:
    """One huge page size. ``free_pages`` are the prepared pages (head pfns) in the order in which they were made."""

    order: int
    max_huge_pages: int = 0
    max_huge_pages_node: dict[int, int] = field(default_factory=dict)
    next_node: int = 0
    free_pages: list[int] = field(default_factory=list)
    invalid: int = 0  # pages given up because they lie in more than one zone

    @property
    def gigantic(self) -> bool:
        """True if the buddy allocator has no block of this size."""
        return self.order > MAX_PAGE_ORDER


class BootPage:
    """A gigantic page taken from memblock: its size, head pfn, and the node on whose list it waits.

    ``hvo``: its memory map was made folded; ``zones_valid``: it is known to lie in one zone.
    """

    def __init__(self, h: Hstate, pfn: int, nid: int) -> None:
        self.h, self.pfn, self.nid = h, pfn, nid
        self.hvo = self.zones_valid = False

    @property
    def pages(self) -> int:
        """Its 4 KiB pages."""
        return 1 << self.h.order


class CmaArea(NamedTuple):
    """Memory kept for the contiguous allocator; bytes."""

    base: int
    size: int
    name: str
    nid: int


@dataclass
class Cma:
    """The contiguous allocator's areas, and how much of them is for gigantic pages."""

    areas: list[CmaArea] = field(default_factory=list)
    hugetlb_size: int = 0  # bytes


@dataclass
class Hvo:
    """How huge pages' memory map is folded on one kernel, and what is.

    ``optimized`` are the heads whose map is folded now. ``fresh_head`` (6.2): the page that stays is a copy on a new
    frame; ``head_required`` (stable 6.12): without memory for it the huge page stays as it is, where others fall back
    to the old frame. ``batch`` (6.7): lists of huge pages are split, flushed, remapped, flushed and freed together.
    """

    table: VmemmapPageTable
    fresh_head: bool = True
    head_required: bool = False
    batch: bool = False
    optimized: set[int] = field(default_factory=set)
    flushes: int = 0


class HugetlbParameters(Protocol):
    """The reader of ``hugepagesz=`` and ``hugepages=``, and what it found so far."""

    hstates: list[Hstate]
    default: Hstate | None
    default_max_huge_pages: int
    default_in_node: dict[int, int]
    cma_warned: bool

    def parameter(self, name: str, value: str) -> None: ...

    def add_hstate(self, order: int) -> None: ...

    def set_default(self, order: int) -> None: ...


@dataclass
class HugeTLB:
    """All huge page sizes and pages of one boot. ``boot_pages`` wait to be gathered, in the order of allocation.

    ``memory_nodes`` are the nodes with memory, ascending; ``preinit`` the pages whose memory map was made folded.
    """

    cmdline: HugetlbParameters
    vmemmap_optimize: bool
    memory_nodes: list[int]
    boot_pages: list[BootPage] = field(default_factory=list)
    preinit: list[PreinitMap] = field(default_factory=list)
    hvo: Hvo | None = None
    parsed: bool = False  # all parameters at once, before the command line as a whole

    @property
    def hstates(self) -> list[Hstate]:
        """Sizes in the order in which they were registered."""
        return self.cmdline.hstates

    @property
    def optimized(self) -> set[int]:
        """Heads whose memory map is folded."""
        return self.hvo.optimized if self.hvo is not None else set()

    @property
    def page_table(self) -> VmemmapPageTable | None:
        """Page table of the memory map, once something was folded."""
        return self.hvo.table if self.hvo is not None else None

    def folios(self) -> Iterator[tuple[int, int]]:
        """(head pfn, order) of every prepared huge page."""
        for h in self.hstates:
            for pfn in h.free_pages:
                yield pfn, h.order


HUGETLB_VMEMMAP_RESERVE_SIZE = PAGE_SIZE


def hugetlb_vmemmap_optimizable_size(order: int) -> int:
    """Bytes of memory map that HVO can give back for a huge page of ``order``; 0 if there is nothing to gain."""
    size = (STRUCT_PAGE_SIZE << order) - HUGETLB_VMEMMAP_RESERVE_SIZE
    return max(size, 0)

