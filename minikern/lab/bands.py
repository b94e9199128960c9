"""How sure a simulated time is: intervals of unit costs carried through to totals and savings.

Unit costs are taken as independent and log-normal; to first order a sum of ``count x cost`` then varies by the root of
the squares of its parts, each times the spread of its cost's logarithm. Time that was found in a log and no work
explains varies by ``MEASURED_SPREAD``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import hypot, log

import msgspec

from minikern.core.costs import Cost, Residue

MEASURED_SPREAD = 0.1  # of time that was found in a log and is carried over: from one boot of a machine to the next
EIGHTY_PERCENT = 1.2816  # standard deviations to either side of the mean


class Band(msgspec.Struct, frozen=True):
    """80 % of what is believed lies in [low_ms, high_ms]."""

    low_ms: float
    high_ms: float


def spreads(costs: Mapping[str, Cost], residue: Iterable[Residue] = ()) -> dict[str, float]:
    """Standard deviation of the logarithm of each cost that states an interval, and of residue that states one."""
    told = {item.name: item.spread for item in residue if item.spread}
    return told | {
        kind: log(cost.high / cost.low) / (2 * EIGHTY_PERCENT)
        for kind, cost in costs.items()
        if cost.low is not None and cost.high is not None and 0 < cost.low < cost.high
    }


def band(center_ms: float, work_ms: Mapping[str, float], spread: Mapping[str, float]) -> Band | None:
    """The band of a time of which ``work_ms`` is counted work by kind; None where no cost states an interval."""
    if not spread:
        return None
    width = EIGHTY_PERCENT * hypot(*(ms * spread.get(kind, MEASURED_SPREAD) for kind, ms in work_ms.items()))
    return Band(round(max(center_ms - width, 0.0), 3), round(center_ms + width, 3))


def saving_band(
    saved_ms: float, before_ms: Mapping[str, float], after_ms: Mapping[str, float], spread: Mapping[str, float]
) -> Band | None:
    """The band of a saving: only work that the two boots do not share makes it unsure.

    One of the two was never measured, so no part of the difference is surer than ``MEASURED_SPREAD``.
    """
    if not spread:
        return None
    kinds = before_ms.keys() | after_ms.keys()
    changed = {kind: before_ms.get(kind, 0.0) - after_ms.get(kind, 0.0) for kind in sorted(kinds)}
    width = EIGHTY_PERCENT * hypot(*(ms * max(spread.get(kind, 0.0), MEASURED_SPREAD) for kind, ms in changed.items()))
    return Band(round(saved_ms - width, 3), round(saved_ms + width, 3))
