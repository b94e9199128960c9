"""Sizes as people write them (``4G``, ``512M``, ``0x1000``), and what units are of one another."""

from __future__ import annotations

import re

from hw.errors import InputError

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30
NS_PER_MS = 1_000_000
PAGE_SHIFT = 12
PAGE_SIZE = 1 << PAGE_SHIFT
SMP_CACHE_BYTES = 64  # a cache line; Source: arch/x86/include/asm/cache.h

_SIZE = re.compile(r"\s*(0[xX][0-9a-fA-F]{1,16}|[0-9]{1,19})\s*([KMGTP]?)(?:i?B)?\s*", re.IGNORECASE)
_POWER = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40, "P": 50}


def parse_size(text: str, where: str) -> int:
    """Bytes of a size such as ``4G`` (binary units, as QEMU and the kernel take them); InputError names ``where``."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise InputError(f"{where}: {text!r:.82} is not a size: expected a number with an optional K, M, G or T")
    digits = match.group(1)
    size = int(digits, 16 if digits[:2] in ("0x", "0X") else 10) << _POWER[match.group(2).upper()]
    if size == 0:
        raise InputError(f"{where}: {text!r} is zero: expected a positive size")
    if size > 1 << 52:
        raise InputError(f"{where}: {text!r} is above 4 PiB, the physical limit")
    return size


def align_up(value: int, to: int) -> int:
    """Smallest multiple of ``to`` that is at least ``value``."""
    return -(-value // to) * to
