"""The byte checksum every ACPI structure carries."""

from __future__ import annotations

import numpy as np

_SHORT = 512  # bytes that are added up faster one by one
CHECKSUM_OFFSET = 9  # of the common table header. Source: ACPI 6.5 clause 5.2.6


def byte_sum(data: bytes) -> int:
    """Sum of all bytes modulo 256; 0 for a sound structure. Source: ACPI 6.5 clause 5.2.5.3"""
    return _sum(data) & 0xFF


def fix_checksum(data: bytes, offset: int = CHECKSUM_OFFSET, length: int | None = None) -> bytes:
    """``data`` with the byte at ``offset`` set so that the first ``length`` bytes (default all) sum to zero."""
    out = bytearray(data)
    end = len(out) if length is None else length
    out[offset] = 0
    out[offset] = -_sum(out[:end]) & 0xFF
    return bytes(out)


def _sum(data: bytes | bytearray) -> int:
    return sum(data) if len(data) < _SHORT else int(np.frombuffer(data, dtype=np.uint8).sum(dtype=np.uint64))
