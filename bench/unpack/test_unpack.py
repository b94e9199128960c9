"""Unpacking a kernel from emulated memory beside the library alone on the same bytes.

pytest bench/unpack --benchmark-enable
MINIKERN_BENCH_GOALS=1 pytest bench/unpack -k goal
"""

from __future__ import annotations

import bz2
import lzma
import os
import statistics
import time
import zlib
from collections.abc import Callable
from typing import Any

import lz4.block  # type: ignore[import-untyped, unused-ignore]
import lzallright
import numpy as np
import pytest
import zstandard

from hw import boot_params
from hw.memory import PhysicalMemory
from minikern.kexec.decompress import decompress
from minikern.kexec.reboot import payload_in_memory
from tests.kexec.images import pack, pack_lzo

SIZE, BASE, PARAMS, AT = 2 << 20, 0x100_0000, 0x9_0000, 0x1000
PAIRS = 9


def lz4_alone(payload: bytes) -> bytes:
    """One chunk is all that SIZE bytes make."""
    return lz4.block.decompress(payload[8:-4], uncompressed_size=SIZE)  # type: ignore[no-any-return, unused-ignore]


def lzo_alone(payload: bytes) -> bytes:
    """Block by block: the format knows no larger ones."""
    at, pieces = len(pack_lzo(b"")) - 4, []
    while size := int.from_bytes(payload[at : at + 4], "big"):
        end = at + 12 + int.from_bytes(payload[at + 4 : at + 8], "big")
        pieces.append(bytes(lzallright.LZOCompressor.decompress(payload[at + 12 : end], size)))
        at = end
    return b"".join(pieces)


LIBRARY: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda payload: zlib.decompress(payload, 31),
    "bzip2": lambda payload: bz2.decompress(payload[:-4]),
    "xz": lambda payload: lzma.decompress(payload[:-4]),
    "lzma": lambda payload: lzma.decompress(payload[:-4], lzma.FORMAT_ALONE),
    "lz4": lz4_alone,
    "lzo": lzo_alone,
    "zstd": lambda payload: zstandard.ZstdDecompressor().decompress(payload, max_output_size=SIZE),
}


@pytest.fixture(scope="module")
def plain() -> bytes:
    """About as packable as a kernel: to a third."""
    rng = np.random.default_rng(2)
    return bytes(rng.choice(64, SIZE, p=rng.dirichlet(np.full(64, 0.12))).astype(np.uint8))


def in_memory(payload: bytes) -> PhysicalMemory:
    memory, page = PhysicalMemory(), bytearray(boot_params.SIZE)
    for name, value in {"header": boot_params.HDRS, "payload_offset": AT, "payload_length": len(payload),
                        "init_size": SIZE + 4096}.items():  # fmt: skip
        boot_params.put(page, name, value)
    memory.write(PARAMS, bytes(page))
    memory.write(BASE + AT, payload)
    return memory


def ours(memory: PhysicalMemory) -> bytes:
    packer, payload, room = payload_in_memory(memory, BASE, PARAMS)
    return decompress(packer, payload, room)


@pytest.mark.benchmark(group="unpack")
@pytest.mark.parametrize("packer", LIBRARY)
def test_unpack(benchmark: Any, plain: bytes, packer: str) -> None:
    memory = in_memory(pack(packer, plain))
    assert benchmark.pedantic(ours, (memory,), rounds=2) == plain


@pytest.mark.skipif(not os.environ.get("MINIKERN_BENCH_GOALS"), reason="MINIKERN_BENCH_GOALS is not set")
@pytest.mark.parametrize("packer", LIBRARY)
def test_goal_at_least_four_fifths_of_the_library(plain: bytes, packer: str) -> None:
    payload = pack(packer, plain)
    memory, ratios = in_memory(payload), []
    for _ in range(PAIRS):
        start = time.perf_counter()
        LIBRARY[packer](payload)
        middle = time.perf_counter()
        ours(memory)
        ratios.append((middle - start) / (time.perf_counter() - middle))
    print(f"{packer}: {statistics.median(ratios):.2f} of the library's speed")
    assert statistics.median(ratios) >= 0.8
