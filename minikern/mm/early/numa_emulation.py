"""``numa=fake=``: the memory of real nodes cut into pretended ones.

Source: mm/numa_emulation.c @ v6.12 (arch/x86/mm/numa_emulation.c before)
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from hw.units import PAGE_SHIFT
from minikern.core.cmdline import memparse, strtoull
from minikern.core.printk import Level
from minikern.mm.page.mmzone import LOCAL_DISTANCE, MAX_DMA32_PFN, REMOTE_DISTANCE

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

FAKE_NODE_MIN_SIZE = 32 << 20  # Source: include/linux/numa.h @ v6.12
DMA32_END = MAX_DMA32_PFN << PAGE_SHIFT


class Block(NamedTuple):
    """[start, end) bytes on node ``nid``."""

    start: int
    end: int
    nid: int


class _Split:
    """What is left of the real nodes' blocks, and the pretended ones made so far."""

    def __init__(self, k: Kernel, blocks: list[Block]) -> None:
        self.k = k
        self.left = list(blocks)
        self.made: list[Block] = []
        self.phys_of: dict[int, int] = {}
        self.memory = [(region.base, region.end) for region in k.memblock.memory_regions()]

    def hole(self, start: int, end: int) -> int:
        """Bytes of [start, end) in whole pages that are not memory. Source: mm_hole_size()"""
        start, end = -(-start >> PAGE_SHIFT) << PAGE_SHIFT, end >> PAGE_SHIFT << PAGE_SHIFT
        if start >= end:
            return 0
        return end - start - sum(max(0, min(high, end) - max(low, start)) for low, high in self.memory)

    def usable(self, start: int, end: int) -> int:
        """Bytes of memory in [start, end)."""
        return end - start - self.hole(start, end)

    def find_end(self, start: int, limit: int, end: int, size: int) -> int:
        """``end``, moved up until ``size`` bytes of memory lie below it. Source: find_end_of_node()"""
        while self.usable(start, end) < size:
            end += FAKE_NODE_MIN_SIZE
            if end > limit:
                return limit
        return end

    def fill(self, phys: list[int], wrap: int, first: int, end_of: Callable[[int, int, int], int]) -> int:
        """Take a piece from each real node in turn until nothing is left; returns the next number.

        ``end_of(start, limit, number)`` says where a piece ends.
        """
        number = first
        remaining = list(phys)
        while remaining:
            for nid in list(remaining):
                block = next((item for item in self.left if item.nid == nid), None)
                if block is None:
                    remaining.remove(nid)
                    continue
                self._setup(number % wrap, block, min(end_of(block.start, block.end, number), block.end))
                number += 1
        return number

    def _setup(self, nid: int, block: Block, end: int) -> None:
        # Source: emu_setup_memblk()
        self.made.append(Block(block.start, end, nid))
        self.phys_of.setdefault(nid, block.nid)
        at = self.left.index(block)
        if end >= block.end:
            del self.left[at]
        else:
            self.left[at] = block._replace(start=end)
        mib = (end - block.start) >> 20
        self.k.printk(f"Faking node {nid} at [mem {block.start:#018x}-{end - 1:#018x}] ({mib}MB)")


def split_nodes(k: Kernel, text: str, blocks: list[Block]) -> tuple[list[Block], dict[int, int], list[int]] | None:
    """Pretended nodes for ``numa=fake=TEXT``, the real node behind each and the distances given after a colon.

    TEXT is a number of nodes, a size each (M or G), or N with U: N equal nodes out of every real one. None if no
    nodes can be made.
    """
    split = _Split(k, blocks)
    max_nodes = 1 << k.config.number("CONFIG_NODES_SHIFT")
    if "U" in text:
        number, rest = strtoull(text)
        done = _uniform(split, number, max_nodes)
    elif "M" in text or "G" in text:
        number, rest = memparse(text)
        done = _by_size(split, number, max_nodes)
    else:
        number, rest = strtoull(text)
        done = _interleave(split, number, max_nodes)
    return (split.made, split.phys_of, _distances(rest)) if done else None


def _distances(rest: str) -> list[int]:
    # Every number with a comma behind it. Source: lib/cmdline.c:get_option() as numa_emulation() uses it
    listed = re.match(r"(?:\d{1,9},)*", rest.removeprefix(":"))
    return [int(word) for word in listed[0].split(",")[:-1]] if listed else []


def _phys_nodes(split: _Split) -> list[int]:
    return sorted(split.k.numa.parsed | {block.nid for block in split.left})


def _interleave(split: _Split, count: int, max_nodes: int) -> bool:
    # Source: split_nodes_interleave()
    k = split.k
    if not 0 < count < 1 << 31:
        return False
    if count > max_nodes:
        k.printk(f"numa=fake={count} too large, reducing to {max_nodes}")
        count = max_nodes
    size = (split.usable(0, k.totals.max_pfn << PAGE_SHIFT) >> PAGE_SHIFT) // count << PAGE_SHIFT
    big = size % FAKE_NODE_MIN_SIZE * count // FAKE_NODE_MIN_SIZE
    size -= size % FAKE_NODE_MIN_SIZE
    if not size:
        k.printk("Not enough memory for each node.  NUMA emulation disabled.", Level.ERR)
        return False

    def end_of(start: int, limit: int, number: int) -> int:
        end = start + size + (FAKE_NODE_MIN_SIZE if number < big else 0)
        return _rounded(split, split.find_end(start, limit, end, size), limit, size)

    split.fill(_phys_nodes(split), count, 0, end_of)
    return True


def _by_size(split: _Split, size: int, max_nodes: int) -> bool:
    # Source: split_nodes_size_interleave()
    if not size:
        return False
    size = _at_least(split, size, (split.usable(0, split.k.totals.max_pfn << PAGE_SHIFT) >> PAGE_SHIFT) // max_nodes)

    def end_of(start: int, limit: int, number: int) -> int:
        return _rounded(split, split.find_end(start, limit, start + size, size), limit, size)

    split.fill(_phys_nodes(split), max_nodes, 0, end_of)
    return True


def _at_least(split: _Split, size: int, pages: int) -> int:
    """``size`` or what the least share of ``pages`` rounds up to, in whole units of 32 MiB."""
    least = -(-max(pages << PAGE_SHIFT, FAKE_NODE_MIN_SIZE) // FAKE_NODE_MIN_SIZE) * FAKE_NODE_MIN_SIZE
    if size < least:
        line = f"Fake node size {size >> 20}MB too small, increasing to {least >> 20}MB"
        split.k.printk(line, Level.ERR)
        size = least
    return size - size % FAKE_NODE_MIN_SIZE


def _uniform(split: _Split, count: int, max_nodes: int) -> bool:
    # Source: split_nodes_size_interleave_uniform()
    number = 0
    stale = 0  # where the last block ended: what is left of an empty list
    for phys in _phys_nodes(split):
        if not count:
            return False
        block = split.left[0] if split.left else Block(stale, stale, -1)
        # Holes do not count here: every piece spans the same addresses.
        share = (block.end >> PAGE_SHIFT) - (block.start >> PAGE_SHIFT)
        size = _at_least(split, share // count << PAGE_SHIFT, share // count)

        def end_of(start: int, limit: int, number: int, size: int = size) -> int:
            return _to_dma32_end(split, start + size)

        before, stale = number, block.end
        number = split.fill([block.nid], max_nodes, number, end_of)
        if before < number < before + count:
            got = number - before
            split.k.printk(f"numa_emulation: phys: {phys} only got {got} of {count} nodes, failing")
            return False
    return True


def _to_dma32_end(split: _Split, end: int) -> int:
    # The rest of DMA32 is too little for a node: take it as well.
    return DMA32_END if end < DMA32_END and split.usable(end, DMA32_END) < FAKE_NODE_MIN_SIZE else end


def _rounded(split: _Split, end: int, limit: int, size: int) -> int:
    end = _to_dma32_end(split, end)
    return limit if split.usable(end, limit) < size else end


def emulated_distances(k: Kernel, phys_of: dict[int, int], given: list[int]) -> list[list[int]]:
    """Distances of pretended nodes: those given, row by row, then those of the real nodes behind them.

    Source: numa_emulation() @ v6.12
    """
    count = max(phys_of) + 1
    rows = [
        [
            k.numa.node_distance(phys_of[a], phys_of[b])
            if a in phys_of and b in phys_of
            else LOCAL_DISTANCE if a == b else REMOTE_DISTANCE
            for b in range(count)
        ]
        for a in range(count)
    ]  # fmt: skip
    warned = False
    for index, distance in enumerate(given[: count * count]):
        row, column = divmod(index, count)
        if distance == distance & 0xFF and (row != column or distance == LOCAL_DISTANCE):
            rows[row][column] = distance
            continue
        # Said once; the entry stays what a new table holds.
        rows[row][column] = LOCAL_DISTANCE if row == column else REMOTE_DISTANCE
        prefix = k.behaviour.numa_warning_prefix
        if not warned:
            line = f"{prefix}Warning: invalid distance parameter, from={row} to={column} distance={distance}"
            k.printk(line, Level.WARNING)
        warned = True
    return rows
