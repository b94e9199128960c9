"""Every rule of the check on its own: what breaks it, the first page it names, and what it says, word for word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minikern.state.e820 import Entry
from minikern.verify import page_check_lists as lists
from minikern.verify import page_check_owners as owners
from minikern.verify import page_check_zones as zones
from minikern.verify.page_check import check_memmap
from minikern.verify.page_check_state import cut, expected_spans, places
from tests.mm.fake_kernel import MIB
from tests.support import run
from tests.verify.mutants import Saved

pytestmark = pytest.mark.big

WORDS = "movablecore=64M hugepages=4 hugetlb_free_vmemmap=on"
Damage = Callable[[Any, pytest.MonkeyPatch], object]


def all_zones(k: Any) -> None:
    zones.check_zones(k, places(k))


def accounts(k: Any) -> None:
    lists.check_accounting(k, list(cut(places(k), expected_spans(k))))


def zone(k: Any, nid: int, index: int) -> Any:
    return k.nodes[nid].zones[index]


def area(k: Any, nid: int, index: int) -> Any:
    return k.page_alloc.areas[nid, index]


def moved(item: Any, name: str, by: int) -> None:
    setattr(item, name, getattr(item, name) + by)


def region(k: Any, at: int, base: int, end: int, nid: int) -> None:
    """Memory ``at`` has other bounds, in pages."""
    old = k.memblock.memory.regions[at]
    k.memblock.memory.regions[at] = old._replace(base=base << 12, end=end << 12, nid=nid)


def listed(k: Any, nid: int, index: int, pfn: int, order: int, kind: int) -> None:
    area(k, nid, index).add(pfn, order, kind, tail=True)


def relisted(k: Any, pfn: int, to: int, order: int) -> None:
    """The free block of node 0's second zone at ``pfn`` is another."""
    kind = area(k, 0, 1).remove(pfn)
    listed(k, 0, 1, to, order, kind)


def halved(k: Any, low: int, high: int) -> None:
    """The first free block of the highest order on node 1 in two halves, of these types."""
    stretches = area(k, 1, 1).largest[1]
    pfn, blocks = stretches[0]
    stretches[0] = (pfn + 1024, blocks - 1)
    area(k, 1, 1).nr_free[10] -= 1
    listed(k, 1, 1, pfn, 9, low)
    listed(k, 1, 1, pfn + 512, 9, high)


def freed(k: Any, start: int, end: int) -> None:
    before = list(k.page_alloc.released)
    k.page_alloc.free_reserved_range(start, end)
    k.page_alloc.released[:] = before


def typed(k: Any, block: int, kind: int) -> None:
    k.page_alloc.pageblock_types[block] = kind


def pte(k: Any, pfn: int, change: Callable[[int], int]) -> None:
    section, at = divmod(pfn // 64, 512)
    entries = k.hugetlb.page_table._pte[section]
    entries[at] = change(int(entries[at]))


@pytest.fixture(scope="module")
def booted_once() -> tuple[Any, Saved]:
    """Two nodes with a Movable zone each, and two folded huge pages on each of them."""
    sizes: dict[str, Any] = {"memory": "512M", "numa": ("256M,cpus=0", "256M,cpus=1")}
    k = run("tiny", "", WORDS, "linux-6.18", **sizes).kernel
    assert check_memmap(k).ok
    return k, Saved(k)


RULES: dict[str, tuple[Callable[[Any], object], Damage, int, str]] = {
    # free lists
    "no blocks": (lists.check_free_lists, lambda k, _: area(k, 1, 1).largest[1].append((0x13000, 0)), 0x13000,
        "free block 0x13000 order 10: a stretch of 0 blocks"),
    "not aligned": (lists.check_free_lists, lambda k, _: relisted(k, 0x4044, 0x4046, 2), 0x4046,
        "free block 0x4046 order 2: not aligned to its size"),
    "before its zone": (lists.check_free_lists, lambda k, _: listed(k, 1, 1, 0xFFFF, 0, 1), 0xFFFF,
        "free block 0xffff order 0: outside of node 1 zone DMA32, on whose list it is"),
    "behind its zone": (lists.check_free_lists, lambda k, _: listed(k, 0, 1, 0xE000, 0, 1), 0xE000,
        "free block 0xe000 order 0: outside of node 0 zone DMA32, on whose list it is"),
    "over the end of its zone": (lists.check_free_lists, lambda k, _: listed(k, 0, 0, 0xE00, 10, 1), 0xE00,
        "free block 0xe00 order 10: not aligned to its size"),
    "twice": (lists.check_free_lists, lambda k, _: listed(k, 0, 1, 0x4048, 2, 0), 0x4048,
        "free block 0x4048 order 3: it is on two lists, or overlaps block 0x4048 order 2"),
    "inside another": (lists.check_free_lists, lambda k, _: listed(k, 0, 1, 0x404F, 0, 0), 0x404F,
        "free block 0x404f order 0: it is on two lists, or overlaps block 0x4048 order 3"),
    "not merged": (lists.check_free_lists, lambda k, _: (relisted(k, 0x4048, 0x404C, 2),
        listed(k, 0, 1, 0x4048, 2, 1)), 0x4048,
        "free block 0x4048 order 2: its buddy is free, too, and was not merged with it"),
    "over another": (lists.check_free_lists, lambda k, _: listed(k, 0, 1, 0x4000, 9, 0), 0x4043,
        "free block 0x4043 order 0: it is on two lists, or overlaps block 0x4000 order 9"),
    "pageblocks not merged": (lists.check_free_lists, lambda k, _: halved(k, 1, 1), 0x10400,
        "free block 0x10400 order 9: its buddy is free, too, and was not merged with it"),
    "reclaimable pageblocks not merged": (lists.check_free_lists, lambda k, _: halved(k, 1, 2), 0x10400,
        "free block 0x10400 order 9: its buddy is free, too, and was not merged with it"),
    "more than counted": (lists.check_free_lists, lambda k, _: area(k, 0, 1).small[1][2].update({0x4040: None}),
        0x1000, "node 0 zone DMA32 order 1: 3 free blocks on the lists, nr_free says 2"),
    "fewer than counted": (lists.check_free_lists, lambda k, _: area(k, 0, 3).largest[1].pop(), 0xE000,
        "node 0 zone Movable order 10: 0 free blocks on the lists, nr_free says 5"),
    "type on its page": (lists.check_free_lists, lambda k, _: area(k, 0, 1).where.update({0x4048: (3, 1)}), 0x4048,
        "free block 0x4048: lists have (order, type) (3, 0), its page (3, 1)"),
    "order on its page": (lists.check_free_lists, lambda k, _: area(k, 0, 1).where.update({0x3E00: (8, 1)}), 0x3E00,
        "free block 0x3e00: lists have (order, type) (9, 1), its page (8, 1)"),
    "a page that says it is free": (lists.check_free_lists, lambda k, _: area(k, 0, 1).where.update({0x4000: (0, 0)}),
        0x4000, "free block 0x4000: lists have (order, type) None, its page (0, 0)"),
    # counts
    "present": (accounts, lambda k, _: moved(zone(k, 0, 1), "present_pages", 1), 0x1000,
        "node 0 zone DMA32: 53249 pages present, but memory has 53248"),
    "managed": (accounts, lambda k, _: moved(zone(k, 1, 1), "managed_pages", -1), 0x10000,
        "node 1 zone DMA32: 57343 pages managed, but free, allocated and huge pages are 57344"),
    "total": (accounts, lambda k, _: moved(k.page_alloc, "totalram_pages", 1), 1,
        "totalram is 118239 pages, managed and deferred are 118238"),
    "nobody's": (accounts, lambda k, _: area(k, 0, 1).remove(0x4048), 0x4048,
        "pfn 0x4048: memory that nobody owns"),
    "a forgotten allocation": (accounts, lambda k, _: k.page_alloc.allocated.pop(0x4000), 0x4000,
        "pfn 0x4000: memory that nobody owns"),
    # folded maps
    "folded and not huge": (lists.check_folds, lambda k, _: k.hugetlb.optimized.add(0x11000), 0x11000,
        "pfn 0x11000: its memory map is folded, but it is no huge page"),
    "read-only head": (lists.check_folds, lambda k, _: pte(k, 0xE200, lambda e: e & ~1), 0xE200,
        "pfn 0xe200: the memory map of the head of a huge page is mapped read-only"),
    "first alias writable": (lists.check_folds, lambda k, _: pte(k, 0xE240, lambda e: e | 1), 0xE240,
        "memory map of pfn 0xe240: expected a read-only alias of frame {0xe200}, came writable frame {0xe200}"),
    "last alias elsewhere": (lists.check_folds, lambda k, _: pte(k, 0x1E1C0, lambda e: 0x4048 << 1), 0x1E1C0,
        "memory map of pfn 0x1e1c0: expected a read-only alias of frame {0x1e000}, came read-only frame 0x4048"),
    "folds unknown": (lists.check_folds, lambda k, _: k.vmemmap._folded.clear(), 0xE040,
        "pfn 0xe040: its memory map is folded to pfn 0xe000, but reads its own"),
    # owners
    "an allocation inside a free block": (owners.check_owners, lambda k, _: k.page_alloc.allocated.update({0x404F: 0}),
        0x404F, "pfn 0x404f: allocation inside the free block of pfn 0x4048"),
    "a free block inside a huge page": (owners.check_owners, lambda k, _: listed(k, 0, 3, 0xE3FF, 0, 1), 0xE3FF,
        "pfn 0xe3ff: free block inside the huge page of pfn 0xe200"),
    "a huge page askew": (owners.check_owners,
        lambda k, _: next(h for h in k.hugetlb.hstates if h.free_pages).free_pages.insert(0, 0xE401), 0xE401,
        "pfn 0xe401: a huge page of order 9 that is not aligned to its size"),
    "the first reserved page": (owners.check_owners, lambda k, _: freed(k, 0xF800, 0xF801), 0xF800,
        "free block of pfn 0xf800: on reserved memory"),
    "the last reserved page": (owners.check_owners, lambda k, _: freed(k, 0xF841, 0xF842), 0xF841,
        "free block of pfn 0xf841: on reserved memory"),
    "what was given back no longer is": (owners.check_owners, lambda k, _: k.page_alloc.released.pop(0), 0xFD80,
        "free block of pfn 0xfd80: on reserved memory"),
    # pageblocks
    "another list": (owners.check_pageblocks, lambda k, _: typed(k, 0x11000 // 512 + 1, 2), 0x10400,
        "free block 0x10400 order 10: on the list of type 1, its pageblock has type 2"),
    "a small block's list": (owners.check_pageblocks, lambda k, _: typed(k, 0x4048 // 512, 1), 0x4043,
        "free block 0x4043 order 0: on the list of type 0, its pageblock has type 1"),
    "set apart": (owners.check_pageblocks, lambda k, _: typed(k, 9, 3), 0x1200,
        "pageblock 9: type 3, which none can have"),
    "no such type": (owners.check_pageblocks, lambda k, _: typed(k, 0xE000 // 512, 5), 0xE000,
        "pageblock 112: type 5, which none can have"),
    "no area there": (owners.check_pageblocks, lambda k, _: typed(k, 0xE200 // 512, 4), 0xE200,
        "pageblock 113 of pfn 0xe200 has type CMA, but is in no area"),
    "pages of no area": (owners.check_pageblocks, lambda k, _: moved(zone(k, 1, 1), "cma_pages", 512), 0x10000,
        "node 1 zone DMA32: 512 pages for CMA, its areas have 0"),
    "in a hole": (owners.check_pageblocks, lambda k, _: (typed(k, 0, 1), area(k, 0, 0).remove(0x100),
        listed(k, 0, 0, 0x100, 8, 1)), 0,
        "pageblock 0 of pfn 0x0 begins in no memory, but has type 1"),
    "reclaimable before anybody asked": (owners.check_pageblocks, lambda k, _: typed(k, 0x1000 // 512, 2), 0x1000,
        "pageblock 8 of pfn 0x1000 was never free, but has type 2"),
    # frames of the map
    "one frame for two": (owners.check_map_frames, lambda k, _: pte(k, 0xF040, lambda e: frame(k, 0xF000) << 1 | 1),
        0xF040, "memory map of pfn 0xf040: on the frame of that of pfn 0xf000"),
    "a frame that is free": (owners.check_map_frames, lambda k, _: pte(k, 0xF040, lambda e: 0x404F << 1 | 1), 0x404F,
        "frame 0x404f holds memory map of pfn 0xf040, but is free"),
    "a frame at the head of a free block": (owners.check_map_frames,
        lambda k, _: pte(k, 0xF040, lambda e: 0x4048 << 1 | 1), 0x4048,
        "frame 0x4048 holds memory map of pfn 0xf040, but is free"),
    # nodes and zones
    "memory inside memory": (all_zones, lambda k, _: region(k, 2, 0xFFFF, 0x1FF00, 1), 0xFFFF,
        "memory at pfn 0xffff begins inside the memory before it"),
    "nodes": (zones.check_nodes, lambda k, _: region(k, 2, 0x10000, 0x1FF00, 4), 1,
        "memory of nodes [0, 4], nodes are [0, 1]"),
    "node twice": (zones.check_nodes, lambda k, patch: patch.setattr(k.nodes[1], "nid", 0), 1,
        "memory of nodes [0, 1], nodes are [0]"),
    "node's end": (all_zones, lambda k, _: moved(k.nodes[0], "end_pfn", 1), 1,
        "node 0 spans 0x1..0x10001, its memory 0x1..0x10000"),
    "node's start": (all_zones, lambda k, _: moved(k.nodes[1], "start_pfn", -1), 0x10000,
        "node 1 spans 0xffff..0x1ff00, its memory 0x10000..0x1ff00"),
    "zone's node": (all_zones, lambda k, _: moved(zone(k, 1, 1), "nid", -1), 0x10000,
        "node 1: zone DMA32 calls itself one of node 0"),
    "zone's index": (all_zones, lambda k, _: moved(zone(k, 1, 3), "index", -2), 0x1E000,
        "node 1: zone DMA32 calls itself one of node 1"),
    "where Movable begins": (all_zones, lambda k, _: (moved(zone(k, 0, 3), "start_pfn", 512),
        moved(zone(k, 0, 3), "spanned_pages", -512), moved(zone(k, 0, 1), "spanned_pages", 512),
        moved(zone(k, 0, 1), "present_pages", 512)), 0xE200,
        "node 0: zone Movable begins at pfn 0xe200, no multiple of 1024"),
    "zone's span": (all_zones, lambda k, _: moved(zone(k, 0, 0), "spanned_pages", 1), 1,
        "node 0 zone DMA: from pfn 0x1 on 4096 pages spanned, 3998 present; "
        "memory and limits give from pfn 0x1 on 4095 pages spanned, 3998 present"),
    "zone's start": (all_zones, lambda k, _: moved(zone(k, 0, 1), "start_pfn", 1), 0x1001,
        "node 0 zone DMA32: from pfn 0x1001 on 53248 pages spanned, 53248 present; "
        "memory and limits give from pfn 0x1000 on 53248 pages spanned, 53248 present"),
    "zone lost": (all_zones, lambda k, _: [setattr(zone(k, 0, 0), name, 0) for name in
        ("start_pfn", "spanned_pages", "present_pages")], 1,
        "node 0 zone DMA: from pfn 0x0 on 0 pages spanned, 0 present; "
        "memory and limits give from pfn 0x1 on 4095 pages spanned, 3998 present"),
    "no such memory": (all_zones, lambda k, patch: patch.setattr(k.e820, "table",
        [Entry(0, 0x9FC00, 1), Entry(MIB, 0x1FE00000 - MIB, 1)]), 0x1FE00,
        "pfn 0x1fe00 of node 1 is memory, but not in the firmware's map"),
    "a gap in the map": (all_zones, lambda k, patch: patch.setattr(k.e820, "table",
        [Entry(0, 0x9FC00, 1), Entry(MIB, 0xFEFF000, 1), Entry(0x10000000, 0xFF00000, 1)]), 0xFFFF,
        "pfn 0xffff of node 0 is memory, but not in the firmware's map"),
    "reserved in the map": (all_zones, lambda k, patch: patch.setattr(k.e820, "table",
        [Entry(0, 0x9FC00, 2), Entry(MIB, 0x1FF00000 - MIB, 1)]), 1,
        "pfn 0x1 of node 0 is memory, but not in the firmware's map"),
    "link": (all_zones, lambda k, _: relinked(k, 0x10000, nid=0), 0x10000,
        "pfn 0x10000: not known as a page of node 1 zone 1"),
    "link's zone": (all_zones, lambda k, _: relinked(k, 0xE000, zone=1), 0xE000,
        "pfn 0xe000: not known as a page of node 0 zone 3"),
    # what is kept back
    "managed before": (zones.check_watermarks, lambda k, _: k.page_alloc.wmark_managed.update({(1, 1): 57345}),
        0x10000, "node 1 zone DMA32: 57344 pages managed, fewer than earlier in the boot"),
    "managed for reserves": (zones.check_watermarks,
        lambda k, patch: patch.setattr(k.page_alloc, "reserve_managed", k.page_alloc.reserve_managed | {(0, 0): 3841}),
        1, "node 0 zone DMA: 3840 pages managed, fewer than earlier in the boot"),
    "watermark": (zones.check_watermarks, lambda k, _: k.page_alloc.wmarks.update({(0, 1): (261, 326, 391, 457)}),
        0x1000, "node 0 zone DMA32: watermarks (261, 326, 391, 457), its share of 2569 KiB is (261, 326, 391, 456)"),
    "nothing managed": (zones.check_watermarks,
        lambda k, _: setattr(k.page_alloc, "wmark_managed", dict.fromkeys(k.page_alloc.wmark_managed, 0)), 1,
        "node 0 zone DMA: watermarks (23, 28, 33, 38), its share of 2569 KiB is (0, 0, 0, 0)"),
    "no watermark": (zones.check_watermarks, lambda k, _: k.page_alloc.wmarks.pop((0, 3)), 0xE000,
        "node 0 zone Movable: watermarks (), its share of 2569 KiB is (32, 42, 52, 62)"),
    "reserve": (zones.check_watermarks,
        lambda k, _: k.page_alloc.lowmem_reserve.update({(0, 1): [0, 0, 0, 28, 27]}), 0x1000,
        "node 0 zone DMA32: keeps [0, 0, 0, 28, 27] pages from allocations for higher zones, "
        "expected [0, 0, 0, 27, 27]"),
    # zonelists
    "falls back to nobody": (zones.check_zonelists, lambda k, _: k.page_alloc.fallback_order.update({1: [1]}), 0x10000,
        "node 1: falls back to nodes [1], memory is on [0, 1]"),
    "falls back twice": (zones.check_zonelists, lambda k, _: k.page_alloc.fallback_order.update({0: [0, 1, 1]}), 1,
        "node 0: falls back to nodes [0, 1, 1], memory is on [0, 1]"),
    "far before near": (zones.check_zonelists, lambda k, _: k.page_alloc.fallback_order.update({1: [0, 1]}), 0x10000,
        "node 1: falls back to nodes [0, 1], but node 1 is nearer"),
}  # fmt: skip


def frame(k: Any, pfn: int) -> int:
    return int(k.hugetlb.page_table.lookup(pfn).frame)


def relinked(k: Any, start: int, **fields: int) -> None:
    links = k.page_alloc.pages._links
    at = next(at for at, item in enumerate(links) if item.start <= start < item.end)
    links[at] = links[at]._replace(**fields)


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_that_is_broken(rule: str, booted_once: tuple[Any, Saved], monkeypatch: pytest.MonkeyPatch) -> None:
    (k, saved), (check, damage, pfn, message) = booted_once, RULES[rule]
    check(k)
    before = {name: dict(getattr(k.page_alloc, name)) for name in ("wmark_managed", "reserve_managed")}
    frames = {hex(head): f"frame {frame(k, head):#x}" for head in sorted(k.hugetlb.optimized)}
    damage(k, monkeypatch)
    try:
        with pytest.raises(lists.Wrong) as found:
            check(k)
        whole = check_memmap(k)
    finally:
        monkeypatch.undo()
        saved.restore()
        for name, value in before.items():
            setattr(k.page_alloc, name, value)
    for head, text in frames.items():
        message = message.replace(f"frame {{{head}}}", text)
    assert (found.value.pfn, str(found.value)) == (pfn, message)
    assert not whole.ok
    check(k)
