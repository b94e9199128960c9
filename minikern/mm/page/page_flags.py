"""How ``page->flags`` is divided: node, zone and last CPU from the top, flag bits from the bottom.

Source: include/linux/page-flags-layout.h, page-flags.h, mmzone.h @ v6.12
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from hw.errors import InputError
from minikern.mm.page.mmzone import ZONE_NAMES

BITS_PER_LONG = 64
LAST_PID_SHIFT = 8  # Source: include/linux/page-flags-layout.h:LAST__PID_SHIFT
LRU_GEN_WIDTH = 3  # order_base_2(MAX_NR_GENS + 1); Source: kernel/bounds.c @ v6.12

# page_type of a free block before one-byte types: all ones less PG_buddy. Source: include/linux/page-flags.h @ v6.1
PAGE_BUDDY_MAPCOUNT = 0xFFFFFF7F


class ConfigLike(Protocol):
    """What is needed of the configuration."""

    def enabled(self, name: str) -> bool: ...

    def number(self, name: str) -> int: ...


@dataclass(frozen=True)
class PageFlags:
    """One kernel build's layout of ``page->flags``; widths, shifts and bit numbers in bits.

    ``buddy_type`` is the page_type word of a free block's head; ``hugetlb_type`` that of a hugetlb head, None where
    releases keep this in the first tail.
    """

    nodes_width: int
    zones_width: int
    cpupid_width: int
    lru_gen_width: int
    reserved_bit: int
    private_bit: int
    head_bit: int
    buddy_type: int = PAGE_BUDDY_MAPCOUNT
    hugetlb_type: int | None = None

    @property
    def nodes_shift(self) -> int:
        """Lowest bit of the node number."""
        return BITS_PER_LONG - self.nodes_width

    @property
    def zones_shift(self) -> int:
        """Lowest bit of the zone number."""
        return self.nodes_shift - self.zones_width

    @property
    def cpupid_shift(self) -> int:
        """Lowest bit of last_cpupid."""
        return self.zones_shift - self.cpupid_width

    @property
    def reserved(self) -> int:
        """Mask of PG_reserved."""
        return 1 << self.reserved_bit

    @property
    def private(self) -> int:
        """Mask of PG_private."""
        return 1 << self.private_bit

    @property
    def head(self) -> int:
        """Mask of PG_head."""
        return 1 << self.head_bit

    def links(self, nid: int, zone: int) -> int:
        """Flags of a freshly initialised page of ``nid`` and ``zone``: last_cpupid all ones, no flag set.

        Source: include/linux/mm.h:set_page_links(), page_cpupid_reset_last() @ v6.12
        """
        if nid >> self.nodes_width or zone >> self.zones_width:
            raise InputError(
                f"node {nid}, zone {zone}: page->flags has {self.nodes_width} bits for the node and "
                f"{self.zones_width} for the zone (CONFIG_NODES_SHIFT)"
            )
        cpupid = ((1 << self.cpupid_width) - 1) << self.cpupid_shift if self.cpupid_width else 0
        return nid << self.nodes_shift | zone << self.zones_shift | cpupid

    def nid(self, flags: int) -> int:
        """Node number in ``flags``."""
        return flags >> self.nodes_shift if self.nodes_width else 0

    def zone(self, flags: int) -> int:
        """Zone number in ``flags``."""
        return flags >> self.zones_shift & ((1 << self.zones_width) - 1)

    def describe(self, flags: int) -> str:
        """``flags`` in words, for error messages."""
        zone = self.zone(flags)
        names = [name for name in ("reserved", "private", "head") if flags & getattr(self, name)]
        zone_name = ZONE_NAMES[zone] if zone < len(ZONE_NAMES) else f"#{zone}"
        return f"node {self.nid(flags)} zone {zone_name} {'|'.join(names) or 'no flags'}"


def zones_width(config: ConfigLike) -> int:
    """Bits for the zone number; Normal and Movable always exist. Source: include/linux/mmzone.h, gfp.h:ZONES_SHIFT"""
    optional = ("CONFIG_ZONE_DMA", "CONFIG_ZONE_DMA32", "CONFIG_ZONE_DEVICE")
    count = 2 + sum(config.enabled(name) for name in optional)
    return (count - 1).bit_length()
