"""Three ways to digest emulated memory; all look at the same bytes in place and must agree."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from hw.errors import InputError
from hw.memory import PhysicalMemory
from hw.purgatory import Region, sha256_of_memory

Digest = Callable[[PhysicalMemory, Sequence[Region]], bytes]


class Digested(NamedTuple):
    """A digest, over how many bytes, and the time it took this computer."""

    digest: bytes
    size: int
    host_ns: int


def _views(memory: PhysicalMemory, regions: Sequence[Region]) -> Iterator[memoryview]:
    for start, length in regions:
        yield from memory.views(start, length)


def generic(memory: PhysicalMemory, regions: Sequence[Region]) -> bytes:
    """The purgatory's own kind: scalar code compiled here."""
    from minikern.kexec.sha256 import sha256_generic

    return sha256_generic(_views(memory, regions))


def pycryptodome(memory: PhysicalMemory, regions: Sequence[Region]) -> bytes:
    """PyCryptodome's portable C."""
    from Crypto.Hash import SHA256

    state: Any = SHA256.new()
    for view in _views(memory, regions):
        state.update(view)
    digest: bytes = state.digest()
    return digest


def hashlib(memory: PhysicalMemory, regions: Sequence[Region]) -> bytes:
    """Python's, which is OpenSSL's: SHA instructions where the host has them."""
    return sha256_of_memory(memory, regions)


DIGESTS: dict[str, Digest] = {"generic": generic, "pycryptodome": pycryptodome, "hashlib": hashlib}


def digest_memory(name: str, memory: PhysicalMemory, regions: Sequence[Region]) -> Digested:
    """Digest ranges of memory by the method called ``name``; InputError for a name there is not."""
    if name not in DIGESTS:
        raise InputError(f"unknown digest {name!r}: expected one of {', '.join(DIGESTS)}")
    begin = time.perf_counter_ns()
    digest = DIGESTS[name](memory, regions)
    return Digested(digest, sum(length for _, length in regions), time.perf_counter_ns() - begin)
