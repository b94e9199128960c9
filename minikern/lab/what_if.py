"""What if a unit cost were another one: a boot's total as a function of each of its largest costs.

The curve of a cost is made of boots, none is computed from the ledger: where work runs beside other work, a dearer
piece may cost nothing at all. A curve that is a straight line is marked ``serial``: all of that work is on the way to
/init, and between the boots the total is exact. Otherwise what lies between two boots is interpolated.
"""

from __future__ import annotations

import copy

import msgspec

from minikern.core.cost_table import machine_costs
from minikern.core.kernel import BootOptions
from minikern.core.variant import Variant
from minikern.describe.case import Case
from minikern.lab.run import Boot, boot

FACTORS = (0.0, 0.5, 1.0, 2.0, 4.0)
LARGEST = 8  # kinds of work that get a curve
WAITED = "_ns"  # ends the kinds whose pieces are ns: waiting, which has no unit cost of its own
STRAIGHT_NS = 1000  # how far from a straight line rounding to ns may take a total
NS_PER_MS = 1_000_000
COUNTED = BootOptions(vmemmap="counted")


class Curve(msgspec.Struct, frozen=True):
    """Totals (simulated ms) with the cost of ``kind`` at ``factors`` of the ``unit_ns`` it has."""

    kind: str
    unit_ns: float
    pieces: int
    factors: tuple[float, ...]
    totals_ms: tuple[float, ...]
    serial: bool


def curves(done: Boot, release: str = "", append: str = "") -> list[Curve]:
    """The curves of the finished boot's dearest kinds of work on the way to /init, dearest first.

    ``release`` and ``append`` are what it was booted with.
    """
    spent: dict[str, tuple[int, int]] = {}
    for entry in done.kernel.ledger.entries():
        if entry.critical and entry.modelled and not entry.kind.endswith(WAITED):
            pieces, ns = spent.get(entry.kind, (0, 0))
            spent[entry.kind] = pieces + entry.pieces, ns + entry.total_ns
    costs = machine_costs(done.spec.name, done.spec.costs)
    dearest = sorted((kind for kind in spent if kind in costs), key=lambda kind: (-spent[kind][1], kind))[:LARGEST]
    return [_curve(done, kind, spent[kind][0], release, append) for kind in dearest]


def _curve(done: Boot, kind: str, pieces: int, release: str, append: str) -> Curve:
    unit = machine_costs(done.spec.name, done.spec.costs)[kind].ns
    totals = [
        done.total_ns if factor == 1.0 else total_ns(done.spec, {kind: factor}, done.variant, release, append)
        for factor in FACTORS
    ]
    slope = (totals[-1] - totals[0]) / (FACTORS[-1] - FACTORS[0])
    serial = all(
        abs(totals[0] + factor * slope - total) <= STRAIGHT_NS for factor, total in zip(FACTORS, totals, strict=True)
    )
    in_ms = tuple(round(total / NS_PER_MS, 6) for total in totals)
    return Curve(kind, unit, pieces, FACTORS, in_ms, serial)


def total_ns(
    spec: Case, factors: dict[str, float], variant: Variant | None = None, release: str = "", append: str = ""
) -> int:
    """The total of a fresh boot with some unit costs multiplied."""
    spec = copy.deepcopy(spec)
    costs = machine_costs(spec.name, spec.costs)
    changed = {kind: msgspec.structs.replace(costs[kind], ns=costs[kind].ns * by) for kind, by in factors.items()}
    spec.costs = {**spec.costs, **changed}
    done = boot(spec, variant, release, append, COUNTED)
    total = done.total_ns
    done.kernel.release_memory()
    return total
