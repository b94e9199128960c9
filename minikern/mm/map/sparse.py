"""sparse_init(): which sections are present, and memory for their part of the memory map.

Source: mm/sparse.c, mm/sparse-vmemmap.c @ v6.12
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby
from typing import TYPE_CHECKING, NamedTuple

from hw.errors import MachineStopped
from hw.units import PAGE_SIZE, SMP_CACHE_BYTES
from minikern.host.backing import choose_backing
from minikern.mm.map.hugetlb_preinit import hugetlb_vmemmap_init_early
from minikern.mm.page.mmzone import PAGES_PER_SECTION, SECTION_SIZE_BITS
from minikern.mm.page.struct_page import PAGES_PER_MEMMAP_PAGE, vmemmap_start
from minikern.mm.page.vmemmap import SECTION_MAP_SIZE, Memmap, Vmemmap, joined
from minikern.state.memblock import Memblock

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

MEM_SECTION_SIZE, MEM_SECTION_SIZE_PAGE_EXT = 16, 32  # struct mem_section; Source: include/linux/mmzone.h @ v6.12
# struct mem_section_usage: rcu head, subsection map, 4 bits a pageblock; since 6.17 8 bits. Sizes seen in boot logs
MEM_SECTION_USAGE_SIZE, MEM_SECTION_USAGE_WIDE = 56, 88
DMA_LIMIT = 16 << 20  # memblock prefers addresses above; Source: mm/sparse.c:__pa(MAX_DMA_ADDRESS)
MAX_PHYSMEM_BITS_4LEVEL, MAX_PHYSMEM_BITS_5LEVEL = 46, 52  # Source: arch/x86/include/asm/sparsemem.h
_TABLE_SPANS = (30, 39, 48)  # bytes (log2) of virtual space below one PMD, PUD and P4D table page
SECTIONS_PER_TABLE = (1 << _TABLE_SPANS[0]) // SECTION_MAP_SIZE


class PresentSections(NamedTuple):
    """``size`` sections from ``first`` on that hold memory, with the node whose memory was seen there first."""

    first: int
    size: int
    nid: int

    @property
    def numbers(self) -> range:
        """The sections."""
        return range(self.first, self.first + self.size)


def present_sections(memblock: Memblock) -> list[PresentSections]:
    """Sections touched by memory, ascending. Source: mm/sparse.c:memblocks_present() @ v6.12"""
    found: list[PresentSections] = []
    next_free = 0  # regions ascend, so a section that was seen before is one of the last region's
    for region in memblock.memory_regions():
        start, end = -(-region.base // PAGE_SIZE), region.end // PAGE_SIZE
        first, after = max(start // PAGES_PER_SECTION, next_free), -(-end // PAGES_PER_SECTION)
        if start >= end or first >= after:
            continue
        nid, next_free = max(region.nid, 0), after
        if found and found[-1].nid == nid and found[-1].numbers.stop == first:
            first = found.pop().first
        found.append(PresentSections(first, after - first, nid))
    return found


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
    tables = _PageTables(k.memblock, vmemmap_start(five_level), five_level)
    nodes = groupby(sections, key=lambda run: run.nid)
    memmaps = list(joined(chain.from_iterable(_sparse_init_nid(k, nid, list(runs), tables) for nid, runs in nodes)))
    mapped = sum(entry.sections for entry in memmaps)
    folded = sum(run.size for run in sections) - mapped
    k.charge("vmemmap_section_map", mapped)
    k.charge("vmemmap_pte_set", folded * PAGES_PER_SECTION // PAGES_PER_MEMMAP_PAGE)
    return memmaps


def _alloc(memblock: Memblock, size: int, align: int, nid: int, what: str, min_addr: int = 0) -> int:
    place = memblock.alloc(size, align, nid=nid, min_addr=min_addr)
    if place is None:
        raise MachineStopped(f"sparse_init: no room for {size} bytes of {what} on node {nid}")
    return place


def _alloc_section_roots(
    memblock: Memblock, sections: list[PresentSections], five_level: bool, sections_per_root: int
) -> None:
    bits = MAX_PHYSMEM_BITS_5LEVEL if five_level else MAX_PHYSMEM_BITS_4LEVEL
    roots = (1 << (bits - SECTION_SIZE_BITS)) // sections_per_root
    _alloc(memblock, roots * 8, SMP_CACHE_BYTES, -1, "mem_section roots")
    made = -1
    for run in sections:
        for root in range(max(run.first // sections_per_root, made + 1), run.numbers[-1] // sections_per_root + 1):
            _alloc(memblock, PAGE_SIZE, SMP_CACHE_BYTES, run.nid, "mem_section")
            made = root


def _sparse_init_nid(k: Kernel, nid: int, runs: list[PresentSections], tables: _PageTables) -> Iterator[Memmap]:
    memblock: Memblock = k.memblock
    usage = MEM_SECTION_USAGE_WIDE if k.behaviour.pageblock_bits_wide else MEM_SECTION_USAGE_SIZE
    count = sum(run.size for run in runs)
    _alloc(memblock, usage * count, SMP_CACHE_BYTES, nid, "section usage maps")
    whole = k.behaviour.sparse_buffer  # releases from 7.x on ask for each section on its own
    buffer = _SparseBuffer(memblock, SECTION_MAP_SIZE * count if whole else 0, nid)

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
    for piece in _by_table(runs, preinit):
        tables.populate(piece[0], nid)
        place = buffer.alloc(SECTION_MAP_SIZE, len(piece))
        if place is not None:
            yield Memmap(piece[0], len(piece), place)
            continue
        for number in piece:
            place = buffer.alloc(SECTION_MAP_SIZE)
            yield section_memmap(memblock, number, nid) if place is None else Memmap(number, 1, place)
    buffer.fini()


def _by_table(runs: Iterable[PresentSections], left_out: set[int]) -> Iterator[range]:
    """Sections in order, those together whose maps hang below one page of the lowest table."""
    for run in runs:
        at, stop = run.first, run.numbers.stop
        while at < stop:
            end = min((at // SECTIONS_PER_TABLE + 1) * SECTIONS_PER_TABLE, stop)
            if left_out.isdisjoint(range(at, end)):
                yield range(at, end)
            else:
                yield from (range(number, number + 1) for number in range(at, end) if number not in left_out)
            at = end


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

    def alloc(self, size: int, count: int = 1) -> int | None:
        """``count`` times ``size`` bytes aligned to it, None if the buffer has no such room."""
        place = -(-self._at // size) * size
        if place + count * size > self._end:
            return None
        if self._at < place:
            self._memblock.phys_free(self._at, place - self._at)
        self._at = place + count * size
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
                self._alloc_table(nid)
        if base_pages:
            self._alloc_table(nid)

    def _alloc_table(self, nid: int) -> None:
        _alloc(self._memblock, PAGE_SIZE, PAGE_SIZE, nid, "vmemmap page table", DMA_LIMIT)


def vmemmap_init(k: Kernel, memmaps: Sequence[Memmap]) -> None:
    """Set ``k.vmemmap``: an arena for the map of the sections that ``sparse_init`` found.

    The map of huge pages in ``k.hugetlb.preinit`` was made folded. ``k.options.vmemmap`` chooses the backing. Raises
    InputError for an unknown one, one that this computer cannot hold, or without any section.
    """
    runs = [range(part.section, part.section + part.sections) for part in memmaps]
    preinit = k.hugetlb.preinit
    runs += [range(at.head // PAGES_PER_SECTION, (at.head + at.pages) // PAGES_PER_SECTION) for at in preinit]
    looked_at = k.options.looked_at or k.options.page_kernel is not None or bool(k.options.kernel)
    backing = choose_backing(sum(map(len, runs)), SECTION_MAP_SIZE, k.options.vmemmap, looked_at)
    start = vmemmap_start(k.pgtable_l5_enabled())
    k.vmemmap = Vmemmap(chain.from_iterable(runs), start, backing.slots, backing.counted)
    k.vmemmap.memmaps = list(memmaps)
    for entry in preinit:
        k.vmemmap.fold_early(entry)
