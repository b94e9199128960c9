"""How sure a simulated time is: intervals of unit costs, and doubt about unexplained time, carried through.

A band holds 80 % of what is believed. Those of boots and of savings end where a sample of machines that could be the
real one does, so they are not symmetrical: a sum of costs that are quite unsure is more often much dearer than much
cheaper, and so is a boot in which one waits for another. Those of single times are reckoned to first order.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import exp, hypot, log

import msgspec
import numpy as np

from hw.units import NS_PER_MS
from minikern.core.cost_table import machine_costs
from minikern.core.costs import Cost
from minikern.describe.case import Case
from minikern.lab.believed import ALIKE, DRAWS, EIGHTY_PERCENT, Doubts, Factors, Sample, ends
from minikern.lab.course import Course
from minikern.lab.run import Boot
from minikern.lab.spent import TOTAL, Spent

MEASURED_SPREAD = 0.1  # least one of what a change saves: of the two boots one was never measured
SAME_BOOT, SAME_MACHINE, SAME_KIND = 0.03, 0.2, 1.0  # spread of an unexplained stretch, by where its time is from


# What fits state of themselves leaves out what the emulation itself gets wrong. Spreads are multiplied by what it took
# for four of five real times of every other machine to lie in their bands; of the other machines' times, which nobody
# looked at for it, 79 % and 85 % did. Source: python -m bench.predict.coverage, 29 boots of 24 machines, 14 pairs.
BROADER_KIND, BROADER_MACHINE = 2.25, 3.4  # times from machines of its kind; from other boots of the machine


class Band(msgspec.Struct, frozen=True):
    """80 % of what is believed lies in [low_ms, high_ms], 10 % on either side of it."""

    low_ms: float
    high_ms: float

    def told(self, digits: int = 0) -> str:
        """As it is shown everywhere."""
        return f"[{self.low_ms:.{digits}f} to {self.high_ms:.{digits}f}]"


def spread_of(cost: Cost) -> float:
    """Spread of a cost, from its interval; 0 where it states none."""
    if cost.low is None or cost.high is None or not 0 < cost.low < cost.high:
        return 0.0
    return log(cost.high / cost.low) / (2 * EIGHTY_PERCENT)


def doubts_of(spec: Case) -> Doubts:
    """What a machine's costs and its unexplained time state of themselves; nothing where neither says anything."""
    costs = machine_costs(spec.name, spec.costs)
    stated = {item.spread for item in spec.residue}
    told = SAME_MACHINE in stated or SAME_BOOT in stated  # by its own boots, or else by others'
    factor = BROADER_KIND if SAME_KIND in stated else BROADER_MACHINE if SAME_MACHINE in stated else 1.0
    work = {
        kind: spread * (factor if told or cost.status != "assumed" else BROADER_KIND)
        for kind, cost in costs.items()
        if (spread := spread_of(cost))
    }
    return Doubts(work, {item.name: item.spread * factor for item in spec.residue if item.spread})


def time_band(center_ns: float, spent: Spent, doubts: Doubts) -> Band | None:
    """The band of a time that went into ``spent``; None where nothing states how sure it is.

    To first order: the root of the squares of its parts, each times its spread, as far down as up.
    """
    if not doubts:
        return None
    width = _deviation(spent, doubts, 0.0)
    factor = exp(EIGHTY_PERCENT * width / spent.ns) if spent.ns > 0 else 1.0
    return Band(round(center_ns / factor / NS_PER_MS, 3), round(center_ns * factor / NS_PER_MS, 3))


def saving_band(saved_ns: float, before: Spent, after: Spent, doubts: Doubts) -> Band | None:
    """The band of a saving: only what the two boots do not share makes it unsure.

    No part of the difference is surer than ``MEASURED_SPREAD``.
    """
    if not doubts:
        return None
    changes = Spent(_changes(before.work, after.work), _changes(before.rest, after.rest))
    return _between(saved_ns, Factors(doubts, MEASURED_SPREAD).off(changes))


def least_band(spent: Spent, doubts: Doubts) -> Band:
    """The band of a time in a boot that was never measured: no part of it is surer than ``MEASURED_SPREAD``."""
    return _between(spent.ns, Factors(doubts, MEASURED_SPREAD).off(spent))


def _between(center_ns: float, off: Sample) -> Band:
    low, high = ends(off)
    return Band(round((center_ns + low) / NS_PER_MS, 3), round((center_ns + high) / NS_PER_MS, 3))


def _changes(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    kinds = sorted(before.keys() | after.keys())
    return {kind: before.get(kind, 0.0) - after.get(kind, 0.0) for kind in kinds}


def deviations(spent: Spent, doubts: Doubts, least: float = 0.0) -> Spent:
    """Standard deviation, ns, of each kind of work and each unexplained stretch that a time went into."""
    return Spent(
        {kind: ns * max(doubts.work.get(kind, 0.0), least) for kind, ns in spent.work.items()},
        {name: ns * max(doubts.rest.get(name, 0.0), least) for name, ns in spent.rest.items()},
    )


def _deviation(spent: Spent, doubts: Doubts, least: float) -> float:
    """Standard deviation of the whole, ns."""
    parts = deviations(spent, doubts, least)
    rest = parts.rest.values()
    return hypot(*parts.work.values(), ALIKE**0.5 * sum(rest), *((1 - ALIKE) ** 0.5 * ns for ns in rest))


def boot_bands(boot: Boot) -> dict[str, Band]:
    """The bands of a finished boot's phases and of its ``total``; empty where nothing states how sure it is."""
    doubts = doubts_of(boot.spec)
    if not doubts:
        return {}
    spans, off = boot.kernel.phase_ns(), Course(boot.kernel).off(doubts)
    bands = {name: _between(ns, off[name]) for name, ns in spans.items()}
    return {**bands, TOTAL: _between(sum(spans.values()), sum(off.values(), np.zeros(DRAWS)))}
