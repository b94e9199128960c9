"""The purgatory's data: what the loader leaves for the code that runs between two kernels.

    0x0160 its entry point
    0x2000 registers for the next kernel: 16 general ones, then RIP
    0x2100 SHA-256 over all regions
    0x2120 16 regions of (start, length); unused ones are zero
    0x2220 16 digests, one a region, where each region is checked apart
    0x4000 its stack and what starts as zeros

Source: arch/x86/purgatory/purgatory.c, setup-x86_64.S, entry64.S @ v6.12 (symbols; the data's places are ours, entry
point and sizes those of a build with a distribution's configuration, the same in 6.1 and 6.12)
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from hw.memory import BLOCK_SIZE, PhysicalMemory

REGISTERS = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
             "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip")  # fmt: skip
ENTRY = 0x160
ENTRY64_REGS, SHA256_DIGEST, SHA_REGIONS, REGION_DIGESTS, STACK = 0x2000, 0x2100, 0x2120, 0x2220, 0x4000
MAX_REGIONS = 16  # Source: include/linux/purgatory.h, KEXEC_SEGMENT_MAX
DIGEST_BYTES = 32
SIZE = 0x5000
"""Bytes of memory: code, data and stack."""
STARTED_BY_KEXEC = 0xD  # high nibble of type_of_loader; Source: Documentation/arch/x86/boot.rst
MIN_ADDRESS = 0x3000
"""Lowest place for it. Source: arch/x86/kernel/kexec-bzimage64.c, MIN_PURGATORY_ADDR"""

_REGION = struct.Struct("<QQ")
_U64 = struct.Struct("<Q")

Region = tuple[int, int]


def build(
    regions: Sequence[Region], digest: bytes, registers: dict[str, int], region_digests: Sequence[bytes] = ()
) -> bytes:
    """The purgatory's bytes up to its stack. ValueError for more than MAX_REGIONS regions."""
    if len(regions) > MAX_REGIONS:
        raise ValueError(f"{len(regions)} regions: the purgatory has room for {MAX_REGIONS}")
    page = bytearray(STACK)
    for name, value in registers.items():
        _U64.pack_into(page, ENTRY64_REGS + 8 * REGISTERS.index(name), value)
    page[SHA256_DIGEST : SHA256_DIGEST + DIGEST_BYTES] = digest
    for index, region in enumerate(regions):
        _REGION.pack_into(page, SHA_REGIONS + _REGION.size * index, *region)
    for index, one in enumerate(region_digests):
        at = REGION_DIGESTS + DIGEST_BYTES * index
        page[at : at + DIGEST_BYTES] = one
    return bytes(page)


def read_register(memory: PhysicalMemory, address: int, name: str) -> int:
    """A register the next kernel starts with."""
    return memory.read_int(address + ENTRY64_REGS + 8 * REGISTERS.index(name), 8)


def read_regions(memory: PhysicalMemory, address: int) -> list[Region]:
    """All 16 regions as they are in memory, (start, length) in bytes."""
    table = memory.read(address + SHA_REGIONS, _REGION.size * MAX_REGIONS)
    return [(start, length) for start, length in _REGION.iter_unpack(table)]


def read_digest(memory: PhysicalMemory, address: int) -> bytes:
    """The digest stored by the loader."""
    return memory.read(address + SHA256_DIGEST, DIGEST_BYTES)


def read_region_digest(memory: PhysicalMemory, address: int, index: int) -> bytes:
    """The stored digest of one region."""
    return memory.read(address + REGION_DIGESTS + DIGEST_BYTES * index, DIGEST_BYTES)


@lru_cache(maxsize=8)
def _after_zeros(size: int) -> Any:
    # Kernels and initrds of made-up machines are zeros: their state is worth keeping from boot to boot.
    state, zeros = hashlib.sha256(), bytes(BLOCK_SIZE)
    for _ in range(size // BLOCK_SIZE):
        state.update(zeros)
    state.update(zeros[: size % BLOCK_SIZE])
    return state


def sha256_of_memory(memory: PhysicalMemory, regions: Iterable[Region]) -> bytes:
    """SHA-256 over ranges of memory, in order and without copying them. BusError outside the address space."""
    zeros, state = 0, None
    shared = memoryview(bytes(BLOCK_SIZE))
    for start, length in regions:
        for size, view in memory.runs(start, length):
            if state is None and view is None:
                zeros += size
                continue
            if state is None:
                state = _after_zeros(zeros).copy()
            if view is not None:
                state.update(view)
                continue
            for _ in range(size // BLOCK_SIZE):
                state.update(shared)
            state.update(shared[: size % BLOCK_SIZE])
    digest: bytes = (_after_zeros(zeros) if state is None else state).digest()
    return digest
