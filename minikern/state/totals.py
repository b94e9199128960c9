"""Sizes of memory that early boot finds out, and ranges it keeps for somebody."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class PageTotals:
    """Page frame numbers and counts of the whole machine, by Linux's names."""

    max_pfn: int = 0
    max_low_pfn: int = 0
    dma_reserve: int = 0  # pages; see minikern.mm.buddy.zonelist.find_dma_reserve
    nr_all_pages: int = 0
    nr_free_memblock_pages: int = 0


@dataclass
class CrashKernel:
    """What ``crashkernel=`` reserved: (address, bytes), (0, 0) where it did not."""

    res: tuple[int, int] = (0, 0)
    low_res: tuple[int, int] = (0, 0)


@dataclass
class EfiMemory:
    """The firmware's own memory, [start, end) in bytes."""

    boot_services: list[tuple[int, int]] = field(default_factory=list)  # to be freed
    kept: list[tuple[int, int]] = field(default_factory=list)  # of these, what stays
