"""Timings in these tests are of no interest: the fewest rounds are enough."""

from __future__ import annotations

import pytest

from minikern.lab import check_time


@pytest.fixture(autouse=True)
def fewest_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """No rounds beyond those there always are."""
    monkeypatch.setattr(check_time, "MORE_S", 0.0)
