"""How often Python looks for garbage."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

# A boot makes about a million objects that live until its end: looking them over for garbage every 700 finds none, and
# takes a quarter of the time.
OBJECTS_BETWEEN_LOOKS = (50_000, 10, 10)


@contextmanager
def rare_looks() -> Iterator[None]:
    """Look less often while a boot runs; who has switched the looking off, or made it rarer, keeps that."""
    before = gc.get_threshold()
    if before[0]:
        gc.set_threshold(*map(max, before, OBJECTS_BETWEEN_LOOKS))
    try:
        yield
    finally:
        gc.set_threshold(*before)
