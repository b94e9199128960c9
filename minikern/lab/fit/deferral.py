"""Deferred struct pages: the durations the kernel itself prints, as a factor on their cost."""

from __future__ import annotations

import re
from collections.abc import Iterable

from minikern.core.kernel import Kernel
from minikern.lab.fit.solve import Estimate

_NODE = re.compile(r"node \d+ (?:deferred pages )?initiali[sz]ed(?:, \d+ pages)? in (\d+) ?ms")
ALONE, SIBLING, STORE = "deferred_page_init", "deferred_page_init_sibling", "node_store_per_page"
NS_PER_MS = 1_000_000
TICK_NS = 4_000_000  # the printed time is counted in ticks, of 250 a second on most kernels
LEAST_SPREAD = 0.05
SLOWED = 1.02  # over what a page takes a thread by itself, or beside its sibling


def slowest_ns(texts: Iterable[str]) -> int:
    """The slowest node's time as printed; 0 where nothing was."""
    return max((int(found[1]) for text in texts if (found := _NODE.match(text))), default=0) * NS_PER_MS


def deferred_factors(real: Iterable[str], kernel: Kernel, prior_spread: float) -> dict[str, Estimate]:
    """Printed over emulated duration of the slowest node, for the unit costs it rests on; empty where one is missing.

    All of them are moved, so that the emulated time becomes the real one; learnt are those that made it as long as it
    was: what a thread does by itself, or the node's bandwidth.
    """
    real_ns, emulated_ns = slowest_ns(real), slowest_ns(line.text for line in kernel.log.lines)
    if not real_ns or not emulated_ns:
        return {}
    factor, spread = real_ns / emulated_ns, max(LEAST_SPREAD, TICK_NS / real_ns / 2 + TICK_NS / emulated_ns / 2)
    bound = (STORE,) if _full(kernel) else (ALONE, SIBLING)
    known, tied = Estimate(factor, spread, True, 1), Estimate(factor, max(spread, prior_spread), False)
    return {kind: known if kind in bound else tied for kind in (ALONE, SIBLING, STORE)}


def _full(kernel: Kernel) -> bool:
    # True if threads waited for memory more than they worked: each would have been done sooner by itself.
    spans = [entry for entry in kernel.ledger.entries() if entry.kind == ALONE and entry.phase == "deferred"]
    pages, spent = sum(entry.pieces for entry in spans), sum(entry.total_ns for entry in spans)
    siblings = kernel.cpus.cores(kernel.cpus.online) < len(kernel.cpus.online)
    beside = siblings and kernel.behaviour.deferred_threads == "cpus"
    own_ns = max(kernel.unit_ns(kind) for kind in ((ALONE, SIBLING) if beside else (ALONE,)))
    return bool(pages) and spent / pages > SLOWED * own_ns
