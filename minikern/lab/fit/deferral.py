"""Deferred struct pages: the durations the kernel itself prints, as a factor on their cost."""

from __future__ import annotations

import re
from collections.abc import Iterable

from minikern.lab.fit.solve import Estimate

_NODE = re.compile(r"node \d+ (?:deferred pages )?initiali[sz]ed(?:, \d+ pages)? in (\d+) ?ms")
KINDS = ("deferred_page_init", "node_store_per_page")  # one rate alone, one of many threads: told apart by no line
NS_PER_MS = 1_000_000
TICK_NS = 4_000_000  # the printed time is counted in ticks, of 250 a second on most kernels
LEAST_SPREAD = 0.05


def slowest_ns(texts: Iterable[str]) -> int:
    """The slowest node's time as printed; 0 where nothing was."""
    return max((int(found[1]) for text in texts if (found := _NODE.match(text))), default=0) * NS_PER_MS


def deferred_factor(real: Iterable[str], emulated: Iterable[str]) -> Estimate | None:
    """Printed over emulated duration of the slowest node; None where either is missing (or erased)."""
    real_ns, emulated_ns = slowest_ns(real), slowest_ns(emulated)
    if not real_ns or not emulated_ns:
        return None
    spread = max(LEAST_SPREAD, TICK_NS / real_ns / 2 + TICK_NS / emulated_ns / 2)
    return Estimate(real_ns / emulated_ns, spread, True, 1)
