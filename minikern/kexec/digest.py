"""Ways to digest emulated memory; all look at the same bytes in place and must agree."""

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
    """PyCryptodome as it comes: its accelerated code where the CPU has the instructions, its portable C elsewhere."""
    from Crypto.Hash import SHA256

    state: Any = SHA256.new()
    for view in _views(memory, regions):
        state.update(view)
    digest: bytes = state.digest()
    return digest


def pycryptodome_portable(memory: PhysicalMemory, regions: Sequence[Region]) -> bytes:
    """PyCryptodome's portable C, whatever the CPU has."""
    from Crypto.Hash import SHA256

    # Versions that know no instructions have one library only, the portable one.
    return _with_library(getattr(SHA256, "_raw_sha256_portable_lib", SHA256._raw_sha256_lib), memory, regions)


def pycryptodome_accelerated(memory: PhysicalMemory, regions: Sequence[Region]) -> bytes:
    """PyCryptodome's code for SHA instructions. InputError where CPU or version have none."""
    library = accelerated_library()
    if library is None:
        raise InputError("digest pycryptodome-accelerated: expected SHA instructions and PyCryptodome 4.0 or newer")
    return _with_library(library, memory, regions)


def accelerated_library() -> Any:
    """PyCryptodome's library for this CPU's SHA instructions, None if there is none."""
    from Crypto.Hash import SHA256

    known = (getattr(SHA256, f"_raw_sha256_{name}_lib", None) for name in ("shani", "armv8"))
    return next((library for library in known if library is not None), None)


def _with_library(library: Any, memory: PhysicalMemory, regions: Sequence[Region]) -> bytes:
    from Crypto.Util import _raw_api as raw

    pointer = raw.VoidPointer()
    if library.SHA256_init(pointer.address_of()):
        raise MemoryError("no room for a SHA-256 state")
    state = raw.SmartPointer(pointer.get(), library.SHA256_destroy)
    for view in _views(memory, regions):
        library.SHA256_update(state.get(), raw.c_uint8_ptr(view), raw.c_size_t(len(view)))
    out = raw.create_string_buffer(32)
    library.SHA256_digest(state.get(), out, raw.c_size_t(32))
    return bytes(raw.get_raw_buffer(out))


def hashlib(memory: PhysicalMemory, regions: Sequence[Region]) -> bytes:
    """Python's, which is OpenSSL's: SHA instructions where the host has them."""
    return sha256_of_memory(memory, regions)


DIGESTS: dict[str, Digest] = {
    "generic": generic,
    "pycryptodome": pycryptodome,
    "pycryptodome-portable": pycryptodome_portable,
    "pycryptodome-accelerated": pycryptodome_accelerated,
    "hashlib": hashlib,
}


def available() -> list[str]:
    """The digests that this computer and its libraries have."""
    return [name for name in DIGESTS if name != "pycryptodome-accelerated" or accelerated_library() is not None]


def code_path(name: str) -> str:
    """Which code a digest runs here, for reports."""
    if name != "pycryptodome":
        return name
    return "pycryptodome-portable" if accelerated_library() is None else "pycryptodome-accelerated"


def digest_memory(name: str, memory: PhysicalMemory, regions: Sequence[Region]) -> Digested:
    """Digest ranges of memory by the method called ``name``; InputError for a name there is not."""
    if name not in DIGESTS:
        raise InputError(f"unknown digest {name!r}: expected one of {', '.join(DIGESTS)}")
    begin = time.perf_counter_ns()
    digest = DIGESTS[name](memory, regions)
    return Digested(digest, sum(length for _, length in regions), time.perf_counter_ns() - begin)
