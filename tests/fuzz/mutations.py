"""Inputs that are nearly right: what a reader expects, with the mistakes that people, disks and strangers make.

Everything is drawn from a ``random.Random``: hypothesis' own in the tests, one that is seeded by a number in a night's
run. The same numbers give the same input.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from random import Random

CAPTURES = Path(__file__).parents[1] / "data" / "captures"
EDGES = (-1, 0, 1, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**48, 2**52, 2**63 - 1, 2**63, 2**64)
WORDS = ("", "x", "²", "\x00", "\x1b[31m", "9" * 5000, "é", "0-9999999", "%s", "\n", "inf", "nan", "1e308", "x" * 3000)
SIZES = ("0", "1", "4K", "1M", "64M", "1G", "4T", "0x10000", "-1", "2E", "18446744073709551615", "5%")
SHAPES = ("on", "off", "auto", "nr", "all", "ttyS0", "node", "", "high")
REALS = (-1.0, 0.0, 1e-300, 1e9, 1e100, 1e308, float("inf"), float("nan"))
PATTERNS = (b"\xff" * 4, bytes(4), b"\0\0\0\x80", b"\xff\xff\xff\x7f")

NUMBER = re.compile(r"0x[0-9a-f]+|\b[0-9a-f]{16}\b|\d+")


def one_in(chance: Random, count: int) -> bool:
    """True once in ``count`` times."""
    return not chance.randrange(count)


def edge_number(chance: Random) -> int:
    """A number: small, anywhere, or where a field ends."""
    match chance.randrange(3):
        case 0:
            return chance.choice(EDGES)
        case 1:
            return chance.randint(-(2**64), 2**65)
    return chance.randint(0, 300)


def number_within(chance: Random, low: int, high: int) -> int:
    """A number mostly within bounds, at them, and one beyond."""
    if one_in(chance, 4):
        return chance.choice((low - 1, low, low + 1, high - 1, high, high + 1))
    return chance.randint(low, min(high, low + 300)) if one_in(chance, 2) else chance.randint(low, high)


def damaged(chance: Random, data: bytes, most: int = 6, least: int = 0) -> bytes:
    """``data`` with bytes changed, cut out, doubled or cut off; at first, as it is."""
    found = bytearray(data)
    for _ in range(chance.randint(least, most)):
        at = chance.randint(0, max(0, len(found) - 1))
        what = chance.randrange(20)
        if what < 12 and found:
            found[at] = chance.randrange(256) if one_in(chance, 2) else found[at] ^ 1 << chance.randrange(8)
        elif what < 15:
            found[at : at + 4] = chance.choice(PATTERNS)
        elif what < 17:
            del found[at : at + chance.randint(1, 64)]
        elif what < 19:
            found[at:at] = found[at : at + chance.randint(1, 64)]
        else:
            del found[at:]
    return bytes(found)


def overwritten(chance: Random, data: bytes, most: int = 4, start: int = 0, end: int = 0) -> bytes:
    """``data`` of the same length with one to ``most`` numbers of 1, 2, 4 or 8 bytes changed in [start, end)."""
    found, stop = bytearray(data), end or len(data)
    for _ in range(chance.randint(1, most)):
        size = chance.choice((1, 1, 2, 4, 4, 8))
        if stop - start < size:
            continue
        at = chance.randrange(start, stop - size + 1)
        old = int.from_bytes(found[at : at + size], "little")
        value = chance.choice((old ^ 1 << chance.randrange(8 * size), old + 1, old - 1, old << 1, edge_number(chance)))
        found[at : at + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
    return bytes(found)


def other_number(chance: Random, line: str) -> str:
    """A line with one of its numbers changed."""
    found = list(NUMBER.finditer(line))
    if not found:
        return line
    one = chance.choice(found)
    base = 10 if not one[0].startswith("0x") and len(one[0]) != 16 else 16
    near = one_in(chance, 2) and len(one[0]) < 20
    value = max(0, int(one[0], base) + chance.choice((-1, 1, 0x1000))) if near else abs(edge_number(chance))
    text = f"{value:#x}" if one[0].startswith("0x") else f"{value:016x}" if len(one[0]) == 16 else str(value)
    text = chance.choice(("9" * 5000, "²")) if one_in(chance, 12) else text
    return line[: one.start()] + text + line[one.end() :]


def edited(chance: Random, lines: Sequence[str], most: int = 8, first: int = 0) -> list[str]:
    """Lines lost, doubled, swapped or cut, and numbers that no machine has; the ``first`` ones are left alone."""
    found = list(lines) or [""]
    for _ in range(chance.randint(0, most)):
        at = chance.randint(min(first, len(found) - 1), len(found) - 1)
        what = chance.randrange(20)
        if what < 12:
            found[at] = other_number(chance, found[at])
        elif what < 14 and len(found) > 1:
            del found[at : at + chance.randint(1, 30)]
        elif what < 16:
            found[at:at] = found[at : at + 3] * chance.choice((1, 2, 2, 500))
        elif what < 17:
            other = chance.randrange(len(found))
            found[at], found[other] = found[other], found[at]
        elif what < 19:
            found[at] = found[at][: chance.randint(0, 80)]
        else:
            found[at] += chance.choice(WORDS)
        found = found or [""]
    return found


def text_of(lines: Sequence[str]) -> bytes:
    """Lines as a file's bytes."""
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")
