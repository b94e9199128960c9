"""Numbers of options: ASCII digits, few enough to be one, between two bounds that the help shows."""

from __future__ import annotations

from typing import Any

import click

from hw.numbers import MAX_SEED, is_count, is_real

MAX_SECONDS = 1e6  # more than a week


class Count(click.IntRange):
    """A whole number of ``low`` to ``high``. ``int()`` alone takes 1_000, the digits of every script, any length."""

    def __init__(self, low: int, high: int) -> None:
        super().__init__(low, high)
        self.low, self.high = low, high

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number. click.BadParameter says what is allowed."""
        good = not isinstance(value, str) or is_count(value[value.startswith(("+", "-")) :])
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
        good = not isinstance(value, str) or is_real(value)
        if not good or not self.low <= float(value) <= self.high:
            self.fail(f"{value!r:.82} is not a number of {self.low:g} to {self.high:g}", param, ctx)
        return float(value)


SEED = Count(0, MAX_SEED)
SECONDS = Real(0.1, MAX_SECONDS)
