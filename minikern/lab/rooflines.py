"""What this computer's memory can do: the rates that everything else is held against."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from minikern.host.backing import last_level_cache_bytes
from minikern.host.jit import jit
from minikern.mm.page.page_kernels import can_stream
from minikern.mm.page.page_stream import stream_fill
from minikern.mm.page.struct_page import Words

# Some hosts store and move lines of zeros faster than others, so rooflines are measured with bytes that are not zero.
PATTERN = 0xA5
CACHES = 4  # a buffer this many times as large as the last-level cache is memory; one of up to one is the cache


def memset(words: Any, value: int) -> None:
    """The C library's, over all of an array."""
    ctypes.memset(words.ctypes.data, value, words.nbytes)


def fill(words: Words) -> None:
    """Store rows past the cache."""
    stream_fill(words, np.uint64(int.from_bytes(bytes([PATTERN]) * 8, "little")))


@jit
def _xor(flat: Words) -> int:
    found = np.uint64(0)
    for i in range(flat.shape[0]):
        found ^= flat[i]
    return found  # type: ignore[return-value]


def read(words: Words) -> None:
    """Read every word once."""
    _xor(words.reshape(-1))


def rooflines(kind: str, words: Words) -> dict[str, Callable[[Words], None]]:
    """The ways to "write" or to "read" rows as fast as can be, by name."""
    if kind == "read":
        return {"read": read}
    found: dict[str, Callable[[Words], None]] = {"memset": lambda rows: memset(rows, PATTERN)}
    if can_stream(words):
        found["fill"] = fill
    return found


def beyond_cache_bytes() -> int:
    """How much has to be touched in turn so that nothing of it is found in a cache again."""
    return CACHES * last_level_cache_bytes()


def cache_words(used_bytes: int) -> str:
    """What a buffer of so many bytes is, beside the last-level cache."""
    cache = last_level_cache_bytes()
    times = used_bytes / cache
    if times <= 1:
        return f"{_told(used_bytes)}, which fits into the last-level cache ({_told(cache)}): the cache was measured"
    if times < CACHES:
        return f"{_told(used_bytes)}, only {times:.1f} times the last-level cache ({_told(cache)}): partly the cache"
    return f"{_told(used_bytes)}, {times:.0f} times the last-level cache ({_told(cache)})"


def _told(size: int) -> str:
    for bits, name in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size >= 1 << bits:
            return f"{size / (1 << bits):.3g} {name}"
    return f"{size} bytes"
