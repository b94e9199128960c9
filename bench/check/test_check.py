"""Verifying the map: every word of every page compared, against reading it."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.mark.parametrize("kernel", ["read", "check"])
def test_check(timed: Callable[[str], None], kernel: str) -> None:
    timed(kernel)
