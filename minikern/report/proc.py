"""What /proc says about memory after a boot, in Linux's formats, and the kpageflags file that ``page-types -F`` reads.

Only what this kernel keeps is printed: it has no page cache, no slab and no per-CPU statistics, so those figures are
zero or left out. Source: mm/vmstat.c, fs/proc/meminfo.c, fs/proc/page.c @ v6.12
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import numpy.typing as npt

from hw.errors import InputError
from minikern.mm.buddy.watermarks import watermarks
from minikern.mm.buddy.zones import memory_pfn_ranges
from minikern.mm.page.mmzone import (
    MAX_NR_ZONES,
    MAX_PAGE_ORDER,
    PAGEBLOCK_NR_PAGES,
    PAGEBLOCK_ORDER,
    ZONE_DEVICE,
    Pglist,
    Zone,
)
from minikern.mm.page.struct_page import W_FLAGS
from minikern.state.page_alloc import FREE_LISTS, MIGRATE_CMA

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

KIB_PER_PAGE = 4
# Source: mm/show_mem.c:migratetype_names @ v6.12
MIGRATETYPES = ("Unmovable", "Movable", "Reclaimable", "HighAtomic", "CMA", "Isolate")
VMALLOC_TOTAL_KIB = {4: 34359738367, 5: 13743895347199}  # Source: Documentation/arch/x86/x86_64/mm.rst
KPF_BUDDY, KPF_COMPOUND_HEAD, KPF_COMPOUND_TAIL, KPF_HUGE = 1 << 10, 1 << 15, 1 << 16, 1 << 17
KPF_NOPAGE, KPF_RESERVED, KPF_PRIVATE = 1 << 20, 1 << 32, 1 << 36  # Source: uapi/linux/kernel-page-flags.h
PAGES_PER_SECTION = 1 << 15
CHUNK_PAGES = 32 * PAGES_PER_SECTION  # of kpageflags written at a time


def _nodes(k: Kernel, memoryless: bool = False) -> list[Pglist]:
    # A node without memory is online if it has CPUs.
    with_cpus = set(k.cpus.node_cpus()) if memoryless else set()
    online = (node for node in k.nodes if node.last_zone is not None or node.nid in with_cpus)
    return sorted(online, key=lambda node: node.nid)


def _nr_free(k: Kernel, zone: Zone) -> int:
    area = k.page_alloc.areas.get((zone.nid, zone.index))
    return area.free_pages if area else 0


def buddyinfo(k: Kernel) -> str:
    """/proc/buddyinfo: free blocks of each order. Source: mm/vmstat.c:frag_show_print()"""
    out = []
    for node in _nodes(k):
        for zone in node.zones:
            if zone.present_pages:
                counts = k.page_alloc.areas[node.nid, zone.index].nr_free
                cells = "".join(f"{count:6d} " for count in counts)
                out.append(f"Node {node.nid}, zone {zone.name:>8s} {cells}\n")
    return "".join(out)


# zoneinfo


def lowmem_reserve(k: Kernel, zone: Zone) -> list[int]:
    """Pages that allocations meant for each higher zone leave alone."""
    found: list[int] = k.page_alloc.lowmem_reserve.get((zone.nid, zone.index), [0] * MAX_NR_ZONES)
    return found


def zoneinfo(k: Kernel) -> str:
    """/proc/zoneinfo without the event counters and per-CPU lists. Source: mm/vmstat.c:zoneinfo_show_print()"""
    return "".join(_zone_text(k, node, zone) for node in _nodes(k, memoryless=True) for zone in _zones(k, node))


def _zones(k: Kernel, node: Pglist) -> list[Zone]:
    return node.zones if k.config.enabled("CONFIG_ZONE_DEVICE") else node.zones[:ZONE_DEVICE]


def _zone_text(k: Kernel, node: Pglist, zone: Zone) -> str:
    free = _nr_free(k, zone)
    marks = watermarks(k, zone)
    rows = [("boost", 0), ("min", marks.min), ("low", marks.low), ("high", marks.high)]
    if k.behaviour.zoneinfo_promo:
        rows.append(("promo", marks.promo))
    rows += [("spanned", zone.spanned_pages), ("present", zone.present_pages)]
    rows += [("managed", zone.managed_pages), ("cma", zone.cma_pages)]
    text = f"Node {node.nid}, zone {zone.name:>8s}\n  pages free     {free}\n"
    text += "".join(f"        {name:<8s} {value}\n" for name, value in rows)
    reserve = lowmem_reserve(k, zone)[: len(_zones(k, node))]
    text += "        protection: (" + ", ".join(map(str, reserve)) + ")\n"
    if not zone.present_pages:
        return text
    return text + f"      nr_free_pages {free}\n  node_unreclaimable:  0\n  start_pfn:           {zone.start_pfn}\n"


# pagetypeinfo


def pagetypeinfo(k: Kernel) -> str:
    """/proc/pagetypeinfo: free blocks by migrate type, pageblocks by type. Source: mm/vmstat.c:pagetypeinfo_show()"""
    return "".join(_node_types(k, node) for node in _nodes(k))


def _node_types(k: Kernel, node: Pglist) -> str:
    zones = [zone for zone in node.zones if zone.present_pages]
    orders = "".join(f"{order:6d} " for order in range(MAX_PAGE_ORDER + 1))
    out = [f"Page block order: {PAGEBLOCK_ORDER}\nPages per block:  {PAGEBLOCK_NR_PAGES}\n\n"]
    out.append(f"{'Free pages count per migrate type at order':<43s} {orders}\n")
    types = _migratetypes(k)
    for zone in zones:
        for number, name in types:
            counts = _free_of_type(k, zone, number)
            cells = "".join(f"{count:6d} " for count in counts)
            out.append(f"Node {node.nid:4d}, zone {zone.name:>8s}, type {name:>12s} {cells}\n")
    out.append(f"\n{'Number of blocks type ':<23s}" + "".join(f"{name:>12s} " for _, name in types) + "\n")
    for zone in zones:
        blocks = pageblock_counts(k, zone)
        cells = "".join(f"{blocks[number]:12d} " for number, _ in types)
        out.append(f"Node {node.nid}, zone {zone.name:>8s} {cells}\n")
    return "".join(out)


def _migratetypes(k: Kernel) -> list[tuple[int, str]]:
    named = enumerate(MIGRATETYPES)
    return [(number, name) for number, name in named if number != MIGRATE_CMA or k.config.enabled("CONFIG_CMA")]


def _free_of_type(k: Kernel, zone: Zone, migratetype: int) -> list[int]:
    if migratetype >= FREE_LISTS:
        return [0] * (MAX_PAGE_ORDER + 1)
    area = k.page_alloc.areas[zone.nid, zone.index]
    counts = [len(lists[migratetype]) for lists in area.small]
    return [*counts, sum(blocks for _, blocks in area.largest[migratetype])]


def pageblock_counts(k: Kernel, zone: Zone) -> list[int]:
    """Pageblocks of a zone by migrate type, seen from the zone's first pfn in steps of a block.

    Source: mm/vmstat.c:pagetypeinfo_showblockcount_print() @ v6.12
    """
    counts = [0] * len(MIGRATETYPES)
    start, end = zone.start_pfn, zone.end_pfn
    for low, high in online_ranges(k, start, end):
        for part in k.page_alloc.pages.links(low, high):
            if (part.nid, part.zone) != (zone.nid, zone.index):
                continue
            # After the first, possibly odd, pfn the walk goes on in steps of a block.
            at = part.start + (start - part.start) % PAGEBLOCK_NR_PAGES
            first, steps = at // PAGEBLOCK_NR_PAGES, max(0, -(-(part.end - at) // PAGEBLOCK_NR_PAGES))
            blocks = k.page_alloc.pageblock_types[first : first + steps]
            for number, count in zip(*np.unique(blocks, return_counts=True), strict=True):
                counts[int(number)] += int(count)
    return counts


def online_ranges(k: Kernel, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The parts of [start, end) whose subsections, which are as large as pageblocks, have memory.

    Source: mm/memory_hotplug.c:pfn_to_online_page(), mm/sparse.c:subsection_map_init() @ v6.12
    """
    cursor = start
    for first, last, _ in memory_pfn_ranges(k):
        low = max(first // PAGEBLOCK_NR_PAGES * PAGEBLOCK_NR_PAGES, cursor)
        high = min(-(-last // PAGEBLOCK_NR_PAGES) * PAGEBLOCK_NR_PAGES, end)
        if low < high:
            yield low, high
            cursor = high


# meminfo


def meminfo(k: Kernel) -> str:
    """/proc/meminfo: the lines this kernel has figures for. Source: fs/proc/meminfo.c:meminfo_proc_show() @ v6.12"""
    free = k.page_alloc.nr_free_pages()
    reserved = sum(
        min(max(lowmem_reserve(k, zone)) + watermarks(k, zone).high, zone.managed_pages)
        for node in k.nodes
        for zone in node.zones
    )
    rows = [("MemTotal", k.page_alloc.totalram_pages), ("MemFree", free), ("MemAvailable", max(free - reserved, 0))]
    rows += [(name, 0) for name in ("Buffers", "Cached", "SwapCached", "SwapTotal", "SwapFree", "Dirty", "Writeback")]
    rows += [(name, 0) for name in ("AnonPages", "Mapped", "Shmem")]
    text = "".join(f"{name + ':':<15s} {pages * KIB_PER_PAGE:8d} kB\n" for name, pages in rows)
    levels = 5 if k.pgtable_l5_enabled() else 4
    return text + f"VmallocTotal:   {VMALLOC_TOTAL_KIB[levels]:8d} kB\n" + _hugetlb_rows(k)


def _hugetlb_rows(k: Kernel) -> str:
    # Source: mm/hugetlb.c:hugetlb_report_meminfo() @ v6.12
    default = k.hugetlb.cmdline.default
    if default is None:
        return ""
    count = len(default.free_pages)
    total = sum(len(h.free_pages) << h.order for h in k.hugetlb.hstates) * KIB_PER_PAGE
    rows = (("HugePages_Total", count), ("HugePages_Free", count), ("HugePages_Rsvd", 0), ("HugePages_Surp", 0))
    text = "".join(f"{name + ':':<15s}  {value:6d}\n" for name, value in rows)
    size = KIB_PER_PAGE << default.order
    return text + f"Hugepagesize:   {size:8d} kB\nHugetlb:        {total:8d} kB\n"


# kpageflags


def kpageflags(k: Kernel) -> Iterator[npt.NDArray[np.uint64]]:
    """The file's 64-bit words, one a pfn from 0 to the end of the last section, in pieces.

    InputError if the memory map was not kept whole. Source: fs/proc/page.c:kpageflags_read() @ v6.12
    """
    end = -(-k.totals.max_pfn // PAGES_PER_SECTION) * PAGES_PER_SECTION
    free = sorted(
        (pfn, pfn + (blocks << order))
        for area in k.page_alloc.areas.values()
        for pfn, order, blocks in area.stretches()
    )
    folios = sorted(k.hugetlb.folios())
    for start in range(0, end, CHUNK_PAGES):
        yield _flags_of(k, start, min(start + CHUNK_PAGES, end), free, folios)


def _flags_of(
    k: Kernel, start: int, end: int, free: list[tuple[int, int]], folios: list[tuple[int, int]]
) -> npt.NDArray[np.uint64]:
    flags = np.full(end - start, KPF_NOPAGE, dtype=np.uint64)
    layout, zero = k.page_alloc.pages.flags, np.uint64(0)
    bits = ((layout.reserved, KPF_RESERVED), (layout.private, KPF_PRIVATE))
    for run in k.vmemmap.runs(start, end):
        part = flags[run.pfn - start : run.pfn - start + run.pages]
        part[:] = 0
        for piece, held in k.vmemmap.pieces(run):
            rows = k.vmemmap.rows(piece)[:, W_FLAGS]
            if held:
                at = piece.pfn - run.pfn
                for mask, kpf in bits:
                    part[at : at + piece.pages] |= np.where(rows & np.uint64(mask), np.uint64(kpf), zero)
            elif k.vmemmap.backing != "full":
                raise InputError("kpageflags needs the whole memory map: boot with --vmemmap full")
    for low, high in free:
        if low < end and high > start:
            flags[max(low, start) - start : min(high, end) - start] = KPF_BUDDY
    for head, order in folios:
        low, high = max(head, start), min(head + (1 << order), end)
        if low < high:
            flags[low - start : high - start] = KPF_COMPOUND_TAIL | KPF_HUGE
            if head == low:
                flags[low - start] = KPF_COMPOUND_HEAD | KPF_HUGE
    return flags


def write_kpageflags(k: Kernel, file: BinaryIO) -> int:
    """Write the file; returns its bytes."""
    written = 0
    for words in kpageflags(k):
        data = words.astype("<u8").tobytes()
        file.write(data)
        written += len(data)
    return written


VIEWS = {"buddyinfo": buddyinfo, "zoneinfo": zoneinfo, "meminfo": meminfo, "pagetypeinfo": pagetypeinfo}
