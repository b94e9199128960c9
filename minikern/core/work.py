"""Work of kernel code that may run on the boot CPU alone or on several threads at once.

Such code is a generator that yields ``(kind, count)`` whenever it has done something that takes time; who runs it
decides on which CPU the time passes.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, TypeVar

import simpy

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

T = TypeVar("T")
Work = Generator[tuple[str, int], None, T]


def run_here(k: Kernel, work: Work[T]) -> T:
    """Do the work on the boot CPU."""
    while True:
        try:
            kind, count = next(work)
        except StopIteration as stop:
            result: T = stop.value
            return result
        k.charge(kind, count)


def run_on(k: Kernel, cpu: int, work: Work[T]) -> Generator[simpy.Event, Any, T]:
    """Do the work on CPU ``cpu`` beside others: to ``yield from`` in a process."""
    while True:
        try:
            kind, count = next(work)
        except StopIteration as stop:
            result: T = stop.value
            return result
        yield k.charge_on(cpu, kind, count)
