"""What Kexec HandOver costs a boot in struct pages: those that its boot CPU initialises because of it.

Before 7.1 a kernel has it or deferred struct pages. Since then it has both, but what was kept over the kexec does not
wait for the threads. Source: kernel/Kconfig.kexec @ v6.18; kernel/liveupdate/kexec_handover.c @ v7.2
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from hw.units import GIB, NS_PER_MS, PAGE_SIZE
from minikern.core.cost_table import machine_costs
from minikern.core.costs import Cost
from minikern.core.kernel import Kernel
from minikern.describe.case import Case
from minikern.lab.bands import Band, doubts_of, least_band
from minikern.lab.believed import Doubts
from minikern.lab.spent import PAGES, Spent, spent_in

ALONE = ("struct_page_init", "reserved_page_init")  # kinds of work of one CPU
KEPT = "reserved_page_init"  # the kind of a page that was kept, where others are deferred
EXCLUSION = "CONFIG_DEFERRED_STRUCT_PAGE_INIT"

Deferral = Literal["beside it", "excluded", "off"]


class Pages(msgspec.Struct, frozen=True):
    """Struct pages, and what initialising them takes: simulated ms, with the band of what is believed."""

    count: int
    ms: float
    band: Band | None

    def told(self) -> str:
        """In words."""
        between = f" {self.band.told(1)}" if self.band is not None else ""
        return f"{self.count:,} struct pages, {self.ms:.1f} ms{between}"


class HandoverPrice(msgspec.Struct, frozen=True):
    """Who initialises struct pages in a kernel with Kexec HandOver.

    ``alone``: the boot CPU; ``kept``: of those, memory that was handed over and would have been deferred; ``threads``:
    what is left to others, as long as they are waited for; ``gib``: what each GiB that is kept asks of the boot CPU;
    ``scratch``: on a cold boot, at most what the reserved areas take from the threads.
    """

    deferral: Deferral
    alone: Pages
    kept: Pages
    threads: Pages
    gib: Pages
    scratch: Pages
    scratch_bytes: int


def handover_price(k: Kernel, spec: Case) -> HandoverPrice | None:
    """The price of a finished boot; None without Kexec HandOver."""
    if not k.kho.enabled and k.kho.incoming is None:
        return None
    costs, doubts = machine_costs(spec.name, spec.costs), doubts_of(spec)
    excluded = any(item.lost == EXCLUSION for item in k.conflicts)
    deferred = k.ledger.count(PAGES)
    scratch = sum(area.size for area in k.kho.scratch)
    kept = k.kho.incoming.pages_alone if k.kho.incoming is not None else 0
    work = {kind: float(k.ledger.total_ns(kind)) for kind in ALONE}
    waited = spent_in(k, "deferred")
    return HandoverPrice(
        "beside it" if deferred else "excluded" if excluded else "off",
        _pages(sum(map(k.ledger.count, ALONE)), Spent(work), doubts),
        _alone(kept, KEPT, costs, doubts),
        _pages(deferred, waited, doubts),
        _alone(GIB // PAGE_SIZE, KEPT if deferred else ALONE[0], costs, doubts),
        _alone(scratch // PAGE_SIZE if deferred and k.kho.incoming is None else 0, KEPT, costs, doubts),
        scratch,
    )


def _alone(count: int, kind: str, costs: dict[str, Cost], doubts: Doubts) -> Pages:
    return _pages(count, Spent({kind: count * costs[kind].ns}), doubts)


def _pages(count: int, spent: Spent, doubts: Doubts) -> Pages:
    return Pages(count, round(spent.ns / NS_PER_MS, 3), least_band(spent, doubts) if count else None)


def told(price: HandoverPrice) -> Iterator[str]:
    """The trade-off in sentences."""
    if price.deferral == "excluded":
        yield f"Kexec HandOver costs you deferred init before 7.1: {price.alone.told()} on the boot CPU"
    elif price.deferral == "off":
        yield f"without deferred init {price.alone.told()} on the boot CPU, Kexec HandOver or not"
    else:
        beside = f"{price.threads.told()} by threads; {price.alone.told()} on the boot CPU"
        yield f"deferred init beside Kexec HandOver: {beside}"
    if price.kept.count:
        yield f"kept over the kexec, so initialised on the boot CPU, deferred or not: {price.kept.told()}"
    if price.deferral == "beside it":
        yield f"each GiB that is kept for the next kernel is {price.gib.told()} on its boot CPU: deferral gains less"
    size = f"scratch areas of {price.scratch_bytes >> 20:,} MiB"
    if price.scratch.count:
        yield f"{size} (kho_scratch=) are reserved: of the boot CPU's at most {price.scratch.told()} are theirs"
    elif price.scratch_bytes:
        yield size
