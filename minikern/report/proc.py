"""What /proc says about memory after a boot, in Linux's formats, and the kpageflags file that ``page-types -F`` reads.

Only what this kernel keeps is printed: it has no page cache, no slab and no per-CPU statistics, so those figures are
zero or left out. Source: mm/vmstat.c, fs/proc/meminfo.c, fs/proc/page.c @ v6.12
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from hw.errors import InputError
from minikern.mm.mmzone import MAX_PAGE_ORDER, PAGEBLOCK_NR_PAGES, PAGEBLOCK_ORDER, ZONE_MOVABLE, Pglist, Zone
from minikern.mm.struct_page import W_FLAGS

KIB_PER_PAGE = 4
MIGRATETYPES = ("Unmovable", "Movable", "Reclaimable", "HighAtomic", "Isolate")  # without CMA
COUNTED_TYPES = 3  # the last two never have free blocks at boot
LOWMEM_RESERVE_RATIO = (256, 256, 32, 0, 0)  # Source: mm/page_alloc.c:sysctl_lowmem_reserve_ratio
WATERMARK_SCALE_FACTOR = 10  # in ten thousandths; Source: mm/page_alloc.c
MIN_FREE_KBYTES = (128, 262144)  # bounds; Source: mm/page_alloc.c:calculate_min_free_kbytes() @ v6.12
MIGRATE_PCPTYPES = 3
THP_MIN_PAGES = 512 << 8  # 512 MiB; Source: mm/huge_memory.c:hugepage_init() @ v6.12
VMALLOC_TOTAL_KIB = {4: 34359738367, 5: 13743895347199}  # Source: Documentation/arch/x86/x86_64/mm.rst
KPF_BUDDY, KPF_COMPOUND_HEAD, KPF_COMPOUND_TAIL, KPF_HUGE = 1 << 10, 1 << 15, 1 << 16, 1 << 17
KPF_NOPAGE, KPF_RESERVED = 1 << 20, 1 << 32  # Source: include/uapi/linux/kernel-page-flags.h, kernel-page-flags.h
PAGES_PER_SECTION = 1 << 15
CHUNK_PAGES = 32 * PAGES_PER_SECTION  # of kpageflags written at a time


def _nodes(k: Any) -> list[Pglist]:
    return sorted((node for node in k.nodes if node.last_zone is not None), key=lambda node: node.nid)


def _nr_free(k: Any, zone: Zone) -> int:
    area = k.page_alloc.areas.get((zone.nid, zone.index))
    return area.free_pages if area else 0


def buddyinfo(k: Any) -> str:
    """/proc/buddyinfo: free blocks of each order. Source: mm/vmstat.c:frag_show_print()"""
    out = []
    for node in _nodes(k):
        for zone in node.zones:
            if zone.present_pages:
                counts = k.page_alloc.areas[node.nid, zone.index].nr_free
                cells = "".join(f"{count:6d} " for count in counts)
                out.append(f"Node {node.nid}, zone {zone.name:>8s} {cells}\n")
    return "".join(out)


# watermarks


def nr_free_buffer_pages(k: Any) -> int:
    """Managed pages below the Movable zone, which kernel memory can come from. Source: mm/page_alloc.c"""
    return sum(zone.managed_pages for node in k.nodes for zone in node.zones if zone.index < ZONE_MOVABLE)


def min_free_pages(k: Any) -> int:
    """Pages kept free: by the size of memory, raised for transparent huge pages.

    Source: mm/page_alloc.c:calculate_min_free_kbytes(), mm/khugepaged.c:set_recommended_min_free_kbytes() @ v6.12
    """
    lowmem = nr_free_buffer_pages(k)
    by_size = math.isqrt(lowmem * KIB_PER_PAGE * 16)
    kib = min(max(by_size, MIN_FREE_KBYTES[0]), MIN_FREE_KBYTES[1])
    if k.page_alloc.totalram_pages < THP_MIN_PAGES:
        return kib // KIB_PER_PAGE
    zones = sum(1 for node in k.nodes for zone in node.zones if zone.managed_pages and zone.index < ZONE_MOVABLE)
    recommended = PAGEBLOCK_NR_PAGES * zones * 2 + PAGEBLOCK_NR_PAGES * zones * MIGRATE_PCPTYPES * MIGRATE_PCPTYPES
    return max(kib // KIB_PER_PAGE, min(recommended, lowmem // 20))


def watermarks(k: Any, zone: Zone) -> tuple[int, int, int]:
    """(min, low, high) in pages. Source: mm/page_alloc.c:__setup_per_zone_wmarks() @ v6.12"""
    lowmem = nr_free_buffer_pages(k)
    if not lowmem or not zone.managed_pages or zone.index >= ZONE_MOVABLE:
        return 0, 0, 0
    least = min_free_pages(k) * zone.managed_pages // lowmem
    step = max(least >> 2, zone.managed_pages * WATERMARK_SCALE_FACTOR // 10000)
    return least, least + step, least + 2 * step


def lowmem_reserve(node: Pglist, zone: Zone) -> list[int]:
    """Pages an allocation meant for each higher zone leaves alone.

    Source: mm/page_alloc.c:setup_per_zone_lowmem_reserve() @ v6.12
    """
    ratio = LOWMEM_RESERVE_RATIO[zone.index]
    reserve = [0] * len(node.zones)
    managed = 0
    for upper in node.zones[zone.index + 1 :]:
        managed += upper.managed_pages
        reserve[upper.index] = managed // ratio if ratio and zone.managed_pages else 0
    return reserve


def zoneinfo(k: Any) -> str:
    """/proc/zoneinfo without the event counters and per-CPU lists. Source: mm/vmstat.c:zoneinfo_show_print()"""
    return "".join(_zone_text(k, node, zone) for node in _nodes(k) for zone in node.zones)


def _zone_text(k: Any, node: Pglist, zone: Zone) -> str:
    free = _nr_free(k, zone)
    least, low, high = watermarks(k, zone)
    rows = [("boost", 0), ("min", least), ("low", low), ("high", high), ("spanned", zone.spanned_pages)]
    rows += [("present", zone.present_pages), ("managed", zone.managed_pages), ("cma", 0)]
    text = f"Node {node.nid}, zone {zone.name:>8s}\n  pages free     {free}\n"
    text += "".join(f"        {name:<8s} {value}\n" for name, value in rows)
    text += "        protection: (" + ", ".join(map(str, lowmem_reserve(node, zone))) + ")\n"
    if not zone.present_pages:
        return text
    return text + f"      nr_free_pages {free}\n  node_unreclaimable:  0\n  start_pfn:           {zone.start_pfn}\n"


# pagetypeinfo


def pagetypeinfo(k: Any) -> str:
    """/proc/pagetypeinfo: free blocks by migrate type, pageblocks by type. Source: mm/vmstat.c:pagetypeinfo_show()"""
    return "".join(_node_types(k, node) for node in _nodes(k))


def _node_types(k: Any, node: Pglist) -> str:
    zones = [zone for zone in node.zones if zone.present_pages]
    orders = "".join(f"{order:6d} " for order in range(MAX_PAGE_ORDER + 1))
    out = [f"Page block order: {PAGEBLOCK_ORDER}\nPages per block:  {PAGEBLOCK_NR_PAGES}\n\n"]
    out.append(f"{'Free pages count per migrate type at order':<43s} {orders}\n")
    for zone in zones:
        for number, name in enumerate(MIGRATETYPES):
            counts = _free_of_type(k, zone, number)
            cells = "".join(f"{count:6d} " for count in counts)
            out.append(f"Node {node.nid:4d}, zone {zone.name:>8s}, type {name:>12s} {cells}\n")
    out.append(f"\n{'Number of blocks type ':<23s}" + "".join(f"{name:>12s} " for name in MIGRATETYPES) + "\n")
    for zone in zones:
        counts = pageblock_counts(k, zone)
        out.append(f"Node {node.nid}, zone {zone.name:>8s} " + "".join(f"{count:12d} " for count in counts) + "\n")
    return "".join(out)


def _free_of_type(k: Any, zone: Zone, migratetype: int) -> list[int]:
    if migratetype >= COUNTED_TYPES:
        return [0] * (MAX_PAGE_ORDER + 1)
    area = k.page_alloc.areas[zone.nid, zone.index]
    counts = [len(lists[migratetype]) for lists in area.small]
    return [*counts, sum(blocks for _, blocks in area.largest[migratetype])]


def pageblock_counts(k: Any, zone: Zone) -> list[int]:
    """Pageblocks of a zone by migrate type, seen from the zone's first pfn in steps of a block.

    Source: mm/vmstat.c:pagetypeinfo_showblockcount_print() @ v6.12
    """
    counts = [0] * len(MIGRATETYPES)
    start, end = zone.start_pfn, zone.end_pfn
    for low, high in k.vmemmap.valid_ranges(start, end):
        for part in k.page_alloc.pages.links(low, high):
            if (part.nid, part.zone) != (zone.nid, zone.index):
                continue
            # After the first, possibly odd, pfn the walk goes on at the block's boundaries.
            first = -(-part.start // PAGEBLOCK_NR_PAGES) * PAGEBLOCK_NR_PAGES
            blocks = k.page_alloc.pageblock_types[first // PAGEBLOCK_NR_PAGES : -(-part.end // PAGEBLOCK_NR_PAGES)]
            for number, count in zip(*np.unique(blocks, return_counts=True), strict=True):
                counts[int(number)] += int(count)
            if part.start == start and start % PAGEBLOCK_NR_PAGES:
                counts[int(k.page_alloc.migratetype(start))] += 1
    return counts


# meminfo


def meminfo(k: Any) -> str:
    """/proc/meminfo: the lines this kernel has figures for. Source: fs/proc/meminfo.c:meminfo_proc_show() @ v6.12"""
    free = k.page_alloc.nr_free_pages()
    reserved = sum(
        min(max(lowmem_reserve(node, zone)) + watermarks(k, zone)[2], zone.managed_pages)
        for node in k.nodes
        for zone in node.zones
    )
    rows = [("MemTotal", k.page_alloc.totalram_pages), ("MemFree", free), ("MemAvailable", max(free - reserved, 0))]
    rows += [(name, 0) for name in ("Buffers", "Cached", "SwapCached", "SwapTotal", "SwapFree", "Dirty", "Writeback")]
    rows += [(name, 0) for name in ("AnonPages", "Mapped", "Shmem")]
    text = "".join(f"{name + ':':<15s} {pages * KIB_PER_PAGE:8d} kB\n" for name, pages in rows)
    levels = 5 if k.pgtable_l5_enabled() else 4
    return text + f"VmallocTotal:   {VMALLOC_TOTAL_KIB[levels]:8d} kB\n" + _hugetlb_rows(k)


def _hugetlb_rows(k: Any) -> str:
    # Source: mm/hugetlb.c:hugetlb_report_meminfo() @ v6.12
    default = k.hugetlb.cmdline.default if k.hugetlb is not None else None
    if default is None:
        return ""
    count = len(default.free_pages)
    total = sum(len(h.free_pages) << h.order for h in k.hugetlb.hstates) * KIB_PER_PAGE
    rows = (("HugePages_Total", count), ("HugePages_Free", count), ("HugePages_Rsvd", 0), ("HugePages_Surp", 0))
    text = "".join(f"{name + ':':<15s}  {value:6d}\n" for name, value in rows)
    size = KIB_PER_PAGE << default.order
    return text + f"Hugepagesize:   {size:8d} kB\nHugetlb:        {total:8d} kB\n"


# kpageflags


def kpageflags(k: Any) -> Iterator[npt.NDArray[np.uint64]]:
    """The file's 64-bit words, one a pfn from 0 to the end of the last section, in pieces.

    InputError if the memory map was not kept whole. Source: fs/proc/page.c:kpageflags_read() @ v6.12
    """
    end = -(-k.max_pfn // PAGES_PER_SECTION) * PAGES_PER_SECTION
    free = sorted(
        (pfn, pfn + (blocks << order))
        for area in k.page_alloc.areas.values()
        for pfn, order, blocks in area.stretches()
    )
    folios = sorted(k.hugetlb.folios()) if k.hugetlb is not None else []
    for start in range(0, end, CHUNK_PAGES):
        yield _flags_of(k, start, min(start + CHUNK_PAGES, end), free, folios)


def _flags_of(
    k: Any, start: int, end: int, free: list[tuple[int, int]], folios: list[tuple[int, int]]
) -> npt.NDArray[np.uint64]:
    flags = np.full(end - start, KPF_NOPAGE, dtype=np.uint64)
    reserved = np.uint64(k.page_alloc.pages.flags.reserved)
    for run in k.vmemmap.runs(start, end):
        part = flags[run.pfn - start : run.pfn - start + run.pages]
        part[:] = 0
        for piece, held in k.vmemmap.pieces(run):
            rows = k.vmemmap.rows(piece)[:, W_FLAGS]
            if held:
                at = piece.pfn - run.pfn
                part[at : at + piece.pages] = np.where(rows & reserved, np.uint64(KPF_RESERVED), np.uint64(0))
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


def write_kpageflags(k: Any, file: BinaryIO) -> int:
    """Write the file; returns its bytes."""
    written = 0
    for words in kpageflags(k):
        data = words.astype("<u8").tobytes()
        file.write(data)
        written += len(data)
    return written


VIEWS = {"buddyinfo": buddyinfo, "zoneinfo": zoneinfo, "meminfo": meminfo, "pagetypeinfo": pagetypeinfo}
