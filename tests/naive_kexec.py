"""Slow twins of the kexec room: a page mover that copies through the swap page, a hole search page by page."""

from __future__ import annotations

from hw.memory import PhysicalMemory

PAGE = 4096


def relocate(memory: PhysicalMemory, head: int, swap_page: int, preserve: bool) -> None:
    """Walk the list one word after the other; each page is read and written as a whole."""
    word, at, destination = head, 0, 0
    while not (word & 4 and not word & 3):
        address = word // PAGE * PAGE
        if word & 1:
            destination = address
        elif word & 2:
            at = address
            word = memory.read_int(at, 8)
            continue
        elif word & 8:
            new, old = memory.read(address, PAGE), memory.read(destination, PAGE)
            if preserve:
                memory.write(swap_page, new)
                memory.write(address, old)
            memory.write(destination, new)
            destination += PAGE
        at += 8
        word = memory.read_int(at, 8)


def locate(
    ram: list[tuple[int, int]],
    taken: list[tuple[int, int]],
    size: int,
    align: int,
    low: int,
    before_6_8: bool = False,
    bottom_up: bool = False,
) -> int | None:
    """Try every aligned address of every range: the highest first, or ranges from below, or all from below."""

    def candidates(start: int, end: int) -> list[int]:
        if before_6_8 and not bottom_up:
            end -= 1  # the last byte was counted out
        every = [at for at in range(0, end + 1, align) if at >= max(start, low) and at + size <= end]
        return every if bottom_up else every[::-1]

    for start, end in sorted(ram, reverse=not (before_6_8 or bottom_up)):
        for at in candidates(start, end):
            if all(at >= other_end or at + size <= other for other, other_end in taken):
                return at
    return None
