"""relocate_kernel(): walk the page list in memory and move every page to its place.

Source: arch/x86/kernel/relocate_kernel_64.S @ v6.12
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hw.errors import BusError, MachineStopped
from hw.memory import PhysicalMemory
from hw.units import PAGE_SIZE
from minikern.kexec.kimage import IND_DESTINATION, IND_DONE, IND_INDIRECTION, IND_SOURCE

PAGE_MASK = ~(PAGE_SIZE - 1)

Words = NDArray[np.uint64]


class Run(NamedTuple):
    """Neighbouring pages that move to neighbouring places, bytes."""

    destination: int
    source: int
    size: int


class Relocation(NamedTuple):
    """What was moved: pages named by the list, and how many of them really changed their place."""

    pages: int
    moved_pages: int


def relocate_kernel(memory: PhysicalMemory, head: int, swap_page: int, preserve: bool) -> Relocation:
    """Move the pages of the list that begins with the word ``head``.

    ``preserve`` exchanges source and destination through the swap page, so that the old contents survive in the source
    page; otherwise pages are copied. MachineStopped for a list that never ends or leaves the address space.
    """
    try:
        destinations, sources = _pages(memory, head)
        runs = list(_runs(destinations, sources))
        if _order_matters(destinations, sources):
            runs = [Run(run.destination + at, run.source + at, PAGE_SIZE) for run in runs for at in _steps(run.size)]
        for run in runs:
            _move(memory, run, preserve)
        if preserve and len(sources) and int(destinations[-1]) != swap_page:
            memory.copy(swap_page, int(destinations[-1]), PAGE_SIZE)  # what passed through it last stays there
    except BusError as error:
        raise MachineStopped(f"relocate_kernel: {error}") from error
    return Relocation(len(sources), int(np.count_nonzero(destinations != sources)))


def _steps(size: int) -> range:
    return range(0, size, PAGE_SIZE)


def _move(memory: PhysicalMemory, run: Run, preserve: bool) -> None:
    if run.destination == run.source:
        return
    if abs(run.destination - run.source) < run.size:  # overlapping neighbours: page by page, in order
        for at in _steps(run.size):
            _move(memory, Run(run.destination + at, run.source + at, PAGE_SIZE), preserve)
    elif preserve:
        memory.swap(run.source, run.destination, run.size)
    else:
        memory.copy(run.destination, run.source, run.size)


def _entries(memory: PhysicalMemory, head: int) -> Iterator[Words]:
    """The list's words less links and end, a page of them at a time."""
    seen: set[int] = set()
    words = np.array([head], dtype=np.uint64)
    while True:
        link = (words & np.uint64(IND_DESTINATION)) == 0
        stops = np.flatnonzero(link & ((words & np.uint64(IND_INDIRECTION | IND_DONE)) != 0))
        end = int(stops[0]) if len(stops) else len(words)
        yield words[:end]
        if end == len(words):
            raise MachineStopped("relocate_kernel: a page of entries ends without a link: expected INDIRECTION or DONE")
        last = int(words[end])
        if not last & IND_INDIRECTION:
            return
        page = last & PAGE_MASK
        if page in seen:
            raise MachineStopped(f"relocate_kernel: the list comes back to {page:#x}: expected DONE at its end")
        seen.add(page)
        words = np.frombuffer(memory.read(page, PAGE_SIZE), dtype="<u8").astype(np.uint64)


def _pages(memory: PhysicalMemory, head: int) -> tuple[Words, Words]:
    """Destination and source of every page in the order of the list."""
    words: Any = np.concatenate(list(_entries(memory, head)))
    addresses = words & np.uint64(PAGE_MASK & (1 << 64) - 1)
    is_destination = (words & np.uint64(IND_DESTINATION)) != 0
    is_source = ~is_destination & ((words & np.uint64(IND_SOURCE)) != 0)
    group = np.cumsum(is_destination)
    bases = np.concatenate((np.zeros(1, np.uint64), addresses[is_destination]))
    before = np.cumsum(is_source) - is_source  # sources so far, this one not counted
    first = np.concatenate((np.zeros(1, np.int64), before[is_destination]))
    step = (before - first[group]).astype(np.uint64) * np.uint64(PAGE_SIZE)
    return (bases[group] + step)[is_source], addresses[is_source]


def _runs(destinations: Words, sources: Words) -> Iterator[Run]:
    if not len(sources):
        return
    page = np.uint64(PAGE_SIZE)
    breaks = (np.diff(destinations) != page) | (np.diff(sources) != page)
    starts = np.concatenate(([0], np.flatnonzero(breaks) + 1))
    ends = np.concatenate((starts[1:], [len(sources)]))
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        yield Run(int(destinations[start]), int(sources[start]), (end - start) * PAGE_SIZE)


def _order_matters(destinations: Words, sources: Words) -> bool:
    """True if some page takes part in two moves; no list that kimage built has one."""
    moving = destinations != sources
    pages = np.sort(np.concatenate((destinations[moving], sources[moving])))
    return bool(np.any(pages[1:] == pages[:-1]))
