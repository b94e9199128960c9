"""What if a unit cost were another one: a boot's total as a function of each of its largest costs.

The curve of a cost is made of boots, none is computed from the ledger: where work runs beside other work, a dearer
piece may cost nothing at all. A curve that rises as the work itself does is marked ``serial``: all of that work is on
the way to /init, and between the boots the total is exact. Otherwise what lies between two boots is interpolated. A
flat line is not enough: work that only shortens the wait for the next timer tick costs nothing, until it is more.
"""

from __future__ import annotations

import copy
from bisect import bisect_right
from collections.abc import Mapping

import msgspec

from hw.units import NS_PER_MS
from minikern.core.cost_table import machine_costs
from minikern.core.kernel import BootOptions, Kernel
from minikern.core.variant import Variant
from minikern.describe.case import Case
from minikern.host.children import forked_map
from minikern.host.nodes import usable_cpus
from minikern.lab.run import Boot, boot

FACTORS = (0.0, 0.5, 1.0, 2.0, 4.0)
LARGEST = 8  # kinds of work that get a curve
WAITED = "_ns"  # ends the kinds whose pieces are ns: waiting, which has no unit cost of its own
STRAIGHT_NS = 1000  # how far from a straight line rounding to ns may take a total
COUNTED = BootOptions(vmemmap="counted")


class Curve(msgspec.Struct, frozen=True):
    """Totals (simulated ms) with the cost of ``kind`` at ``factors`` of the ``unit_ns`` it has."""

    kind: str
    unit_ns: float
    pieces: int
    factors: tuple[float, ...]
    totals_ms: tuple[float, ...]
    serial: bool


def at(curve: Curve, factor: float) -> float:
    """The total (ms) at a factor, linear between the boots around it."""
    factors, totals = curve.factors, curve.totals_ms
    high = min(max(bisect_right(factors, factor), 1), len(factors) - 1)
    share = (factor - factors[high - 1]) / (factors[high] - factors[high - 1])
    return totals[high - 1] + share * (totals[high] - totals[high - 1])


def on_the_way(kernel: Kernel) -> dict[str, tuple[int, int]]:
    """(pieces, ns) of counted work on the boot's own way to /init, by kind; waiting is no work."""
    spent: dict[str, tuple[int, int]] = {}
    for entry in kernel.ledger.entries():
        if entry.critical and entry.modelled and not entry.kind.endswith(WAITED):
            pieces, ns = spent.get(entry.kind, (0, 0))
            spent[entry.kind] = pieces + entry.pieces, ns + entry.total_ns
    return spent


def curves(done: Boot, release: str = "", append: str = "") -> list[Curve]:
    """The curves of the finished boot's dearest kinds of work on the way to /init, dearest first.

    ``release`` and ``append`` are what it was booted with.
    """
    spent = on_the_way(done.kernel)
    costs = machine_costs(done.spec.name, done.spec.costs)
    dearest = sorted((kind for kind in spent if kind in costs), key=lambda kind: (-spent[kind][1], kind))[:LARGEST]
    made = forked_map(lambda kind: _curve(done, kind, *spent[kind], release, append), dearest, len(usable_cpus()))
    return list(made)


def _curve(done: Boot, kind: str, pieces: int, spent_ns: int, release: str, append: str) -> Curve:
    unit = machine_costs(done.spec.name, done.spec.costs)[kind].ns

    def total(factor: float) -> int:
        return total_ns(done.spec, {kind: factor}, done.variant, release, append)

    ends = total(FACTORS[0]), total(FACTORS[-1])
    straight = [done.total_ns + (factor - 1.0) * spent_ns for factor in FACTORS]
    serial = all(abs(a - b) <= STRAIGHT_NS for a, b in zip(ends, (straight[0], straight[-1]), strict=True))
    between = straight[1:-1] if serial else [done.total_ns if by == 1.0 else total(by) for by in FACTORS[1:-1]]
    totals = [ends[0], *between, ends[1]]
    in_ms = tuple(round(total / NS_PER_MS, 6) for total in totals)
    return Curve(kind, unit, pieces, FACTORS, in_ms, serial)


def total_ns(
    spec: Case, factors: Mapping[str, float], variant: Variant | None = None, release: str = "", append: str = ""
) -> int:
    """The total of a fresh boot with some unit costs multiplied."""
    done = boot(with_factors(spec, factors), variant, release, append, COUNTED)
    total = done.total_ns
    done.kernel.release_memory()
    return total


def with_factors(spec: Case, factors: Mapping[str, float]) -> Case:
    """The machine with some unit costs multiplied."""
    spec = copy.deepcopy(spec)
    costs = machine_costs(spec.name, spec.costs)
    changed = {kind: msgspec.structs.replace(costs[kind], ns=costs[kind].ns * by) for kind, by in factors.items()}
    spec.costs = {**spec.costs, **changed}
    return spec
