"""Digests of emulated memory beside the same work on one flat buffer.

    pytest bench/digest --benchmark-enable
"""

from __future__ import annotations

import ctypes
import hashlib
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hw.memory import PhysicalMemory
from minikern.kexec.digest import available, digest_memory
from minikern.kexec.sha256 import initial_state, round_constants

SIZE = 32 << 20
BASE = 0x4000_0000


@pytest.fixture(scope="module")
def data() -> bytes:
    return random.Random(1).randbytes(SIZE)


@pytest.fixture(scope="module")
def memory(data: bytes) -> PhysicalMemory:
    filled = PhysicalMemory()
    filled.write(BASE, data)
    return filled


@pytest.fixture(scope="module")
def in_c(tmp_path_factory: pytest.TempPathFactory) -> Callable[[NDArray[np.uint8]], bytes]:
    """The compression function in C, over whole blocks."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    library = tmp_path_factory.mktemp("c") / "sha256.so"
    source = Path(__file__).parents[1] / "c" / "sha256.c"
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    function = ctypes.CDLL(str(library)).sha256_blocks
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    function.restype = None

    def run(blocks: NDArray[np.uint8]) -> bytes:
        state, k = initial_state(), round_constants()
        function(state.ctypes.data, k.ctypes.data, blocks.ctypes.data, len(blocks) // 64)
        return state.astype(">u4").tobytes()

    return run


@pytest.mark.benchmark(group="digest")
@pytest.mark.parametrize("name", available())
def test_memory(benchmark: Any, memory: PhysicalMemory, data: bytes, name: str) -> None:
    done = benchmark(digest_memory, name, memory, [(BASE, SIZE)])
    assert done.digest == hashlib.sha256(data).digest()


@pytest.mark.benchmark(group="digest")
def test_hashlib_on_one_flat_buffer(benchmark: Any, data: bytes) -> None:
    assert benchmark(lambda: hashlib.sha256(data).digest())


@pytest.mark.benchmark(group="digest")
def test_c(benchmark: Any, data: bytes, in_c: Callable[[NDArray[np.uint8]], bytes]) -> None:
    # The padding is one more block; with it, the result is the digest.
    tail = b"\x80".ljust(56, b"\0") + (8 * SIZE).to_bytes(8, "big")
    blocks = np.frombuffer(data + tail, dtype=np.uint8)
    assert benchmark(in_c, blocks) == hashlib.sha256(data).digest()
