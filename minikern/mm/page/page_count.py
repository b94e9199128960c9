"""The memory map counted: every step says how many pages it worked on, and none is stored.

For boots whose times are asked for and whose pages nobody looks at: log and ledger are those of a stored map.
"""

from __future__ import annotations

from minikern.mm.page.page_map import PageMap, Task


class PageCount(PageMap):
    """``struct page`` operations on a map without content."""

    def _count(self, start: int, end: int) -> int:
        spans = (self.vmemmap.valid_ranges(item.start, item.end) for item in self.links(start, end))
        return sum(high - low for span in spans for low, high in span)

    def init_range(self, start: int, end: int, reserved: bool = False) -> int:
        """Count the valid pages of [start, end), which somebody else would initialise."""
        count = self._count(start, end)
        self.pages_written += count
        return count

    def reserve_range(self, start: int, end: int) -> int:
        """Count the valid pages of [start, end)."""
        return self._count(start, end)

    def free_range(self, start: int, end: int) -> int:
        """Count the valid pages of [start, end)."""
        return self._count(start, end)

    def free_bootmem_range(self, start: int, end: int) -> int:
        """Count the valid pages of [start, end)."""
        return self._count(start, end)

    def bootmem_info(self, start: int, end: int, section: int) -> int:
        """Count the valid pages of [start, end)."""
        return self._count(start, end)

    def deferred_tasks(self, start: int, end: int) -> list[Task]:
        """Count the pages to initialise; there is nothing to do for them."""
        self.pages_written += self._count(start, end)
        return []

    def set_buddy_blocks(self, start: int, end: int, order: int) -> None:
        """No page holds an order."""

    def set_private(self, start: int, end: int, step: int, value: int) -> None:
        """No page holds a private word."""

    def prep_tails(self, head: int, first: int, end: int) -> int:
        """Count the tails from ``first`` up to ``end`` of the compound page at pfn ``head``."""
        spans = self.vmemmap.valid_ranges(head + first, head + end)
        count = sum(high - low for low, high in spans)
        self.pages_written += count
        return count

    def prep_head(self, head: int, order: int, private: int) -> None:
        """No page is a head."""
