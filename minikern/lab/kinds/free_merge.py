"""A free-list merge: what becomes of the free blocks when one more is given back.

The judge marks free pages one by one and finds the blocks from the largest order down, without any merging.
Source: mm/page_alloc.c:__free_one_page(), page_is_buddy() @ v6.12
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minikern.lab.kinds.kind import Attempt, Function, Hook, Kind, Load, Wrong, pairs, table
from minikern.lab.kinds.ribbon import Ribbon, around
from minikern.mm.page.mmzone import MAX_PAGE_ORDER

NAME = "free_merge"
LARGEST_SHOWN = 20
AROUND = 32  # pages shown at least
TIMED_BLOCKS = 512
DIGITS = "0123456789a"

Block = tuple[int, int]


@dataclass(frozen=True)
class FreeLists:
    """Free blocks (pfn, order), the one that is given back, and pfns where a zone or node begins."""

    name: str
    blocks: tuple[Block, ...]
    freed: Block
    borders: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """Blocks, borders, and the order of the one given back."""
        return len(self.blocks) + len(self.borders) + self.freed[1] + 1

    def describe(self) -> str:
        """One line."""
        told = ", ".join(f"{pfn:#x} order {order}" for pfn, order in self.blocks[:8])
        more = f" and {len(self.blocks) - 8} more" if len(self.blocks) > 8 else ""
        borders = f"; a zone begins at {', '.join(map(hex, self.borders))}" if self.borders else ""
        pfn, order = self.freed
        return f"{self.name}: {pfn:#x} order {order} is freed beside {told or 'nothing'}{more}{borders}"

    def after(self) -> list[Block]:
        """The free blocks there have to be."""
        return largest_blocks([*self.blocks, self.freed], self.borders)


def largest_blocks(blocks: Iterable[Block], borders: Iterable[int]) -> list[Block]:
    """Free pages as the largest aligned blocks that no border cuts, found from the largest order down."""
    free = {page for pfn, order in blocks for page in range(pfn, pfn + (1 << order))}
    cuts, found = set(borders), []
    for order in range(MAX_PAGE_ORDER, -1, -1):
        for pfn in sorted({page >> order << order for page in free}):
            pages = range(pfn, pfn + (1 << order))
            if free.issuperset(pages) and not cuts.intersection(pages[1:]):
                free.difference_update(pages)
                found.append((pfn, order))
    return sorted(found)


def first_wrong(case: FreeLists, attempt: Attempt) -> Wrong | None:
    """The lowest pfn at which another block begins than should."""
    expected = "a list of (pfn, order)"
    wanted = case.after()

    def read(value: Any) -> list[Block]:
        return pairs(NAME, value, len(case.blocks) + 2, expected)

    blocks = table(case.blocks, 2)
    borders = np.array(case.borders, dtype=np.int64)
    found: list[Block] = attempt.call(case.describe(), (blocks, *case.freed, borders), read)
    attempt.tally(len(wanted))
    if sorted(found) == wanted:
        return None
    heads = sorted({pfn for pfn, _ in (*found, *wanted)})
    pfn = next(pfn for pfn in heads if _orders(found, pfn) != _orders(wanted, pfn))
    told = [_told(_orders(blocks_of, pfn)) for blocks_of in (wanted, found)]
    return Wrong(case, "pfn", pfn, "free block", told[0], told[1], tuple(_picture(case, wanted, found, pfn)))


def _orders(blocks: list[Block], pfn: int) -> list[int]:
    return sorted(order for head, order in blocks if head == pfn)


def _told(orders: list[int]) -> str:
    return " and ".join(f"order {order}" for order in orders) or "none that begins here"


def _end(block: Block) -> int:
    """Where a block ends; of an order that there is not, what can still be drawn."""
    return block[0] + (1 << max(0, min(block[1], LARGEST_SHOWN)))


def _picture(case: FreeLists, wanted: list[Block], found: list[Block], pfn: int) -> list[str]:
    """The pages around, before and after: the order stands where a block begins."""
    near = [block for block in (*wanted, *found, case.freed) if block[0] <= pfn < _end(block)]
    low = min([pfn, *(head for head, _ in near)])
    high = max([pfn + 1, *map(_end, near)])
    ribbon = Ribbon(*around(low, high, low // AROUND * AROUND, high + AROUND, AROUND))

    def line(label: str, blocks: Iterable[Block]) -> str:
        drawn = list(blocks)

        def char(start: int, end: int) -> str:
            heads = [order for head, order in drawn if start <= head < end]
            if heads:
                return DIGITS[max(heads)] if 0 <= max(heads) < len(DIGITS) else "?"
            held = any(block[0] < end and start < _end(block) for block in drawn)
            return "-" if held else "."

        return ribbon.line(label, char)

    lines = [
        f"one character for {ribbon.width} page{'s' if ribbon.width > 1 else ''} from pfn {ribbon.low:#x};"
        " a digit (a is 10) is the order of the block that begins there",
        line("before", case.blocks), line("freed", [case.freed]), line("expected", wanted), line("found", found),
    ]  # fmt: skip
    if case.borders:
        lines.append(ribbon.marked("border", [(at, at + 1) for at in case.borders], "|").rstrip())
    return [*lines, ribbon.marked("here", [(pfn, pfn + 1)], "^").rstrip()]


# inputs


def _beside(name: str, pages: Iterable[int], freed: Block, *borders: int) -> FreeLists:
    """Free pages given one by one, merged as they must be before."""
    blocks = largest_blocks([(page, 0) for page in pages], borders)
    return FreeLists(name, tuple(blocks), freed, borders)


def corners() -> list[FreeLists]:
    """Blocks chosen by hand."""
    top = 1 << MAX_PAGE_ORDER
    found = [
        _beside("nothing else is free", (), (5, 0)),
        _beside("pfn 0", (1,), (0, 0)),
        _beside("the buddy above", (9,), (8, 0)),
        _beside("the buddy below", (8,), (9, 0)),
        _beside("a neighbour that is no buddy", (10,), (9, 0)),
        _beside("two neighbours, one of them the buddy", (8, 10), (9, 0)),
        _beside("up three orders", (8, 10, 11, 12, 13, 14, 15), (9, 0)),
        _beside("a buddy of a lower order", (12, 13), (8, 2)),
        _beside("a buddy of a higher order", range(16, 32), (12, 2)),
        _beside("a border between buddies", (8,), (9, 0), 9),
        _beside("a border two orders up", range(12, 16), (8, 2), 12),
        _beside("a border where no block is", (8,), (9, 0), 32),
        _beside("a block of the highest order", range(top, 2 * top), (0, MAX_PAGE_ORDER)),
        _beside("up to the highest order", range(top, 2 * top - 1), (2 * top - 1, 0)),
        _beside("two halves of the highest order", range(top // 2), (top // 2, MAX_PAGE_ORDER - 1)),
        _beside("a border inside of the highest order", range(top // 2), (top // 2, MAX_PAGE_ORDER - 1), top // 2),
        _beside("every second page", range(0, 64, 2), (33, 0)),
    ]
    return sorted(found, key=lambda case: case.size)


def _block(pfn: int, order: int) -> range:
    return range(pfn, pfn + (1 << order))


def made_up() -> Any:
    """A few hundred pages with free ones among them, a block given back, sometimes a border."""
    from hypothesis import assume
    from hypothesis import strategies as st

    @st.composite
    def lists(draw: st.DrawFn) -> FreeLists:
        order = draw(st.integers(0, 4))
        pfn = draw(st.integers(0, 255)) >> order << order
        freed = _block(pfn, order)
        near = st.tuples(st.integers(0, 255), st.integers(0, 5))
        parts = draw(st.lists(near, max_size=8))
        free = {page for at, level in parts for page in _block(at >> level << level, level)}
        borders = draw(st.lists(st.integers(1, 255), max_size=1))
        assume(not set(borders).intersection(freed[1:]))
        return _beside("made up", free.difference(freed), (pfn, order), *borders)

    return lists()


def builtins() -> dict[str, Function]:
    """Merging as the emulated kernel does it: with a dictionary of what is free."""

    def merge(blocks: Any, pfn: int, order: int, borders: Any) -> list[Block]:
        free = dict(blocks.tolist())
        cuts = set(borders.tolist())
        while order < MAX_PAGE_ORDER and free.get(pfn ^ (1 << order)) == order and (pfn | (1 << order)) not in cuts:
            free.pop(pfn ^ (1 << order))
            pfn &= ~(1 << order)
            order += 1
        free[pfn] = order
        return list(free.items())

    return {"built-in": merge}


def load(_: int) -> Load:
    """A page that merges up to the highest order, beside many other blocks."""
    top = 1 << MAX_PAGE_ORDER
    rows = [(1 << order, order) for order in range(MAX_PAGE_ORDER)]
    rows += [(top * at, MAX_PAGE_ORDER) for at in range(1, TIMED_BLOCKS)]
    blocks, borders = table(rows, 2), np.array([], dtype=np.int64)

    def bind(function: Function, low: int, high: int) -> Callable[[], object]:
        return lambda: function(blocks, 0, 0, borders)

    return Load(f"a page beside {len(rows)} free blocks", 1, bind)


KIND = Kind(
    "free-merge",
    Hook(
        NAME,
        ("blocks", "pfn", "order", "borders"),
        f"Return the free blocks as (pfn, order), in any sequence, after 2**order pages at pfn were given back. blocks"
        f" has rows (pfn, order) of what is free already, sorted (int64). A block merges with its buddy (the other half"
        f" of the next larger aligned block) while that is free as a whole block of the same order, up to order"
        f" {MAX_PAGE_ORDER}; but not where the upper half begins at one of borders: there another zone does.",
    ),
    "blocks", "zone", first_wrong, corners, made_up, builtins, load,
    f'''\
    # The buddy's pfn differs in one bit; while it is free and of the same order, both become one block.
    free = dict(blocks.tolist())
    cuts = set(borders.tolist())
    while order < {MAX_PAGE_ORDER}:
        buddy = pfn ^ (1 << order)
        if free.get(buddy) != order or max(pfn, buddy) in cuts:
            break
        del free[buddy]
        pfn = min(pfn, buddy)
        order += 1
    free[pfn] = order
    return sorted(free.items())
''',
    ("free.get(buddy) != order", "buddy not in free"),
)  # fmt: skip
