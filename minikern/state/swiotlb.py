"""Bounce buffers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass

IO_TLB_SHIFT = 11  # slabs of 2 KiB; Source: include/linux/swiotlb.h
IO_TLB_DEFAULT_BYTES = 64 << 20


@dataclass
class Swiotlb:
    """Sizes in slabs. ``areas`` 0: not decided yet; ``place`` is where the buffers are, once they are."""

    slabs: int = IO_TLB_DEFAULT_BYTES >> IO_TLB_SHIFT
    areas: int = 0
    force: bool = False
    disabled: bool = False
    place: int | None = None

    def size_or_default(self) -> int:
        """Bytes the buffers take if they are made. Source: kernel/dma/swiotlb.c:swiotlb_size_or_default()"""
        return self.slabs << IO_TLB_SHIFT

