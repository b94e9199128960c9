"""Slow, obviously right twins for the PCI rooms, written from the descriptions."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field


@dataclass(eq=False)
class Node:
    """A function for the group rules: what is above it, and what it can keep apart."""

    name: str
    slot: Hashable
    parent: Node | None = None
    isolates: bool = True
    takes_over: bool = False  # a bridge that puts its own id on requests from below
    multifunction: bool = False


@dataclass
class Sets:
    """Disjoint sets by brute force."""

    sets: list[set[Node]] = field(default_factory=list)

    def add(self, node: Node) -> None:
        self.sets.append({node})

    def join(self, a: Node, b: Node) -> None:
        mine = next(one for one in self.sets if a in one)
        other = next(one for one in self.sets if b in one)
        if mine is not other:
            self.sets.remove(other)
            mine |= other


def iommu_groups(nodes: Sequence[Node]) -> dict[str, int]:
    """Group numbers by name: sets of what can not be kept apart, numbered by their first member in order."""
    sets = Sets()
    for node in nodes:
        sets.add(node)
    for node in nodes:
        above = []
        parent = node.parent
        while parent is not None:
            above.append(parent)
            parent = parent.parent
        for bridge in above:
            if bridge.takes_over:
                sets.join(node, bridge)
        if above and not all(bridge.isolates for bridge in above):
            # Some bridge on the way lets peers meet: everything up to it is one.
            last = max(i for i, bridge in enumerate(above) if not bridge.isolates)
            for bridge in above[: last + 1]:
                sets.join(node, bridge)
        if node.multifunction and not node.isolates:
            for other in nodes:
                if other.slot == node.slot and not other.isolates:
                    sets.join(node, other)
    numbers: dict[int, int] = {}
    found = {}
    for node in nodes:
        mine = next(i for i, one in enumerate(sets.sets) if node in one)
        found[node.name] = numbers.setdefault(mine, len(numbers))
    return found


def first_gap(
    used: Sequence[tuple[int, int]], low: int, high: int, size: int, fits: Callable[[int], int]
) -> int | None:
    """Lowest start in [low, high] such that ``size`` bytes are free; ``fits`` moves a start to the next allowed one."""
    start = fits(low)
    while start + size - 1 <= high:
        hit = next((end for begin, end in used if begin <= start + size - 1 and start <= end), None)
        if hit is None:
            return start
        start = fits(hit + 1)
    return None


def bar_size(readable_ones: int, is_io: bool) -> int:
    """Bytes a BAR decodes, bit by bit: the lowest address bit that can be set. 0 if none can."""
    for bit in range(2 if is_io else 4, 64):
        if readable_ones >> bit & 1:
            return 1 << bit
    return 0
