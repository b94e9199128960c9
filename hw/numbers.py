"""Numbers as people and files write them: ASCII digits, few enough to be one, within bounds that are told.

``str.isdigit()`` takes signs that ``int()`` does not (²), ``int()`` takes the digits of every script, and neither knows
a bound; so everything that reads a number out of words asks here.
"""

from __future__ import annotations

import math
import re

from hw.errors import InputError

MAX_SEED = (1 << 62) - 1  # with a row's number added it is still a signed 64-bit number
MAX_DIGITS = 19  # of the largest signed 64-bit number
U64_MAX, S64_MIN = (1 << 64) - 1, -(1 << 63)
_ENDLESS = re.compile(r"[0-9]{21,}")  # more digits than a 64-bit number has
_COUNT = re.compile(rf"[0-9]{{1,{MAX_DIGITS}}}")
_REAL = re.compile(r"[+-]?(?:[0-9]{1,19}\.?[0-9]{0,19}|\.[0-9]{1,19})(?:[eE][+-]?[0-9]{1,3})?")


def is_count(text: str) -> bool:
    """True for a whole number in ASCII digits, of a length that makes sense."""
    return _COUNT.fullmatch(text) is not None


def without_endless(text: str) -> str:
    """``text`` with a question mark for each row of digits that is no number of 64 bits."""
    return _ENDLESS.sub("?", text)


def is_real(text: str) -> bool:
    """True for a number in ASCII digits that may have a sign, a fraction and an exponent."""
    return _REAL.fullmatch(text) is not None


def starts_with_digit(text: str) -> bool:
    """True if the first character is an ASCII digit."""
    return "0" <= text[:1] <= "9"


def parse_count(text: str, where: str, low: int, high: int) -> int:
    """The whole number ``text``. InputError names ``where`` and the bounds."""
    if not is_count(text) or not low <= int(text) <= high:
        raise InputError(f"{where}: {text!r:.82} is not a whole number of {low} to {high}")
    return int(text)


def parse_real(text: str, where: str, low: float, high: float) -> float:
    """The number ``text``, which may have a fraction. InputError names ``where`` and the bounds."""
    if not is_real(text.strip()) or not low <= float(text) <= high:
        raise InputError(f"{where}: {text!r:.82} is not a number of {low:g} to {high:g}")
    return float(text)


def check_number(value: object, where: str) -> None:
    """InputError for a number that no field can hold: not finite, or wider than 64 bits."""
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{where}: {value}: expected a finite number")
    if isinstance(value, int) and not S64_MIN <= value <= U64_MAX:
        raise InputError(f"{where}: a number of {value.bit_length()} bits: expected at most 64")
