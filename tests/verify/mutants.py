"""Memory maps that are wrong the way a mistake in a boot would make them wrong: made by rules, not by flipping bits.

A rule changes a machine that is right and says what it did, or gives None where it has nothing to work on.
``Saved`` brings the machine back.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np

Rule = Callable[[Any, Random], str | None]
PAGE_ALLOC = ("areas", "totalram_pages", "min_free_kbytes", "wmarks", "lowmem_reserve", "allocated", "pageblock_types",
              "fallback_order", "released")  # fmt: skip
COUNTS, FLAGS, PRIVATE = 6, 0, 5


class Saved:
    """A machine as it was."""

    def __init__(self, k: Any) -> None:
        self._k = k
        self._zones = [(item, dict(vars(item))) for node in k.nodes for item in (node, *node.zones)]
        self._words = k.vmemmap.words.copy()
        self._held = copy.deepcopy(k.vmemmap.held)
        self._rest = copy.deepcopy(self._parts())

    def _parts(self) -> dict[str, Any]:
        k = self._k
        parts: dict[str, Any] = {name: getattr(k.page_alloc, name) for name in PAGE_ALLOC}
        parts |= {"links": k.page_alloc.pages._links, "folded": k.vmemmap._folded}
        parts |= {"memory": k.memblock.memory.regions, "reserved": k.memblock.reserved.regions}
        parts |= {"huge": [h.free_pages for h in k.hugetlb.hstates]}
        if k.hugetlb.hvo is not None:
            parts |= {"optimized": k.hugetlb.hvo.optimized, "pte": k.hugetlb.hvo.table._pte}
        return parts

    def restore(self) -> None:
        """Everything as it was when it was saved."""
        k, parts = self._k, copy.deepcopy(self._rest)
        for item, fields in self._zones:
            vars(item).update(fields)
        np.copyto(k.vmemmap.words, self._words)
        k.vmemmap.held = copy.deepcopy(self._held)
        for name in PAGE_ALLOC:
            setattr(k.page_alloc, name, parts[name])
        k.page_alloc.pages._links, k.vmemmap._folded = parts["links"], parts["folded"]
        k.memblock.memory.regions, k.memblock.reserved.regions = parts["memory"], parts["reserved"]
        for h, pages in zip(k.hugetlb.hstates, parts["huge"], strict=True):
            h.free_pages = pages
        if k.hugetlb.hvo is not None:
            k.hugetlb.hvo.optimized, k.hugetlb.hvo.table._pte = parts["optimized"], parts["pte"]


# what there is to choose from


def row(k: Any, pfn: int) -> Any:
    return k.vmemmap.row(pfn)


def zones(k: Any) -> list[Any]:
    return [zone for node in k.nodes for zone in node.zones if zone.present_pages]


def memory_pfn(k: Any, r: Random) -> int:
    """A page of memory that has content."""
    regions = k.memblock.memory.regions
    while True:
        region = r.choice(regions)
        pfn = r.randrange(-(-region.base >> 12), region.end >> 12)
        if row(k, pfn) is not None:
            return pfn


def small_block(k: Any, r: Random) -> tuple[Any, int, int, int] | None:
    """A free block below the highest order: its lists, pfn, order, type."""
    found = [(area, pfn, *kind) for area in k.page_alloc.areas.values() for pfn, kind in sorted(area.where.items())]
    return r.choice(found) if found else None


def stretch(k: Any, r: Random) -> tuple[Any, int, int] | None:
    found = [(area, kind, at) for area in k.page_alloc.areas.values()
             for kind, items in enumerate(area.largest) for at in range(len(items))]  # fmt: skip
    return r.choice(found) if found else None


def huge(k: Any, r: Random) -> tuple[int, int] | None:
    found = list(k.hugetlb.folios())
    return r.choice(found) if found else None


def other(r: Random, values: list[Any], value: Any) -> Any | None:
    rest = [item for item in values if item != value]
    return r.choice(rest) if rest else None
