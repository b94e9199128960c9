"""Freeing initialised pages: reserved bit and reference cleared."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.mark.parametrize("kernel", ["memset", "fill", "c-free", "free"])
def test_free(timed: Callable[[str], None], kernel: str) -> None:
    timed(kernel)
