"""Wrong pages: node, zone, bits, counts, the parts of a huge page."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np

from tests.verify.mutants import COUNTS, FLAGS, PRIVATE, Rule, huge, memory_pfn, other, row, small_block, zones


def zone_ids_swapped(k: Any, r: Random) -> str | None:
    flags = k.page_alloc.pages.flags
    one, two = memory_pfn(k, r), memory_pfn(k, r)
    low = flags.zones_shift
    a, b = int(row(k, one)[FLAGS]), int(row(k, two)[FLAGS])
    if a >> low == b >> low:
        return None
    keep = (1 << low) - 1
    row(k, one)[FLAGS] = np.uint64(a & keep | b >> low << low)
    row(k, two)[FLAGS] = np.uint64(b & keep | a >> low << low)
    return f"node and zone of pfns {one:#x} and {two:#x} swapped"


def zone_id_of_a_range(k: Any, r: Random) -> str | None:
    flags, pfn = k.page_alloc.pages.flags, memory_pfn(k, r)
    other_zone = r.randrange(5)
    count = 0
    for at in range(pfn, pfn + r.choice((1, 7, 512))):
        words = row(k, at) if k.vmemmap.pfn_valid(at) else None
        if words is not None:
            mask = (1 << flags.zones_width) - 1 << flags.zones_shift
            new = int(words[FLAGS]) & ~mask | other_zone << flags.zones_shift
            count += new != int(words[FLAGS])
            words[FLAGS] = np.uint64(new)
    return f"{count} pages from pfn {pfn:#x} say zone {other_zone}" if count else None


def wrong_node(k: Any, r: Random) -> str | None:
    flags, pfn = k.page_alloc.pages.flags, memory_pfn(k, r)
    row(k, pfn)[FLAGS] ^= np.uint64(1 << flags.nodes_shift + r.randrange(flags.nodes_width))
    return f"pfn {pfn:#x} says another node"


def pages_swapped(k: Any, r: Random) -> str | None:
    one = memory_pfn(k, r)
    two = one + 1 if r.random() < 0.5 else memory_pfn(k, r)
    a, b = row(k, one), row(k, two) if k.vmemmap.pfn_valid(two) else None
    if b is None or (a == b).all():
        return None
    a[:], b[:] = b.copy(), a.copy()
    return f"pages {one:#x} and {two:#x} swapped"


def page_copied_from_its_neighbour(k: Any, r: Random) -> str | None:
    pfn = memory_pfn(k, r)
    before = row(k, pfn - 1) if k.vmemmap.pfn_valid(pfn - 1) else None
    if before is None:
        return None
    row(k, pfn)[:] = before
    return f"page {pfn:#x} is that of the pfn before it"


def reserved_bit(k: Any, r: Random) -> str | None:
    pfn = memory_pfn(k, r)
    row(k, pfn)[FLAGS] ^= np.uint64(k.page_alloc.pages.flags.reserved)
    return f"pfn {pfn:#x}: reserved bit lost or gained"


def reserved_range_shifted(k: Any, r: Random) -> str | None:
    bit = np.uint64(k.page_alloc.pages.flags.reserved)
    region = r.choice(k.memblock.reserved.regions)
    first, last = region.base >> 12, (region.end + 4095 >> 12) - 1
    changed = []
    for pfn, wanted in ((first - 1, True), (last, False)) if r.random() < 0.5 else ((first, False), (last + 1, True)):
        words = row(k, pfn) if pfn >= 0 and k.vmemmap.pfn_valid(pfn) else None
        if words is not None and bool(words[FLAGS] & bit) != wanted:
            words[FLAGS] ^= bit
            changed.append(f"{pfn:#x}")
    return f"reserved bits of a range one page off: {', '.join(changed)}" if changed else None


def reference_count(k: Any, r: Random) -> str | None:
    pfn = memory_pfn(k, r)
    row(k, pfn)[COUNTS] ^= np.uint64(1 << 32)
    return f"pfn {pfn:#x}: one reference more or less"


def never_initialised(k: Any, r: Random) -> str | None:
    if k.vmemmap.backing != "full":
        return None
    pfn = memory_pfn(k, r)
    run = next(k.vmemmap.runs(pfn, pfn + 1))
    k.vmemmap.held.claim(run.slot, run.slot + 1, 9)
    return f"pfn {pfn:#x} was left out"


def allocation(k: Any, r: Random) -> str | None:
    pfn, order = r.choice(sorted(k.page_alloc.allocated.items()))
    del k.page_alloc.allocated[pfn]
    what = r.choice(("lost", "larger", "moved"))
    if what != "lost":
        k.page_alloc.allocated[pfn + (what == "moved")] = order + (what == "larger")
    return f"allocation {pfn:#x} order {order} {what}"


def compound_pages_swapped(k: Any, r: Random) -> str | None:
    found = huge(k, r)
    if found is None:
        return None
    one, two = r.sample(range(64), 2)
    a, b = row(k, found[0] + one), row(k, found[0] + two)
    a[:], b[:] = b.copy(), a.copy()
    return f"pages {one} and {two} of the huge page {found[0]:#x} swapped"


def tail(k: Any, r: Random) -> str | None:
    found = huge(k, r)
    if found is None:
        return None
    pfn = found[0] + r.randrange(1, 64)
    words, what = row(k, pfn), r.choice(("missing", "another head", "count"))
    if what == "missing":
        words[1] = words[2] = np.uint64(k.vmemmap.start + pfn * 64 + 8)
        words[3] = np.uint64(0)
    elif what == "another head":
        words[1] += np.uint64(64 << 9)
    else:
        words[COUNTS] ^= np.uint64(1 << 32)
    return f"tail {pfn:#x}: {what}"


def compound_order(k: Any, r: Random) -> str | None:
    found = huge(k, r)
    if found is None:
        return None
    if r.random() < 0.5:
        row(k, found[0] + 1)[FLAGS] += np.uint64(1)
    else:
        row(k, found[0] + 1)[4] -= np.uint64(1)
    return f"huge page {found[0]:#x}: its order or size is one off"


def huge_page_listed(k: Any, r: Random) -> str | None:
    found = [h for h in k.hugetlb.hstates if h.free_pages]
    if not found:
        return None
    pages, what = r.choice(found).free_pages, r.choice(("lost", "twice", "moved"))
    at = r.randrange(len(pages))
    if what == "lost":
        pages.pop(at)
    elif what == "twice":
        pages.append(pages[at])
    else:
        pages[at] += r.choice((-1, 1, 512))
    return f"a huge page {what}"


def alias(k: Any, r: Random) -> str | None:
    found = sorted(k.hugetlb.optimized)
    if not found:
        return None
    head, table = r.choice(found), k.hugetlb.hvo.table
    section, first = divmod(head // 64, 512)
    frames = table._pte[section]
    what = r.choice(("next", "other", "writable", "head", "free"))
    at = first + r.randrange(1, 8)
    if what == "next":
        frames[at] += 2
    elif what == "other":
        another = other(r, found, head)
        if another is None:
            return None
        frames[at] = table.lookup(another).frame << 1
    elif what == "writable":
        frames[at] |= 1
    elif what == "head":
        frames[first] &= ~1
    else:  # the whole folded map on a frame that is free
        spot = small_block(k, r)
        if spot is None:
            return None
        frames[first : first + 8] = spot[1] << 1
        frames[first] |= 1
    return f"memory map of the huge page {head:#x}: {what}"


def frame_shared(k: Any, r: Random) -> str | None:
    found = sorted(k.hugetlb.optimized)
    if len(found) < 2:
        return None
    table = k.hugetlb.hvo.table
    one, two = r.sample(found, 2)
    frame = table.lookup(one).frame
    section, first = divmod(two // 64, 512)
    table._pte[section][first : first + 8] = frame << 1
    table._pte[section][first] |= 1
    return f"the maps of the huge pages {one:#x} and {two:#x} are on one frame"


def fold(k: Any, r: Random) -> str | None:
    found = sorted(k.hugetlb.optimized)
    if not found:
        return None
    head = r.choice(found)
    k.hugetlb.hvo.optimized.discard(head)
    return f"the huge page {head:#x} is folded, and not noted"


def preserved(k: Any, r: Random) -> str | None:
    """Blocks of the kernel before: their order and their mark are on their first page, and nobody has counted them."""
    if k.kho.incoming is None or not k.kho.incoming.blocks:
        return None
    block = r.choice(sorted(k.kho.incoming.blocks))
    pfn = (block.phys >> 12) + r.randrange(block.count << block.order)
    word, bit = r.choice(((PRIVATE, 0), (PRIVATE, 36), (COUNTS, 32), (COUNTS, 7), (FLAGS, 12)))
    row(k, pfn)[word] ^= np.uint64(1 << bit)
    return f"preserved block {block}: word {word} of page {pfn:#x}"


def cma_pages(k: Any, r: Random) -> str | None:
    found = [zone for zone in zones(k) if zone.cma_pages]
    if not found:
        return None
    zone = r.choice(found)
    zone.cma_pages += r.choice((-512, -1, 1, 512))
    return f"zone {zone.nid}/{zone.name}: pages for CMA are off"


RULES: tuple[Rule, ...] = (
    zone_ids_swapped, zone_id_of_a_range, wrong_node, pages_swapped, page_copied_from_its_neighbour, reserved_bit,
    reserved_range_shifted, reference_count, never_initialised, allocation, compound_pages_swapped, tail,
    compound_order, huge_page_listed, alias, frame_shared, fold, cma_pages, preserved,
)  # fmt: skip
