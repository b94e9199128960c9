"""What a finished boot's time went into, on the way to /init: counted work by kind, unexplained time by name."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from minikern.core.kernel import Kernel
from minikern.core.ledger import Entry
from minikern.mm.map.deferred import page_paces

TOTAL = "total"
WAITS = ("smp_wait_ns", "initramfs_wait_ns")  # the boot CPU's, for others whose work is booked too
WORKERS = ("initramfs_byte",)  # work that is waited for by name, not as a phase is

PAGES, STORE = "deferred_page_init", "node_store_per_page"


@dataclass(frozen=True)
class Spent:
    """Ns by kind of work, and by name of what no work explains."""

    work: Mapping[str, float] = field(default_factory=dict)
    rest: Mapping[str, float] = field(default_factory=dict)

    @property
    def ns(self) -> float:
        """All of it."""
        return sum(self.work.values()) + sum(self.rest.values())


def spent_in(kernel: Kernel, phase: str = TOTAL) -> Spent:
    """Where the time of a phase (or of the whole boot) went; waiting counts as the work it was for."""
    spans = kernel.phase_ns()
    entries = [entry for entry in kernel.ledger.entries() if phase in (TOTAL, entry.phase)]
    found = spent_of(entries, sum(spans.values()) if phase == TOTAL else spans.get(phase, 0))
    return _by_limit(found, kernel) if PAGES in found.work else found


def _by_limit(spent: Spent, kernel: Kernel) -> Spent:
    # Deferred pages are booked as threads' work; where they waited for the node's memory, it is that they rest on.
    thread_ns, store_ns = page_paces(kernel)
    if store_ns <= thread_ns:
        return spent
    work = dict(spent.work)
    work[STORE] = work.pop(PAGES)
    return Spent(work, spent.rest)


def spent_of(entries: Sequence[Entry], duration_ns: int) -> Spent:
    """The same of ledger rows and the time they took on the path to /init."""
    own: dict[str, float] = {}
    beside: dict[str, float] = {}
    rest: dict[str, float] = {}
    slept = 0
    for entry in entries:
        if entry.before:
            continue
        if not entry.modelled:
            _add(rest, entry)
        elif entry.critical and entry.kind not in WAITS:
            _add(own, entry)
        elif entry.critical and entry.kind == WAITS[1]:
            slept += entry.total_ns
        elif not entry.critical and entry.kind not in WORKERS:
            _add(beside, entry)
    if slept:
        own[WORKERS[0]] = own.get(WORKERS[0], 0.0) + slept
    waited, done = duration_ns - sum(rest.values()) - sum(own.values()), sum(beside.values())
    if waited > 0 and done:
        for kind, ns in beside.items():
            own[kind] = own.get(kind, 0.0) + waited * ns / done
    return Spent(own, rest)


def spent_beside(entries: Sequence[Entry], duration_ns: int, forked: Collection[str]) -> Spent:
    """The same, less work of the kinds in ``forked`` and the time slept for it: it is done beside all else."""
    kept = [entry for entry in entries if entry.kind != WAITS[1] and entry.kind not in forked]
    slept = sum(entry.total_ns for entry in entries if entry.kind == WAITS[1] and entry.critical)
    return spent_of(kept, duration_ns - slept)


def _add(sums: dict[str, float], entry: Entry) -> None:
    sums[entry.kind] = sums.get(entry.kind, 0.0) + entry.total_ns
