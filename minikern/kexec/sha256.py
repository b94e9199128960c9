"""SHA-256 as the purgatory computes it: plain 32-bit arithmetic, one block after the other, no vector instructions.

Source: FIPS 180-4, sections 4.1.2, 4.2.2, 5.1.1, 5.3.3, 6.2.2; lib/crypto/sha256.c @ v6.12 is such code
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minikern.host.jit import jit

BLOCK_BYTES = 64
Words = NDArray[np.uint32]


def _primes(count: int) -> list[int]:
    found: list[int] = []
    candidate = 2
    while len(found) < count:
        if all(candidate % prime for prime in found):
            found.append(candidate)
        candidate += 1
    return found


def _root_fraction(prime: int, root: int) -> int:
    # First 32 bits of the fraction of the square or cube root, by whole-number bisection.
    wanted = prime << (32 * root)
    low, high = 0, 1 << 36
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**root <= wanted else (low, middle)
    return low & 0xFFFF_FFFF


def initial_state() -> Words:
    """H(0): square roots of the first 8 primes. Source: FIPS 180-4, 5.3.3"""
    return np.array([_root_fraction(prime, 2) for prime in _primes(8)], dtype=np.uint32)


def round_constants() -> Words:
    """K: cube roots of the first 64 primes. Source: FIPS 180-4, 4.2.2"""
    return np.array([_root_fraction(prime, 3) for prime in _primes(64)], dtype=np.uint32)


@jit
def _rotate(x: Any, n: Any) -> Any:
    return np.uint32((np.uint64(x) >> np.uint64(n)) | (np.uint64(x) << np.uint64(32 - n)))


@jit
def _round(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any, kw: Any) -> Any:
    # The two words a round makes anew: what d becomes, and what h becomes.
    big1 = _rotate(e, 6) ^ _rotate(e, 11) ^ _rotate(e, 25)
    choose = g ^ (e & (f ^ g))
    t1 = np.uint64(h) + np.uint64(big1) + np.uint64(choose) + np.uint64(kw)
    big0 = _rotate(a, 2) ^ _rotate(a, 13) ^ _rotate(a, 22)
    majority = (a & b) | (c & (a | b))
    t2 = np.uint64(big0) + np.uint64(majority)
    return np.uint32((np.uint64(d) + t1) & np.uint64(0xFFFFFFFF)), np.uint32((t1 + t2) & np.uint64(0xFFFFFFFF))


@jit
def _schedule(w: Any, i: int) -> Any:
    x, y = w[i - 15], w[i - 2]
    small0 = _rotate(x, 7) ^ _rotate(x, 18) ^ np.uint32(x >> np.uint32(3))
    small1 = _rotate(y, 17) ^ _rotate(y, 19) ^ np.uint32(y >> np.uint32(10))
    total = np.uint64(small1) + np.uint64(w[i - 7]) + np.uint64(small0) + np.uint64(w[i - 16])
    return np.uint32(total & np.uint64(0xFFFFFFFF))


@jit
def sha256_blocks(state: Words, k: Words, w: Words, data: NDArray[np.uint8]) -> None:
    """Run every whole 64-byte block of ``data`` through the compression function.

    ``state`` holds 8 words and is updated, ``k`` the 64 round constants, ``w`` is 64 words of room.
    Source: FIPS 180-4, 6.2.2
    """
    for block in range(data.shape[0] // 64):
        at = block * 64
        for i in range(16):
            w[i] = np.uint32(
                (np.uint32(data[at + 4 * i]) << np.uint32(24))
                | (np.uint32(data[at + 4 * i + 1]) << np.uint32(16))
                | (np.uint32(data[at + 4 * i + 2]) << np.uint32(8))
                | np.uint32(data[at + 4 * i + 3])
            )
        for i in range(16, 64):
            w[i] = _schedule(w, i)
        a, b, c, d = state[0], state[1], state[2], state[3]
        e, f, g, h = state[4], state[5], state[6], state[7]
        for i in range(0, 64, 8):  # eight rounds a turn, so that the words change names instead of places
            d, h = _round(a, b, c, d, e, f, g, h, np.uint64(k[i]) + np.uint64(w[i]))
            c, g = _round(h, a, b, c, d, e, f, g, np.uint64(k[i + 1]) + np.uint64(w[i + 1]))
            b, f = _round(g, h, a, b, c, d, e, f, np.uint64(k[i + 2]) + np.uint64(w[i + 2]))
            a, e = _round(f, g, h, a, b, c, d, e, np.uint64(k[i + 3]) + np.uint64(w[i + 3]))
            h, d = _round(e, f, g, h, a, b, c, d, np.uint64(k[i + 4]) + np.uint64(w[i + 4]))
            g, c = _round(d, e, f, g, h, a, b, c, np.uint64(k[i + 5]) + np.uint64(w[i + 5]))
            f, b = _round(c, d, e, f, g, h, a, b, np.uint64(k[i + 6]) + np.uint64(w[i + 6]))
            e, a = _round(b, c, d, e, f, g, h, a, np.uint64(k[i + 7]) + np.uint64(w[i + 7]))
        state[0] = np.uint32((np.uint64(state[0]) + np.uint64(a)) & np.uint64(0xFFFFFFFF))
        state[1] = np.uint32((np.uint64(state[1]) + np.uint64(b)) & np.uint64(0xFFFFFFFF))
        state[2] = np.uint32((np.uint64(state[2]) + np.uint64(c)) & np.uint64(0xFFFFFFFF))
        state[3] = np.uint32((np.uint64(state[3]) + np.uint64(d)) & np.uint64(0xFFFFFFFF))
        state[4] = np.uint32((np.uint64(state[4]) + np.uint64(e)) & np.uint64(0xFFFFFFFF))
        state[5] = np.uint32((np.uint64(state[5]) + np.uint64(f)) & np.uint64(0xFFFFFFFF))
        state[6] = np.uint32((np.uint64(state[6]) + np.uint64(g)) & np.uint64(0xFFFFFFFF))
        state[7] = np.uint32((np.uint64(state[7]) + np.uint64(h)) & np.uint64(0xFFFFFFFF))


def sha256_generic(pieces: Iterable[memoryview]) -> bytes:
    """SHA-256 over pieces of any length, in order."""
    state, k, w = initial_state(), round_constants(), np.zeros(64, dtype=np.uint32)
    kept, total = b"", 0
    for piece in pieces:
        total += len(piece)
        if kept:
            missing = min(BLOCK_BYTES - len(kept), len(piece))
            kept, piece = kept + bytes(piece[:missing]), piece[missing:]
            if len(kept) < BLOCK_BYTES:
                continue
            sha256_blocks(state, k, w, np.frombuffer(kept, dtype=np.uint8))
        whole = len(piece) // BLOCK_BYTES * BLOCK_BYTES
        sha256_blocks(state, k, w, np.frombuffer(piece[:whole], dtype=np.uint8))
        kept = bytes(piece[whole:])
    # The end: a one bit, zeros, and the length in bits. Source: FIPS 180-4, 5.1.1
    tail = kept + b"\x80"
    tail += bytes(-(len(tail) + 8) % BLOCK_BYTES) + struct.pack(">Q", 8 * total)
    sha256_blocks(state, k, w, np.frombuffer(tail, dtype=np.uint8))
    return state.astype(">u4").tobytes()
