"""Slow twins of zones and zonelists, written from the description of what Linux does, a page or a node at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

Range = tuple[int, int]
DMA_END, DMA32_END = 0x1000, 0x100000
DMA, DMA32, NORMAL, MOVABLE = range(4)


def zone_of(pfn: int, dma: bool, dma32: bool, movable: int) -> int:
    """The zone in which a page lies; ``movable`` is where its node's Movable zone begins, 0 if nowhere."""
    if movable and pfn >= movable:
        return MOVABLE
    if dma and pfn < DMA_END:
        return DMA
    return DMA32 if dma32 and pfn < DMA32_END else NORMAL


def zones_of_node(ranges: Sequence[Range], dma: bool, dma32: bool, movable: int) -> list[tuple[int, int, int]]:
    """(start, spanned, present) of a node's zones 0 to 3; between two borders all pages are alike."""
    first, last = ranges[0][0], ranges[-1][1]
    borders = {pfn for low, high in ranges for pfn in (low, high)} | {DMA_END, DMA32_END, movable}
    at = sorted(pfn for pfn in borders if first <= pfn <= last)
    found = [(0, 0, 0)] * 4
    for zone in range(4):
        pieces = [piece for piece in pairwise(at) if zone_of(piece[0], dma, dma32, movable) == zone]
        held = [(low, high) for low, high in pieces if any(s <= low and high <= e for s, e in ranges)]
        if held:
            found[zone] = (pieces[0][0], pieces[-1][1] - pieces[0][0], sum(high - low for low, high in held))
    return found


def movable_starts(nodes: Mapping[int, Sequence[Range]], usable: int, required: int) -> dict[int, int]:
    """Where Movable zones begin, if so many pages are to be the kernel's, evenly from all nodes.

    Pages below ``usable`` are the kernel's in any case; they count. A page at a time is taken.
    """
    begins = dict.fromkeys(nodes, 0)
    left = len(nodes)
    while True:
        share = required // left
        for nid, ranges in nodes.items():
            if required < share:
                share = required // left
            wanted, taken, over = share, 0, False
            for low, high in ranges:
                if over or begins[nid] >= high:
                    continue
                begins[nid] = max(begins[nid], low)
                while begins[nid] < high and (wanted or begins[nid] < usable):
                    begins[nid] += 1
                    taken += 1
                    wanted = max(wanted - 1, 0)
                over = not wanted and high > usable
            required = max(required - taken, 0)
        left -= 1
        if not left or required <= left:
            break
    rounded = {nid: (pfn + 1023) // 1024 * 1024 for nid, pfn in begins.items()}
    return {nid: pfn for nid, pfn in rounded.items() if 0 < pfn < nodes[nid][-1][1]}


def fallback(
    node: int, nodes: Sequence[int], distance: Callable[[int, int], int], load: list[int], itself: bool
) -> list[int]:
    """Whom a node falls back to: again and again the best of the nodes that are left; ``load`` breaks ties.

    ``itself``: the node comes first even if it has no memory.
    """
    order: list[int] = []
    before = node
    while True:
        if not order and (itself or node in nodes):
            best = node
        else:
            rest = [other for other in nodes if other not in order]
            if not rest:
                return order
            best = min(rest, key=lambda other: ((distance(node, other) + (other < node)) * 64 + load[other], other))
        if distance(node, best) != distance(node, before):
            load[best] += 1
        order.append(best)
        before = best
