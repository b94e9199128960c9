"""The grammar of ``hugepagesz=``, ``hugepages=`` and ``default_hugepagesz=``, with all of its complaints.

Source: mm/hugetlb.c:hugepages_setup(), hugepagesz_setup(), default_hugepagesz_setup() @ v6.12
"""

from __future__ import annotations

import re
from collections.abc import Callable

from hw.units import PAGE_SHIFT
from minikern.core.cmdline import memparse
from minikern.state.hugetlb import Hstate

_NUMBER = re.compile(r"\d+")
_ULONG_MASK = 2**64 - 1


def size_name(order: int) -> str:
    """A page size as the log spells it: ``2.00 MiB``. Source: lib/string_helpers.c:string_get_size() @ v6.12"""
    size, units = 1 << (order + PAGE_SHIFT), ("B", "KiB", "MiB", "GiB", "TiB")
    step = (size.bit_length() - 1) // 10
    return f"{size >> 10 * step}.00 {units[step]}"


class HugetlbCommandLine:
    """State of the parameters while they are read from left to right.

    ``alloc_gigantic`` is called when the pages of a gigantic size have to be taken.
    """

    def __init__(
        self,
        valid_sizes: set[int],
        online_nodes: list[int],
        printk: Callable[[str], None],
        alloc_gigantic: Callable[[Hstate], None],
    ) -> None:
        self.hstates: list[Hstate] = []
        self.default: Hstate | None = None
        self.default_max_huge_pages = 0
        self.default_in_node: dict[int, int] = {}
        self.cma_warned = False
        self._valid_sizes = valid_sizes
        self._online = online_nodes
        self._printk = printk
        self._alloc_gigantic = alloc_gigantic
        self._parsed: Hstate | None = None
        self._parsed_valid_size = True
        self._parsed_default_size = False
        self._last_target: object = None

    def parameter(self, name: str, value: str) -> None:
        """Act on one parameter; others than the three are left alone."""
        if name == "hugepagesz":
            self._hugepagesz(value)
        elif name == "hugepages":
            self._hugepages(value)
        elif name == "default_hugepagesz":
            self._default_hugepagesz(value)

    def size_to_hstate(self, order: int) -> Hstate | None:
        """The registered size of ``order``."""
        return next((h for h in self.hstates if h.order == order), None)

    def add_hstate(self, order: int) -> None:
        """Register a size unless it is registered already."""
        if self.size_to_hstate(order) is None:
            self._parsed = Hstate(order)
            self.hstates.append(self._parsed)

    def set_default(self, order: int) -> None:
        """At hugetlb_init(): the size for which ``hugepages=`` without a size before it was meant."""
        self.add_hstate(order)
        if self._parsed_default_size:
            return
        h = self.default = self.size_to_hstate(order)
        assert h is not None
        if self.default_max_huge_pages:
            if h.max_huge_pages:
                self._printk(
                    f"HugeTLB: Ignoring hugepages={h.max_huge_pages} associated with {size_name(order)} page size"
                )
                count = self.default_max_huge_pages
                self._printk(f"HugeTLB: Using hugepages={count} for number of default huge pages")
            self._give_default(h)

    def _give_default(self, h: Hstate) -> None:
        h.max_huge_pages = self.default_max_huge_pages
        h.max_huge_pages_node = dict(self.default_in_node)

    def _hugepagesz(self, text: str) -> None:
        self._parsed_valid_size = False
        size = memparse(text)[0]
        if size not in self._valid_sizes:
            self._printk(f"HugeTLB: unsupported hugepagesz={text}")
            return
        order = size.bit_length() - 1 - PAGE_SHIFT
        h = self.size_to_hstate(order)
        if h is None:
            self.add_hstate(order)
        elif not self._parsed_default_size or h is not self.default or h.max_huge_pages:
            self._printk(f"HugeTLB: hugepagesz={text} specified twice, ignoring")
            return
        else:
            self._parsed = h
        self._parsed_valid_size = True

    def _default_hugepagesz(self, text: str) -> None:
        self._parsed_valid_size = False
        if self._parsed_default_size:
            self._printk(f"HugeTLB: default_hugepagesz previously specified, ignoring {text}")
            return
        size = memparse(text)[0]
        if size not in self._valid_sizes:
            self._printk(f"HugeTLB: unsupported default_hugepagesz={text}")
            return
        order = size.bit_length() - 1 - PAGE_SHIFT
        self.add_hstate(order)
        self._parsed_valid_size = self._parsed_default_size = True
        h = self.default = self.size_to_hstate(order)
        assert h is not None
        # hugepages= may have come first, without any size.
        if self.default_max_huge_pages:
            self._give_default(h)
            if h.gigantic:
                self._alloc_gigantic(h)
            self.default_max_huge_pages = 0

    def _hugepages(self, text: str) -> None:
        if not self._parsed_valid_size:
            self._printk(f"HugeTLB: hugepages={text} does not follow a valid hugepagesz, ignoring")
            self._parsed_valid_size = True
            return
        h = self._parsed if self.hstates else None
        target: object = self if h is None else h
        if target is self._last_target:
            self._printk(
                f"HugeTLB: hugepages= specified twice without interleaving hugepagesz=, ignoring hugepages={text}"
            )
            return
        rest = self._read_counts(text, h)
        if rest is not None:
            self._printk(f"HugeTLB: Invalid hugepages parameter {rest}")
            (self.default_in_node if h is None else h.max_huge_pages_node).clear()
            return
        if h is not None and h.gigantic:
            self._alloc_gigantic(h)
        self._last_target = target

    def _read_counts(self, text: str, h: Hstate | None) -> str | None:
        """Read ``N`` or ``node:N,node:N``; returns what could not be read, None if all could."""
        by_node = self.default_in_node if h is None else h.max_huge_pages_node
        rest = text
        while rest:
            number = _NUMBER.match(rest)
            if number is None:
                return rest
            value, after = int(number.group()) & _ULONG_MASK, rest[number.end() :]
            if not after.startswith(":"):
                if rest is not text:
                    return rest
                self._set_count(h, value)
                return None
            if value not in self._online:
                return rest
            rest = after[1:]
            number = _NUMBER.match(rest)
            if number is None:
                return rest
            by_node[value] = int(number.group()) & _ULONG_MASK
            self._set_count(h, (self.default_max_huge_pages if h is None else h.max_huge_pages) + by_node[value])
            if not rest[number.end() :].startswith(","):
                return None
            rest = rest[number.end() + 1 :]
        return None

    def _set_count(self, h: Hstate | None, count: int) -> None:
        if h is None:
            self.default_max_huge_pages = count
        else:
            h.max_huge_pages = count
