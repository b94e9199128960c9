"""How often Python looks for garbage."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

# A boot's objects live until its end, a few hundred thousand of them: looking them over for garbage every 700 finds
# none, and takes a quarter of the time. Finished kernels are garbage: after half a dozen everything is looked at.
OBJECTS_BETWEEN_LOOKS = (2_000_000, 1, 1)
# Of machines that come and go by the thousand each leaves a few thousand.
OBJECTS_OF_MANY = (50_000, 2, 2)


@contextmanager
def many_small() -> Iterator[None]:
    """Look more often while many small machines run one after the other: a megabyte each is soon all there is."""
    before = gc.get_threshold()
    if before[0] > OBJECTS_OF_MANY[0]:
        gc.set_threshold(*OBJECTS_OF_MANY)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextmanager
def rare_looks() -> Iterator[None]:
    """Look less often while a boot runs; who has switched the looking off, or made it rarer, keeps that."""
    before = gc.get_threshold()
    if 0 < before[0] < OBJECTS_BETWEEN_LOOKS[0]:
        gc.set_threshold(*OBJECTS_BETWEEN_LOOKS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
