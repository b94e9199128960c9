"""sparse_init(): which sections are present, and memory for their part of the memory map.

Source: mm/sparse.c, mm/sparse-vmemmap.c @ v6.12
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from hw.errors import MachineStopped
from hw.units import PAGE_SIZE, SMP_CACHE_BYTES
from minikern.host.backing import choose_backing
from minikern.mm.map.hugetlb_preinit import hugetlb_vmemmap_init_early
from minikern.mm.page.mmzone import PAGES_PER_SECTION, SECTION_SIZE_BITS
from minikern.mm.page.struct_page import PAGES_PER_MEMMAP_PAGE, vmemmap_start
from minikern.mm.page.vmemmap import SECTION_MAP_SIZE, Memmap, Vmemmap
from minikern.state.memblock import Memblock

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

MEM_SECTION_SIZE, MEM_SECTION_SIZE_PAGE_EXT = 16, 32  # struct mem_section; Source: include/linux/mmzone.h @ v6.12
# struct mem_section_usage: rcu head, subsection map, 4 bits a pageblock; since 6.17 8 bits. Sizes seen in boot logs
MEM_SECTION_USAGE_SIZE, MEM_SECTION_USAGE_WIDE = 56, 88
DMA_LIMIT = 16 << 20  # memblock prefers addresses above; Source: mm/sparse.c:__pa(MAX_DMA_ADDRESS)
MAX_PHYSMEM_BITS_4LEVEL, MAX_PHYSMEM_BITS_5LEVEL = 46, 52  # Source: arch/x86/include/asm/sparsemem.h
_TABLE_SPANS = (30, 39, 48)  # bytes (log2) of virtual space below one PMD, PUD and P4D table page


class PresentSection(NamedTuple):
    """A section that holds memory, with the node whose memory was seen there first."""

    number: int
    nid: int


def present_sections(memblock: Memblock) -> list[PresentSection]:
    """Sections touched by memory, ascending. Source: mm/sparse.c:memblocks_present() @ v6.12"""
    first_nid: dict[int, int] = {}
    for region in memblock.memory_regions():
        start, end = -(-region.base // PAGE_SIZE), region.end // PAGE_SIZE
        if start < end:
            for number in range(start // PAGES_PER_SECTION, (end - 1) // PAGES_PER_SECTION + 1):
                first_nid.setdefault(number, max(region.nid, 0))
    return [PresentSection(number, first_nid[number]) for number in sorted(first_nid)]


def sparse_init(k: Kernel) -> list[Memmap]:
    """Find the present sections and reserve memory for their map as Linux does; returns where each one's map lies.

    Sections of gigantic pages whose map is made folded are left out (see ``hugetlb_preinit``).
    Charges ``vmemmap_section_map``, and ``vmemmap_pte_set`` for those.
    Raises MachineStopped when there is no memory left for the map.
    """
    five_level = k.pgtable_l5_enabled()
    sections = present_sections(k.memblock)
    page_ext = k.config.get("CONFIG_PAGE_EXTENSION", True)
    per_root = PAGE_SIZE // (MEM_SECTION_SIZE_PAGE_EXT if page_ext else MEM_SECTION_SIZE)
    _alloc_section_roots(k.memblock, sections, five_level, per_root)
    memmaps: list[Memmap] = []
    tables = _PageTables(k.memblock, vmemmap_start(five_level), five_level)
    for nid, group in groupby(sections, key=lambda section: section.nid):
        memmaps += _sparse_init_nid(k, nid, [section.number for section in group], tables)
    k.charge("vmemmap_section_map", len(memmaps))
    k.charge("vmemmap_pte_set", (len(sections) - len(memmaps)) * PAGES_PER_SECTION // PAGES_PER_MEMMAP_PAGE)
    return memmaps


def _alloc(memblock: Memblock, size: int, align: int, nid: int, what: str, min_addr: int = 0) -> int:
    place = memblock.alloc(size, align, nid=nid, min_addr=min_addr)
    if place is None:
        raise MachineStopped(f"sparse_init: no room for {size} bytes of {what} on node {nid}")
    return place


def _alloc_section_roots(
    memblock: Memblock, sections: list[PresentSection], five_level: bool, sections_per_root: int
) -> None:
    bits = MAX_PHYSMEM_BITS_5LEVEL if five_level else MAX_PHYSMEM_BITS_4LEVEL
    roots = (1 << (bits - SECTION_SIZE_BITS)) // sections_per_root
    _alloc(memblock, roots * 8, SMP_CACHE_BYTES, -1, "mem_section roots")
    for _, group in groupby(sections, key=lambda section: section.number // sections_per_root):
        _alloc(memblock, PAGE_SIZE, SMP_CACHE_BYTES, next(group).nid, "mem_section")


def _sparse_init_nid(k: Kernel, nid: int, numbers: list[int], tables: _PageTables) -> Iterator[Memmap]:
    memblock: Memblock = k.memblock
    usage = MEM_SECTION_USAGE_WIDE if k.behaviour.pageblock_bits_wide else MEM_SECTION_USAGE_SIZE
    _alloc(memblock, usage * len(numbers), SMP_CACHE_BYTES, nid, "section usage maps")
    whole = k.behaviour.sparse_buffer  # releases from 7.x on ask for each section on its own
    buffer = _SparseBuffer(memblock, SECTION_MAP_SIZE * len(numbers) if whole else 0, nid)

    def populate_hvo(head: int, pages: int) -> int:
        first = head // PAGES_PER_SECTION
        tables.populate(first, nid, base_pages=True)
        place = buffer.alloc(PAGE_SIZE)
        if place is None:
            place = _alloc(memblock, PAGE_SIZE, PAGE_SIZE, nid, f"memory map of pfn {head:#x}", DMA_LIMIT)
        for section in range(first + 1, first + pages // PAGES_PER_SECTION):
            tables.populate(section, nid, base_pages=True)
        return place // PAGE_SIZE

    k.hugetlb.preinit += hugetlb_vmemmap_init_early(k, nid, populate_hvo)
    preinit = {
        section
        for entry in k.hugetlb.preinit
        for section in range(entry.head // PAGES_PER_SECTION, (entry.head + entry.pages) // PAGES_PER_SECTION)
    }
    for number in numbers:
        if number in preinit:
            continue
        tables.populate(number, nid)
        place = buffer.alloc(SECTION_MAP_SIZE)
        yield section_memmap(memblock, number, nid) if place is None else Memmap(number, 1, place)
    buffer.fini()


def section_memmap(memblock: Memblock, number: int, nid: int) -> Memmap:
    """Memory for the map of one section, on its own. Source: mm/sparse-vmemmap.c:vmemmap_alloc_block() @ v6.12"""
    size = SECTION_MAP_SIZE
    return Memmap(number, 1, _alloc(memblock, size, size, nid, f"memory map of section {number}", DMA_LIMIT))


class _SparseBuffer:
    """A node's memory for its part of the map in one piece, if there is one; what nobody takes is given back.

    Source: mm/sparse.c:sparse_buffer_init(), sparse_buffer_alloc(), sparse_buffer_fini() @ v6.12
    """

    def __init__(self, memblock: Memblock, size: int, nid: int) -> None:
        self._memblock = memblock
        place = memblock.alloc(size, SECTION_MAP_SIZE, nid=nid, min_addr=DMA_LIMIT, exact_nid=True) if size else None
        self._at = place or 0
        self._end = self._at + size if place is not None else 0

    def alloc(self, size: int) -> int | None:
        """``size`` bytes aligned to it, None if the buffer has no such room."""
        place = -(-self._at // size) * size
        if place + size > self._end:
            return None
        if self._at < place:
            self._memblock.phys_free(self._at, place - self._at)
        self._at = place + size
        return place

    def fini(self) -> None:
        """Give the rest back."""
        if self._at < self._end:
            self._memblock.phys_free(self._at, self._end - self._at)


class _PageTables:
    """Page-table pages of the vmemmap range, allocated when their first section is populated."""

    def __init__(self, memblock: Memblock, start: int, five_level: bool) -> None:
        self._memblock = memblock
        self._start = start
        self._spans = _TABLE_SPANS if five_level else _TABLE_SPANS[:2]
        self._present: set[tuple[int, int]] = set()

    def populate(self, section: int, nid: int, base_pages: bool = False) -> None:
        """Make sure the tables above one section's PMD exist, or with ``base_pages`` above its PTEs.

        Source: mm/sparse-vmemmap.c:vmemmap_pgd_populate(), vmemmap_pmd_populate() @ v6.12
        """
        address = self._start + section * SECTION_MAP_SIZE
        for span in reversed(self._spans):
            if (span, address >> span) not in self._present:
                self._present.add((span, address >> span))
                _alloc(self._memblock, PAGE_SIZE, PAGE_SIZE, nid, "vmemmap page table", DMA_LIMIT)
        if base_pages:
            _alloc(self._memblock, PAGE_SIZE, PAGE_SIZE, nid, "vmemmap page table", DMA_LIMIT)


def vmemmap_init(k: Kernel, memmaps: Sequence[Memmap]) -> None:
    """Set ``k.vmemmap``: an arena for the map of the sections that ``sparse_init`` found.

    The map of huge pages in ``k.hugetlb.preinit`` was made folded. ``k.options.vmemmap`` chooses the backing. Raises
    InputError for an unknown one, one that this computer cannot hold, or without any section.
    """
    sections = [part.section + offset for part in memmaps for offset in range(part.sections)]
    preinit = k.hugetlb.preinit
    for entry in preinit:
        sections += range(entry.head // PAGES_PER_SECTION, (entry.head + entry.pages) // PAGES_PER_SECTION)
    looked_at = k.options.page_kernel is not None
    backing = choose_backing(len(sections), SECTION_MAP_SIZE, k.options.vmemmap, looked_at)
    k.vmemmap = Vmemmap(sections, vmemmap_start(k.pgtable_l5_enabled()), backing.slots, backing.counted)
    k.vmemmap.memmaps = list(memmaps)
    for entry in preinit:
        k.vmemmap.fold_early(entry)
