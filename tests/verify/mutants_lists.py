"""Wrong free lists and pageblocks."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np

from tests.verify.mutants import PRIVATE, Rule, other, row, small_block, stretch


def list_one_short(k: Any, r: Random) -> str | None:
    found = small_block(k, r)
    if found is None:
        return None
    area, pfn, order, _ = found
    area.remove(pfn)
    k.page_alloc.pages.clear_buddy(pfn)
    return f"free block {pfn:#x} order {order} lost, its page knows"


def stretch_one_short(k: Any, r: Random) -> str | None:
    found = stretch(k, r)
    if found is None:
        return None
    area, kind, at = found
    pfn, blocks = area.largest[kind][at]
    area.largest[kind][at] = (pfn + 1024, blocks - 1) if r.random() < 0.5 else (pfn, blocks - 1)
    if blocks == 1:
        del area.largest[kind][at]
    area.nr_free[10] -= 1
    return f"a stretch of {blocks} blocks from {pfn:#x} is one short"


def stretch_off_by_one(k: Any, r: Random) -> str | None:
    found = stretch(k, r)
    if found is None:
        return None
    area, kind, at = found
    pfn, blocks = area.largest[kind][at]
    area.largest[kind][at] = (pfn + r.choice((-1024, -1, 1, 1024)), blocks)
    return f"the stretch of {blocks} blocks from {pfn:#x} begins elsewhere"


def block_listed_elsewhere(k: Any, r: Random) -> str | None:
    found = small_block(k, r)
    target = found and other(r, list(k.page_alloc.areas.values()), found[0])
    if not found or not target:
        return None
    area, pfn, order, kind = found
    area.remove(pfn)
    target.add(pfn, order, kind, tail=True)
    return f"free block {pfn:#x} on the list of another zone"


def block_of_another_type(k: Any, r: Random) -> str | None:
    found = small_block(k, r)
    if found is None:
        return None
    area, pfn, order, kind = found
    area.remove(pfn)
    area.add(pfn, order, other(r, [0, 1, 2, 3, 4], kind), tail=True)
    return f"free block {pfn:#x} of type {kind} on the list of another"


def head_order(k: Any, r: Random) -> str | None:
    found = small_block(k, r)
    if found is None or row(k, found[1]) is None:
        return None
    row(k, found[1])[PRIVATE] = np.uint64(found[2] + (r.choice((-1, 1)) if found[2] else 1))
    return f"free block {found[1]:#x} order {found[2]}: its page says another order"


def block_halved(k: Any, r: Random) -> str | None:
    found = small_block(k, r)
    if found is None or found[2] == 0:
        return None
    area, pfn, order, kind = found
    area.remove(pfn)
    area.add(pfn, order - 1, kind, tail=True)
    k.page_alloc.pages.set_buddy(pfn, order - 1)
    return f"free block {pfn:#x} order {order}: its upper half lost"


def block_not_merged(k: Any, r: Random) -> str | None:
    found = small_block(k, r)
    if found is None or found[2] == 0:
        return None
    area, pfn, order, kind = found
    area.remove(pfn)
    for half in (pfn, pfn + (1 << order - 1)):
        area.add(half, order - 1, kind, tail=True)
        k.page_alloc.pages.set_buddy(half, order - 1)
    return f"free block {pfn:#x} order {order} in two halves"


def block_doubled(k: Any, r: Random) -> str | None:
    found = small_block(k, r)
    if found is None or found[2] > 8:
        return None
    area, pfn, order, kind = found
    area.remove(pfn)
    area.add(pfn & ~(1 << order), order + 1, kind, tail=True)
    k.page_alloc.pages.clear_buddy(pfn)
    k.page_alloc.pages.set_buddy(pfn & ~(1 << order), order + 1)
    return f"free block {pfn:#x} order {order} merged with what is not free"


def free_count(k: Any, r: Random) -> str | None:
    area = r.choice(list(k.page_alloc.areas.values()))
    one, two = r.sample(range(11), 2)
    if area.nr_free[one] == area.nr_free[two]:
        area.nr_free[one] += 1
    else:
        area.nr_free[one], area.nr_free[two] = area.nr_free[two], area.nr_free[one]
    return f"nr_free of orders {one} and {two} exchanged or one off"


def reserved_page_freed(k: Any, r: Random) -> str | None:
    """All of it consistent: bits, lists, counts. Only the memory was somebody's."""
    released = list(k.page_alloc.released)
    pages = [pfn for region in k.memblock.reserved.regions for pfn in ((region.base >> 12), (region.end - 1 >> 12))]
    pages = [pfn for pfn in pages if not any(low <= pfn < high for low, high in released)]
    pages = [pfn for pfn in pages if next(iter(k.page_alloc.pages.links(pfn, pfn + 1)), None) is not None]
    memory = [(region.base + 4095 >> 12, region.end >> 12) for region in k.memblock.memory.regions]
    pages = [pfn for pfn in pages if any(low <= pfn < high for low, high in memory)]
    if not pages:
        return None
    pfn = r.choice(pages)
    k.page_alloc.free_reserved_range(pfn, pfn + 1)
    del k.page_alloc.released[:]
    k.page_alloc.released.extend(released)
    return f"reserved page {pfn:#x} went to the free lists"


def pageblock_type(k: Any, r: Random) -> str | None:
    """Of blocks whose type follows from what lies in them; those that only have allocations may have two."""
    types = k.page_alloc.pageblock_types
    taken = {pfn // 512 for pfn in k.page_alloc.allocated} | {pfn // 512 for pfn, _ in k.hugetlb.folios()}
    free = {at for area in k.page_alloc.areas.values() for pfn, order, count in area.stretches()
            for at in range(pfn // 512, -(-(pfn + (count << order)) // 512))}  # fmt: skip
    at = r.choice([at for at in range(len(types)) if at in free or at not in taken])
    kinds = [0, 1, 2, 3, 4]
    if at not in free and k.config.enabled("CONFIG_DEFERRED_STRUCT_PAGE_INIT"):
        kinds = [2, 3, 4]  # reserved memory may be either of the others, by where it lies
    types[at] = other(r, kinds, int(types[at]))
    return f"pageblock {at} of pfn {at * 512:#x} has type {types[at]}"


RULES: tuple[Rule, ...] = (
    list_one_short, stretch_one_short, stretch_off_by_one, block_listed_elsewhere, block_of_another_type,
    head_order, block_halved, block_not_merged, block_doubled, free_count, reserved_page_freed, pageblock_type,
)  # fmt: skip
