"""Priors from many machines: what their boots were fitted with, drawn together by family.

Boots of one machine count as one. A family's figure is drawn towards what all machines show, the more the fewer
machines of the family there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, log, sqrt
from statistics import mean, median

import msgspec

from minikern.core.families import FamilyCost, load_families
from minikern.lab.fit.deferral import ALONE, SIBLING
from minikern.lab.fit.line_prices import ANY, LINE, PREFIX, WORD, LinePrice, LinePrices, prefix, word

DRAWN = 2.0  # machines that all families together weigh as much as
LEAST_SPREAD, LONE_SPREAD = 0.2, 0.8  # of the logarithm of a cost; of one that a single machine shows
OWN_WEIGHT = 3  # of a family's own machines in a line's price
OUTLIER = 0.7  # of a logarithm: a machine farther from the median of all counts as if it were so far
# What a line is expected to take: the value that so many of its machines stay below. Few lines take long, each on few
# machines, so medians add up to less than a third of what boots take; of 29 boots left out in turn, these to a half.
# Of two or three machines a larger share would be the slowest. Source: the same logs as the tables.
# A line that most machines wrote stands for itself: its median.
USUAL, MIDDLE, FEW, MANY = 0.65, 0.5, 4, 15
CUT_NS = 3_000_000.0  # longer stretches say nothing of lines that merely begin alike
LEAST_NS = 1.0
TIED = {SIBLING: ALONE}


@dataclass(frozen=True)
class Sample:
    """What one fitted boot gives: unit costs its stamps moved, ns, and what its lines took beyond them."""

    machine: str
    family: str
    costs: Mapping[str, float]
    lines: Sequence[tuple[str, float]]  # mask, ns


def pooled_costs(samples: Sequence[Sample], family: str, defaults: Mapping[str, float]) -> dict[str, FamilyCost]:
    """The costs of ``family`` for every kind that any machine shows, of those that say something of it."""
    samples, found = related(samples, family), {}
    for kind in sorted({kind for sample in samples for kind in sample.costs}):
        by_machine = _by_machine(samples, lambda sample, kind=kind: sample.costs.get(kind))  # type: ignore[misc]
        values = [(name, log(max(ns, 1e-4))) for name, ns in by_machine]
        found[kind] = _pooled(values, family, defaults.get(kind, 0.0))
    return found | _tied(found, defaults)


def related(samples: Sequence[Sample], family: str) -> list[Sample]:
    """The samples of machines that say something of ``family``: of itself only, if it is one apart."""
    families = load_families()
    apart = families[family].apart if family in families else False
    return [
        sample
        for sample in samples
        if sample.family == family or not (apart or (sample.family in families and families[sample.family].apart))
    ]


def _tied(found: Mapping[str, FamilyCost], defaults: Mapping[str, float]) -> dict[str, FamilyCost]:
    """What no log tells from another kind keeps its default ratio to it."""
    tied = {}
    for kind, leader in TIED.items():
        if leader in found and kind in defaults:
            ns = found[leader].ns * defaults[kind] / defaults[leader]
            tied[kind] = msgspec.structs.replace(found[leader], ns=float(f"{ns:.5g}"))
    return tied


def _pooled(values: Sequence[tuple[str, float]], family: str, default: float) -> FamilyCost:
    every = [value for _, value in values]
    if len(every) < 3 and default:
        every = [*every, log(default)]
    centre = median(every)
    own = [value for name, value in values if name == family]
    near_centre = [min(max(value, centre - OUTLIER), centre + OUTLIER) for value in own]
    at = (sum(near_centre) + DRAWN * centre) / (len(own) + DRAWN)
    near = own if len(own) > 2 else [value for _, value in values]
    spread = sqrt(mean((value - at) ** 2 for value in near)) if len(near) > 1 else LONE_SPREAD
    return FamilyCost(float(f"{exp(at):.5g}"), round(max(spread, LEAST_SPREAD), 3), len(own), len(values) - len(own))


def _by_machine(
    samples: Sequence[Sample], value: Callable[[Sample], float | None]
) -> list[tuple[str, float]]:
    """(family, mean over its boots) of each machine that has one."""
    found: dict[str, tuple[str, list[float]]] = {}
    for sample in samples:
        one = value(sample)
        if one is not None:
            found.setdefault(sample.machine, (sample.family, []))[1].append(one)
    return [(family, mean(values)) for family, values in found.values()]


def pooled_lines(samples: Sequence[Sample]) -> LinePrices:
    """The prices of all lines that at least two machines wrote, and of lines that begin alike."""
    table = {(LINE, key): price for key, price in _prices(samples, lambda mask: mask, False).items()}
    table |= {(PREFIX, key): price for key, price in _prices(samples, prefix, True).items()}
    table |= {(WORD, key): price for key, price in _prices(samples, word, True).items()}
    rest = [price.ns for (kind, _), price in table.items() if kind == PREFIX]
    table[ANY, ""] = LinePrice(mean(rest) if rest else 0.0, len({sample.machine for sample in samples}))
    return LinePrices(table)


def _prices(samples: Sequence[Sample], key: Callable[[str], str], cut: bool) -> dict[str, LinePrice]:
    per: dict[str, dict[str, tuple[str, list[float]]]] = {}
    for sample in samples:
        mine: dict[str, list[float]] = {}
        for mask, ns in sample.lines:
            mine.setdefault(key(mask), []).append(min(ns, CUT_NS) if cut else ns)
        for name, values in mine.items():
            machines = per.setdefault(name, {})
            machines.setdefault(sample.machine, (sample.family, []))[1].append(mean(values))
    return {
        name: _price([(family, mean(values)) for family, values in machines.values()])
        for name, machines in per.items()
        if len(machines) > 1
    }


def _price(values: Sequence[tuple[str, float]]) -> LinePrice:
    apart = {name for name, family in load_families().items() if family.apart}
    common = [value for value in values if value[0] not in apart] or list(values)
    overall = usual([(ns, 1) for _, ns in common])
    own = {}
    for family in {name for name, _ in values}:
        near = [value for value in values if value[0] == family] if family in apart else common
        own[family] = usual([(ns, OWN_WEIGHT if name == family else 1) for name, ns in near])
    differing = {family: ns for family, ns in own.items() if abs(ns - overall) > 0.1 * overall + LEAST_NS}
    return LinePrice(overall, len(common), differing)


def usual(values: Sequence[tuple[float, int]]) -> float:
    """What a line is expected to take, by (ns, weight) of the machines that wrote it."""
    return weighted_quantile(values, USUAL if FEW <= len(values) < MANY else MIDDLE)


def weighted_quantile(values: Sequence[tuple[float, int]], share: float) -> float:
    """The value at which that share of the weight is reached."""
    ordered = sorted(values)
    enough, reached = sum(weight for _, weight in ordered) * share, 0.0
    for value, weight in ordered:
        reached += weight
        if reached >= enough:
            return value
    raise ValueError("no values")
