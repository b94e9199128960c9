"""Initialising struct pages: what the memory can do, the C loop, and the kernels by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from minikern.lab.bench import Bench


@pytest.mark.parametrize("kernel", ["memset", "fill", "c", "linux", "fused", "nontemporal"])
def test_init(timed: Callable[[str], None], kernel: str) -> None:
    timed(kernel)


@pytest.mark.parametrize("kernel", ["c-deferred", "deferred-linux", "deferred"])
def test_init_and_free(timed: Callable[[str], None], kernel: str) -> None:
    timed(kernel)


def test_whole_node(pages: Bench, threads: int, benchmark: Any) -> None:
    pages.node(threads)
    pages.expect("blocks", "deferred-node")
    benchmark.group = f"page_init, {threads} threads"
    benchmark.extra_info.update(pages=pages.pages, bytes=pages.pages * 64, threads=threads, threading="HostPool")
    benchmark(pages.node, threads)
    pages.expect("blocks", "deferred-node")
