"""Segments: what is loaded, where there is room for it, and the rules every list must keep.

Source: kernel/kexec_core.c, kernel/kexec_file.c @ v6.12
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

from hw.units import PAGE_SIZE
from minikern.kexec.errors import KexecError

KEXEC_SEGMENT_MAX = 16
DESTINATION_BITS, DESTINATION_BITS_L5 = 46, 52  # Source: arch/x86/include/asm/kexec.h
U64 = (1 << 64) - 1


def page_align(value: int) -> int:
    """Up to whole pages."""
    return -(-value // PAGE_SIZE) * PAGE_SIZE


@dataclass(frozen=True)
class Segment:
    """One piece of the image: ``bufsz`` bytes of ``buf`` go to physical address ``mem``, zeros follow up to ``memsz``.

    ``bufsz`` left out is all of ``buf``. ``digested`` is False for what the purgatory does not check: itself. ``cma``:
    it was given memory of the contiguous allocator, and is loaded where it will run.
    """

    name: str
    buf: bytes
    mem: int
    memsz: int
    bufsz: int = -1
    digested: bool = True
    cma: bool = False

    def __post_init__(self) -> None:
        if self.bufsz < 0:
            object.__setattr__(self, "bufsz", len(self.buf))

    @property
    def end(self) -> int:
        """First byte after the segment."""
        return self.mem + self.memsz


class Range(NamedTuple):
    """[start, end) of System RAM, bytes."""

    start: int
    end: int


def is_destination_range(taken: Iterable[tuple[int, int]], start: int, end: int) -> bool:
    """True if [start, end) meets one of the ranges taken. Source: kexec_core.c:kimage_is_destination_range()"""
    return any(start < other_end and end > other_start for other_start, other_end in taken)


def locate_mem_hole(
    ram: Sequence[Range],
    taken: Sequence[tuple[int, int]],
    memsz: int,
    align: int = PAGE_SIZE,
    buf_min: int = 0,
    *,
    highest_first: bool = True,
    end_used: bool = True,
    bottom_up: bool = False,
    as_given: bool = False,
) -> int:
    """An aligned address with ``memsz`` free bytes in one range of System RAM: the highest there is.

    Without ``highest_first`` the ranges are tried from below, still from the top of each; without ``end_used`` the
    last byte of a range is left alone. ``bottom_up`` takes the lowest place, ``as_given`` the ranges in their order.
    ``memsz`` is rounded up to pages and ``align`` raised to a page first.
    KexecError EADDRNOTAVAIL if there is none.
    Source: kernel/kexec_file.c:kexec_locate_mem_hole(), locate_mem_hole_top_down() @ v6.1 and v6.12
    """
    size, align = page_align(memsz), max(align, PAGE_SIZE)
    search = _hole_bottom_up if bottom_up else _hole_top_down
    for area in ram if as_given else sorted(ram, reverse=highest_first and not bottom_up):
        end = area.end - (0 if end_used or bottom_up else 1)
        found = search(Range(max(area.start, buf_min), end), taken, size, align)
        if found is not None:
            return found
    text = f"{sum(area.end - area.start for area in ram)} bytes of System RAM in {len(ram)} ranges, none with room"
    raise KexecError("EADDRNOTAVAIL", "memory hole", f"{size} bytes from {buf_min:#x} aligned to {align:#x}", text)


def _hole_top_down(area: Range, taken: Sequence[tuple[int, int]], size: int, align: int) -> int | None:
    start = (area.end - size) // align * align
    while start >= area.start:
        over = [other for other, end in taken if start < end and start + size > other]
        if not over:
            return start
        # Linux goes down page by page; nothing fits before the lowest range in the way is left behind.
        start = (min(over) - size) // align * align
    return None


def _hole_bottom_up(area: Range, taken: Sequence[tuple[int, int]], size: int, align: int) -> int | None:
    start = -(-area.start // align) * align
    while start + size <= area.end:
        over = [end for other, end in taken if start < end and start + size > other]
        if not over:
            return start
        start = -(-max(over) // align) * align
    return None


def sanity_check_segment_list(
    segments: Sequence[Segment],
    total_pages: int,
    destination_bits: int = DESTINATION_BITS,
    crash: Range | None = None,
) -> None:
    """Refuse a list that cannot be relocated. ``total_pages`` is the running kernel's RAM in pages.

    KexecError: EADDRNOTAVAIL (wraps, not page aligned, above the destination limit, outside the crash reservation),
    EINVAL (overlap, more bytes than room, more than half of RAM); the rules are tried in this order.
    Source: kernel/kexec_core.c:sanity_check_segment_list() @ v6.12
    """
    for index, segment in enumerate(segments):
        _check_address(index, segment, (1 << destination_bits) - 1)
    for (i, one), (j, other) in combinations(enumerate(segments), 2):
        if one.mem < other.end and one.end > other.mem:
            where = f"[{other.mem:#x}-{other.end - 1:#x}] of segment[{j}]"
            raise KexecError("EINVAL", f"segment[{i}].mem", "no overlap", f"[{one.mem:#x}-{one.end - 1:#x}] in {where}")
    for index, segment in enumerate(segments):
        if segment.bufsz > segment.memsz:
            room = f"at most memsz {segment.memsz:#x}"
            raise KexecError("EINVAL", f"segment[{index}].bufsz", room, f"{segment.bufsz:#x}")
    _check_amount(segments, total_pages // 2)
    if crash is None:
        return
    for index, segment in enumerate(segments):
        if segment.mem < crash.start or segment.end > crash.end:
            inside = f"inside the crash reservation [{crash.start:#x}-{crash.end - 1:#x}]"
            raise KexecError("EADDRNOTAVAIL", f"segment[{index}].mem", inside, f"{segment.mem:#x}")


def _check_address(index: int, segment: Segment, limit: int) -> None:
    if segment.end > U64:
        raise KexecError("EADDRNOTAVAIL", f"segment[{index}].memsz", "an end below 2^64", f"{segment.end:#x}")
    if segment.mem % PAGE_SIZE or segment.end % PAGE_SIZE:
        found = f"[{segment.mem:#x}-{segment.end:#x})"
        raise KexecError("EADDRNOTAVAIL", f"segment[{index}].mem", "whole pages", found)
    if segment.end >= limit:
        raise KexecError("EADDRNOTAVAIL", f"segment[{index}].mem", f"an end below {limit:#x}", f"{segment.end:#x}")


def _check_amount(segments: Sequence[Segment], half: int) -> None:
    total = 0
    for index, segment in enumerate(segments):
        pages = page_align(segment.memsz) // PAGE_SIZE
        if pages > half:
            raise KexecError("EINVAL", f"segment[{index}].memsz", f"at most half of RAM, {half} pages", f"{pages}")
        total += pages
    if total > half:
        raise KexecError("EINVAL", "segments", f"at most half of RAM, {half} pages in all", f"{total}")
