"""Deferred struct pages: the durations the kernel itself prints, as a factor on their cost."""

from __future__ import annotations

import re
from collections.abc import Iterable

from hw.units import NS_PER_MS
from minikern.core.kernel import Kernel
from minikern.lab.fit.solve import Estimate
from minikern.mm.map.deferred import page_paces

_NODE = re.compile(r"node \d+ (?:deferred pages )?initiali[sz]ed(?:, \d+ pages)? in (\d+) ?ms")
ALONE, SIBLING, STORE = "deferred_page_init", "deferred_page_init_sibling", "node_store_per_page"
TICK_NS = 4_000_000  # the printed time is counted in ticks, of 250 a second on most kernels
LEAST_SPREAD = 0.05


def slowest_ns(texts: Iterable[str]) -> int:
    """The slowest node's time as printed; 0 where nothing was."""
    return max((int(found[1]) for text in texts if (found := _NODE.match(text))), default=0) * NS_PER_MS


def deferred_factors(real_ns: int, kernel: Kernel, prior_spread: float) -> dict[str, Estimate]:
    """What the slowest node's real time says of the unit costs that the emulated one rests on; empty without both.

    Learnt is what made it as long as it was, what a thread does by itself or the node's bandwidth. The other stays as
    believed, but for what would now make it longer.
    """
    # Its own time, not the ticks it prints: what was N ticks long is printed so wherever in a tick it began.
    emulated_ns = max((node.deferred_ns for node in kernel.nodes), default=0)
    if not real_ns or not emulated_ns:
        return {}
    factor, spread = real_ns / emulated_ns, max(LEAST_SPREAD, TICK_NS / real_ns / 2)
    thread_ns, store_ns = page_paces(kernel)
    full = store_ns > thread_ns
    slack = max(store_ns, thread_ns) / max(min(store_ns, thread_ns), 1e-9)
    known = Estimate(factor, spread, True, 1)
    other = Estimate(min(1.0, factor * slack), prior_spread, False)
    return {ALONE: other, SIBLING: other, STORE: known} if full else {ALONE: known, SIBLING: known, STORE: other}
