"""Bands: how far off a predicted time may be, from the intervals of its unit costs and the doubt about its residue.

A band holds 80 %: the time lies below it as often as above it, one time in ten each. Kinds of work are taken as
independent of each other, a kind's pieces as all alike; unexplained stretches are half alike, half independent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, log, sqrt

from minikern.core.cost_table import machine_costs
from minikern.core.costs import Cost, Residue
from minikern.core.ledger import Entry
from minikern.lab.run import Boot

EIGHTY_PERCENT = 1.2816  # standard deviations to either side of the mean
ALIKE = 0.5  # share of the variance that unexplained stretches have in common
SAME_BOOT, SAME_MACHINE, SAME_KIND = 0.03, 0.2, 1.0  # spread of the logarithm of an unexplained stretch, by its source


@dataclass(frozen=True)
class Band:
    """A time and its 80 % band, ns."""

    low: float
    centre: float
    high: float


@dataclass
class _Sum:
    """Ns by kind with its spread, and unexplained ns with theirs."""

    work: dict[str, float] = field(default_factory=dict)
    rest: list[tuple[float, float]] = field(default_factory=list)

    def band(self, spreads: Mapping[str, float], scale: float = 1.0) -> Band:
        centre = (sum(self.work.values()) + sum(ns for ns, _ in self.rest)) * scale
        variance = sum((ns * spreads.get(kind, 0.0)) ** 2 for kind, ns in self.work.items())
        variance += ALIKE * sum(ns * spread for ns, spread in self.rest) ** 2
        variance += (1 - ALIKE) * sum((ns * spread) ** 2 for ns, spread in self.rest)
        width = exp(EIGHTY_PERCENT * sqrt(variance) * scale / centre) if centre else 1.0
        return Band(centre / width, centre, centre * width)


def spread_of(cost: Cost) -> float:
    """Spread of a cost's logarithm, from its interval; 0 where it has none."""
    return log(cost.high / cost.low) / (2 * EIGHTY_PERCENT) if cost.low and cost.high else 0.0


def bands(
    entries: Iterable[Entry], costs: Mapping[str, Cost], residue: Sequence[Residue], phases_ns: Mapping[str, int]
) -> dict[str, Band]:
    """The band of each phase of a boot, and of ``total``; centres are the boot's own times."""
    doubt = {item.name: item.spread for item in residue}
    sums: dict[str, _Sum] = {}
    for entry in entries:
        if entry.critical:
            for name in (entry.phase, "total"):
                _add(sums.setdefault(name, _Sum()), entry, doubt)
    spreads = _spreads(costs)
    whole = {**phases_ns, "total": sum(phases_ns.values())}
    return {name: _scaled(sums[name], spreads, ns) for name, ns in whole.items() if name in sums}


def boot_bands(boot: Boot) -> dict[str, Band]:
    """The bands of a finished boot's phases, and of its ``total``."""
    kernel, spec = boot.kernel, boot.spec
    return bands(kernel.ledger.entries(), machine_costs(spec.name, spec.costs), spec.residue, kernel.phase_ns())


def _add(total: _Sum, entry: Entry, doubt: Mapping[str, float]) -> None:
    if entry.modelled:
        total.work[entry.kind] = total.work.get(entry.kind, 0.0) + entry.total_ns
    else:
        total.rest.append((entry.total_ns, doubt.get(entry.kind, 0.0)))


def _scaled(total: _Sum, spreads: Mapping[str, float], ns: int) -> Band:
    # What was booked before the clock ran is in the sums, and not in the phase.
    booked = sum(total.work.values()) + sum(spent for spent, _ in total.rest)
    return total.band(spreads, ns / booked if booked else 1.0)


def _spreads(costs: Mapping[str, Cost]) -> dict[str, float]:
    found = {kind: spread_of(cost) for kind, cost in costs.items()}
    bringup = [found[kind] for kind in ("sipi_to_alive", "microcode_load", "identify_cpu") if kind in found]
    found["smp_wait_ns"] = max(bringup, default=0.0)
    found["initramfs_wait_ns"] = found.get("initramfs_byte", 0.0)
    return found
