"""Shared by the benchmarks: one buffer of struct pages, host threads, and what every result carries.

``MINIKERN_BENCH_PAGES`` is the number of struct pages (default 65536, a smoke test; 33554432 are 2 GiB).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from minikern.host import jit
from minikern.lab.bench import Bench, Kernel, default_threads, validate

PAGES = int(os.environ.get("MINIKERN_BENCH_PAGES", "65536"))


@pytest.fixture(scope="session")
def pages() -> Iterator[Bench]:
    """The buffer and the kernels."""
    if jit.DISABLED:
        pytest.skip("benchmarks need compiled kernels: NUMBA_DISABLE_JIT is set")
    buffer = Bench(PAGES)
    yield buffer
    buffer.close()


@pytest.fixture(params=default_threads(), ids="{}threads".format)
def threads(request: pytest.FixtureRequest) -> int:
    """One thread, then all cores."""
    return int(request.param)


Timed = Callable[[str], None]


@pytest.fixture
def timed(pages: Bench, threads: int, benchmark: Any, request: pytest.FixtureRequest) -> Timed:
    """Validate a kernel by name, then time it."""

    def run(name: str) -> None:
        if name.startswith("c") and name != "check" and pages.c is None:
            pytest.skip(pages.note)
        known: dict[str, Kernel] = {kernel.name: kernel for kernel in pages.rooflines() + pages.kernels()}
        if name not in known:
            pytest.skip(f"{name}: not on this host")
        kernel = known[name]
        validate(pages, kernel)  # compiles it, too
        if kernel.before:
            pages.set_state(kernel.before)
        describe(benchmark, request, pages.pages, threads)
        parts = pages.parts(threads)
        with ThreadPoolExecutor(threads) as pool:
            benchmark(lambda: list(pool.map(kernel.run, parts)))
        if kernel.after:
            pages.expect(kernel.after, name)

    return run


def describe(benchmark: Any, request: pytest.FixtureRequest, count: int, threads: int) -> None:
    """Group by file and threads; note what was written."""
    benchmark.group = f"{request.path.parent.name}, {threads} threads"
    benchmark.extra_info.update(pages=count, bytes=count * 64, threads=threads, threading="ThreadPoolExecutor, no GIL")
