"""Numbers of options: ASCII digits, few enough to be one, between two bounds that the help shows."""

from __future__ import annotations

import re
from typing import Any

import click

MAX_SEED = (1 << 62) - 1
MAX_SECONDS = 1e6  # more than a week
_WHOLE = re.compile(r"[+-]?[0-9]{1,19}")
_REAL = re.compile(r"[+-]?(?:[0-9]{1,19}\.?[0-9]{0,19}|\.[0-9]{1,19})(?:[eE][+-]?[0-9]{1,3})?")


class Count(click.IntRange):
    """A whole number of ``low`` to ``high``. ``int()`` alone takes 1_000, the digits of every script, any length."""

    def __init__(self, low: int, high: int) -> None:
        super().__init__(low, high)
        self.low, self.high = low, high

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number. click.BadParameter says what is allowed."""
        good = not isinstance(value, str) or _WHOLE.fullmatch(value)
        if not good or not self.low <= int(value) <= self.high:
            self.fail(f"{value!r:.82} is not a whole number of {self.low} to {self.high}", param, ctx)
        return int(value)


class Real(click.FloatRange):
    """A number of ``low`` to ``high``, which may have a fraction; it is finite."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__(low, high)
        self.low, self.high = low, high

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number. click.BadParameter says what is allowed."""
        good = not isinstance(value, str) or _REAL.fullmatch(value)
        if not good or not self.low <= float(value) <= self.high:
            self.fail(f"{value!r:.82} is not a number of {self.low:g} to {self.high:g}", param, ctx)
        return float(value)


SEED = Count(0, MAX_SEED)
SECONDS = Real(0.1, MAX_SECONDS)
