"""Compound tails of 2 MiB pages: initialised and then prepared, as Linux does it, or stored at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minikern.lab.bench import NID, ZONE, Bench
from minikern.mm.page.page_kernels import init_linux, prep_compound_tails
from minikern.mm.page.struct_page import TAIL_MAPPING

HUGE = 512


def linux_order(pages: Bench) -> None:
    for at in range(0, pages.pages, HUGE):
        tails, head = pages.words[at + 1 : at + HUGE], pages.start + at
        init_linux(tails, np.uint64(pages.links), np.uint64(pages.vmemmap.address(head + 1) + 8))
        prep_compound_tails(tails, np.uint64(pages.vmemmap.address(head) | 1), np.uint64(TAIL_MAPPING))


def at_once(pages: Bench) -> None:
    for head in range(pages.start, pages.start + pages.pages, HUGE):
        pages.map.prep_tails(head, 1, HUGE)


VARIANTS: dict[str, Callable[[Bench], None]] = {"linux": linux_order, "at-once": at_once}


def verify(pages: Bench) -> None:
    step = max(1, pages.pages // 1000)
    for row in range(0, pages.pages, step):
        pfn = pages.start + row
        if pfn % HUGE:
            lru, head = pages.vmemmap.address(pfn) + 8, pages.vmemmap.address(pfn - pfn % HUGE)
            want = [pages.map.flags.links(NID, ZONE), head | 1, lru, TAIL_MAPPING, 0, 0, 0xFFFFFFFF, 0]
            assert pages.words[row].tolist() == want, f"pfn {pfn:#x}"


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_tails(pages: Bench, benchmark: Any, variant: str) -> None:
    pages.set_state("")
    VARIANTS[variant](pages)
    verify(pages)
    tails = pages.pages - pages.pages // HUGE
    benchmark.group = "hugetlb"
    benchmark.extra_info.update(pages=tails, bytes=tails * 64, threads=1, threading="none")
    benchmark(VARIANTS[variant], pages)
    verify(pages)
