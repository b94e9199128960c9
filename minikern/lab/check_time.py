"""How fast a user's algorithm is, beside the built-in ones of its hook point."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minikern.host.arena import Arena
from minikern.lab.algorithms import Found
from minikern.lab.cases import Case
from minikern.lab.kinds.struct_page_load import builtins_of
from minikern.mm.page import page_kernels
from minikern.mm.page.mmzone import MAX_PAGE_ORDER, PAGES_PER_SECTION
from minikern.mm.page.struct_page import Words

TIMED_PAGES, TIMED_PLAIN_PAGES, ROUNDS = 1 << 20, 1 << 12, 5


@dataclass
class Timing:
    """Pages a second, best round; for padata_split calls a second."""

    name: str
    rate: float
    samples: list[float]


def time_algorithm(found: Found) -> list[Timing]:
    """The function and the built-in ones of its hook point, on the same rows, rounds taken in turn."""
    count = TIMED_PAGES if found.compiled else TIMED_PLAIN_PAGES
    words = Arena(count * 64).words(count)
    case = Case("timing", ((1 << 20, (1 << 20) + count, 0),))
    page_kernels.init_linux(words, *_links(case))
    runs = {found.name: found.function, **builtins_of(found.hook.name)}
    calls = {name: _timed_call(found.hook.name, run, words, case) for name, run in runs.items()}
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(ROUNDS):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            samples[name].append(time.perf_counter() - begin)
    amount = 1 if found.hook.name == "padata_split" else count
    return [Timing(name, amount / max(min(values), 1e-9), values) for name, values in samples.items()]


def _timed_call(hook: str, run: Callable[..., Any], words: Words, case: Case) -> Callable[[], Any]:
    if hook == "padata_split":
        return lambda: run(0x8000, 67_076_096, PAGES_PER_SECTION, PAGES_PER_SECTION, 64)
    start = case.memory[0][0]
    flags, lru = _links(case)
    arguments: dict[str, tuple[Any, ...]] = {
        "memmap_init_range": (flags, lru),
        "deferred_init_range": (flags, lru, start, MAX_PAGE_ORDER, np.uint64(case.flags.buddy_type)),
        "free_range": (np.uint64(case.flags.reserved),),
        "reserve_range": (np.uint64(case.flags.reserved),),
        "prep_compound_tails": (flags, lru, np.uint64(int(lru) - 72)),
    }
    return lambda: run(words, *arguments[hook])


def _links(case: Case) -> tuple[Any, Any]:
    return np.uint64(case.flags.links(0, 2)), np.uint64(case.vmemmap + 64 * case.memory[0][0] + 8)
