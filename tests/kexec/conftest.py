"""A booted small machine to load images on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from minikern.describe.presets import load_machine
from minikern.lab.run import Boot, boot


@pytest.fixture
def booted() -> Callable[[], Boot]:
    """Boots the smallest preset anew."""
    return lambda: boot(load_machine("tiny"))
