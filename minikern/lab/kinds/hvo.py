"""An HVO scheme: which pages of a huge page's memory map share which frame of memory.

The judge fills frames with what the memory map holds before it is folded, reads every struct page through the mapping
that was returned, and says where another huge page's tail, or a head, would be read.
Source: mm/hugetlb_vmemmap.c @ v5.14 (two frames kept) and v5.18 (one, and its head seen again in each page)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from minikern.lab.kinds.kind import Attempt, Function, Hook, Kind, Load, Merit, Wrong, listed, whole

NAME = "hvo_share"
STRUCT_PAGES = 64  # struct pages of 64 bytes in a frame of 4096
AROUND = 3
TIMED_HUGE_PAGES, TIMED_ORDER = 512, 9


class Slot(NamedTuple):
    """What a struct page says of itself: whose huge page it belongs to, and whether it is the head."""

    head_pfn: int
    is_head: bool


@dataclass(frozen=True)
class HugePages:
    """Huge pages of 2**order pages side by side in the map's order; the first ``reserved`` frames of each are written.

    With ``fake_heads`` the kernel knows a head that is seen again at the start of a later page of the map.
    """

    name: str
    order: int
    heads: tuple[int, ...]
    reserved: int = 1
    fake_heads: bool = True

    @property
    def frames(self) -> int:
        """Pages of memory map of one huge page."""
        return (1 << self.order) // STRUCT_PAGES

    @property
    def size(self) -> int:
        """Pages of memory map."""
        return self.frames * len(self.heads)

    def describe(self) -> str:
        """One line."""
        told = ", ".join(hex(head) for head in self.heads[:6]) + (" ..." if len(self.heads) > 6 else "")
        heads = "again-seen heads are known" if self.fake_heads else "a head may be seen once only"
        return (
            f"{self.name}: huge pages of order {self.order} at pfn {told}; {self.frames} frames of memory map each,"
            f" the first {self.reserved} written to; {heads}"
        )

    def arguments(self) -> tuple[Any, ...]:
        """What the function is called with."""
        return self.order, np.array(self.heads, dtype=np.int64), self.reserved, self.fake_heads

    def slot(self, frame: int, at: int) -> Slot:
        """What struct page ``at`` of a frame holds before anything is folded."""
        return Slot(self.heads[frame // self.frames], frame % self.frames == 0 and at == 0)


def first_wrong(case: HugePages, attempt: Attempt) -> Wrong | None:
    """The first struct page that reads wrong through the mapping."""
    expected = f"a list of {case.size} frame numbers"

    def read(value: Any) -> list[int]:
        return [whole(NAME, item, expected) for item in listed(NAME, value, case.size, expected)]

    mapping: list[int] = attempt.call(case.describe(), case.arguments(), read)
    attempt.tally(case.size * STRUCT_PAGES)
    if len(mapping) != case.size:
        told = f"{len(mapping)}" if len(mapping) < case.size else "more"
        shown = (f"returned: {', '.join(map(str, mapping[:16]))}{' ...' if len(mapping) > 16 else ''}",)
        return Wrong(case, "", 0, "frames", f"{case.size}, one for each page of memory map", told, shown)
    for page, frame in enumerate(mapping):
        fault = _fault(case, page, frame)
        if fault is not None:
            at, field, wanted, came = fault
            pfn = case.heads[page // case.frames] + page % case.frames * STRUCT_PAGES + at
            return Wrong(case, "pfn", pfn, field, wanted, came, tuple(_picture(case, mapping, page, at)))
    return None


def _fault(case: HugePages, page: int, frame: int) -> tuple[int, str, str, str] | None:
    """(struct page of the page, field, expected, found), None if all of the page reads as it must."""
    within = page % case.frames
    if not 0 <= frame < case.size:
        return 0, "frame", f"one of 0 to {case.size - 1}", str(frame)
    if within < case.reserved and frame != page:
        return 0, "frame", f"{page}, its own: the kernel writes to the first {case.reserved}", str(frame)
    if frame == page:
        return None
    for at in range(STRUCT_PAGES):
        wanted, came = case.slot(page, at), case.slot(frame, at)
        if wanted.head_pfn != came.head_pfn:
            return at, "compound_head", f"head {wanted.head_pfn:#x}", f"head {came.head_pfn:#x}"
        if came.is_head and not wanted.is_head and not case.fake_heads:
            return at, "compound_head", f"a tail of {wanted.head_pfn:#x}", "the head once more"
    return None


def _picture(case: HugePages, mapping: list[int], page: int, at: int) -> list[str]:
    low, high = max(0, page - AROUND), min(case.size, page + AROUND + 1)
    lines = ["page of the map   its struct pages         frame   which holds"]
    for number in range(low, high):
        frame, within = mapping[number], number % case.frames
        first = case.heads[number // case.frames] + within * STRUCT_PAGES
        span = f"{first:#x}..{first + STRUCT_PAGES - 1:#x}"
        mark = f"   < struct page {at}" if number == page else ""
        lines.append(f"{number:>15}   {span:<22} {frame:>7}   {_held(case, frame)}{mark}")
    return lines


def _held(case: HugePages, frame: int) -> str:
    if not 0 <= frame < case.size:
        return "no such frame"
    head = case.heads[frame // case.frames]
    return f"head {head:#x}, {STRUCT_PAGES - 1} tails" if frame % case.frames == 0 else f"tails of {head:#x}"


# inputs


def corners() -> list[HugePages]:
    """Huge pages chosen by hand."""
    two_mib, one_gib = 9, 18
    return [
        HugePages("a map of two frames", 7, (0x80,)),
        HugePages("a map of two frames, both written to", 7, (0x80,), reserved=2, fake_heads=False),
        HugePages("two small ones", 7, (0x80, 0x200)),
        HugePages("one of 2 MiB", two_mib, (0x200,)),
        HugePages("one of 2 MiB, two frames written to", two_mib, (0x200,), reserved=2, fake_heads=False),
        HugePages("one of 2 MiB, two frames written to, heads known", two_mib, (0x200,), reserved=2),
        HugePages("one of 2 MiB, a head seen once", two_mib, (0x200,), reserved=1, fake_heads=False),
        HugePages("two of 2 MiB", two_mib, (0x200, 0x400)),
        HugePages("three of 2 MiB, far apart", two_mib, (0x800, 0x40000, 0x1200)),
        HugePages("one of 1 GiB, two frames written to", one_gib, (0x80000,), reserved=2, fake_heads=False),
    ]


def made_up() -> Any:
    """A few huge pages of any order."""
    from hypothesis import strategies as st

    @st.composite
    def huge_pages(draw: st.DrawFn) -> HugePages:
        order = draw(st.integers(7, 11))
        numbers = draw(st.lists(st.integers(1, 40), min_size=1, max_size=4, unique=True))
        heads = tuple(number << order for number in numbers)
        return HugePages("made up", order, heads, draw(st.integers(1, 2)), draw(st.booleans()))

    return huge_pages()


def builtins() -> dict[str, Function]:
    """What Linux does: all but the first frames alias the last one that is kept."""

    def share(order: int, heads: Any, reserved: int, fake_heads: bool) -> list[int]:
        frames = (1 << order) // STRUCT_PAGES
        kept = reserved if fake_heads or reserved > 1 else 2
        return [base + min(at, kept - 1) for base in range(0, frames * len(heads), frames) for at in range(frames)]

    return {"built-in": share}


def load(_: int) -> Load:
    """A pool of 2 MiB pages."""
    arguments = _pool().arguments()

    def bind(function: Function, low: int, high: int) -> Callable[[], object]:
        return lambda: function(*arguments)

    return Load(f"{TIMED_HUGE_PAGES} huge pages of 2 MiB", 1, bind)


def _pool() -> HugePages:
    heads = tuple(range(1 << TIMED_ORDER, (TIMED_HUGE_PAGES + 1) << TIMED_ORDER, 1 << TIMED_ORDER))
    return HugePages("timing", TIMED_ORDER, heads)


def frames_freed(function: Function) -> int:
    """Frames of a pool's memory map that nothing is mapped to any more."""
    arguments = _pool().arguments()
    return TIMED_HUGE_PAGES * _pool().frames - len({int(frame) for frame in function(*arguments)})


KIND = Kind(
    "hvo",
    Hook(
        NAME,
        ("order", "heads", "reserved", "fake_heads"),
        "Return, for every page of the memory map of these huge pages, which frame it is to be mapped to. heads are the"
        " pfns of their heads (int64); each has 2**order struct pages, 64 to a frame. Frames are numbered as they lie:"
        " the map of the second huge page begins at frame 2**order / 64. The kernel writes to the first reserved frames"
        " of each huge page, which stay where they are; every other page must read as tails of its own head. The first"
        " struct page of a huge page's first frame is the head; with fake_heads it may be read again at the start of"
        " others.",
    ),
    "struct pages", "pool", first_wrong, corners, made_up, builtins, load,
    '''\
    # All that follow the reserved frames share the last of them; where it would show the head again and the kernel
    # does not know such heads, one frame of tails is kept besides.
    frames = (1 << order) // 64
    kept = reserved if fake_heads or reserved > 1 else 2
    return [huge * frames + min(at, kept - 1) for huge in range(len(heads)) for at in range(frames)]
''',
    ("huge * frames + ", ""),
    merit=Merit(f"frames given back of {TIMED_HUGE_PAGES} huge pages of 2 MiB", frames_freed),
)  # fmt: skip
