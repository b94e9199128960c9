"""Relocation of an image beside a plain copy of as many bytes.

    pytest bench/kexec --benchmark-enable
    MINIKERN_BENCH_GOALS=1 pytest bench/kexec -k half
"""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hw.memory import PhysicalMemory
from minikern.kexec.kimage import Kimage
from minikern.kexec.relocate import relocate_kernel
from minikern.kexec.segments import Segment

SIZE = 64 << 20
BASE = 0x4000_0000
PAIRS = 15


@pytest.fixture(scope="module")
def data() -> bytes:
    return random.Random(1).randbytes(SIZE)


@pytest.fixture(scope="module")
def loaded(data: bytes) -> tuple[PhysicalMemory, Kimage]:
    """An image whose source pages lie elsewhere, not at the same offset in a block as where they go."""
    memory = PhysicalMemory()
    segment = Segment("image", data, BASE, SIZE)
    image = Kimage(memory, [segment], BASE, iter(range(0x1_0000_0000, 0x2_0000_0000, 4096)))
    image.load_segment(segment)
    image.terminate()
    memory.write(BASE, data[::-1])  # memory there before, as on a machine that has been running
    return memory, image


@pytest.mark.benchmark(group="relocation")
@pytest.mark.parametrize("preserve", [False, True])
def test_relocation(benchmark: Any, loaded: tuple[PhysicalMemory, Kimage], data: bytes, preserve: bool) -> None:
    memory, image = loaded
    rounds = 1 if preserve else 5  # swapping changes the sources, so it is done once and last
    done = benchmark.pedantic(
        relocate_kernel, (memory, image.head, image.swap_page, preserve), iterations=1, rounds=rounds
    )
    assert done.moved_pages == SIZE // 4096
    assert memory.read(BASE, SIZE) == data


@pytest.mark.benchmark(group="relocation")
def test_memcpy(benchmark: Any, data: bytes) -> None:
    source, target = np.frombuffer(data, dtype=np.uint8), np.zeros(SIZE, dtype=np.uint8)
    benchmark(np.copyto, target, source)
    assert target.tobytes() == data


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


@pytest.mark.skipif("MINIKERN_BENCH_GOALS" not in os.environ, reason="a speed goal: set MINIKERN_BENCH_GOALS")
def test_at_least_half_of_memcpy(data: bytes) -> None:
    memory, segment = PhysicalMemory(), Segment("image", data, BASE, SIZE)
    image = Kimage(memory, [segment], BASE, iter(range(0x1_0000_0000, 0x2_0000_0000, 4096)))
    image.load_segment(segment)
    image.terminate()
    memory.write(BASE, data[::-1])
    source, target = np.frombuffer(data, dtype=np.uint8), np.ones(SIZE, dtype=np.uint8)
    ratios = []
    for _ in range(PAIRS):
        mine = seconds(lambda: relocate_kernel(memory, image.head, image.swap_page, False))
        ratios.append(seconds(lambda: np.copyto(target, source)) / mine)
    assert statistics.median(ratios) >= 0.5, sorted(ratios)
