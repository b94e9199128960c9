"""Several boots of one machine: each sharpens the unit costs of the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import exp, log

import msgspec

from minikern.core.cost_table import machine_costs
from minikern.lab.fit.fitted import FittedMachine, fitted_cost
from minikern.lab.fit.solve import Estimate


def combine(fits: Sequence[FittedMachine]) -> FittedMachine:
    """The first boot's machine with the costs of all: logarithms weighted by what each boot knows of them."""
    first = fits[0]
    if len(fits) == 1:
        return first
    known = {
        kind: mean([fitted.estimates[kind] for fitted in fits if kind in fitted.estimates]) for kind in first.estimates
    }
    before = machine_costs(first.base.name, first.base.costs)
    where = f"{len(fits)} boots"
    costs = {kind: fitted_cost(before[kind], estimate, where) for kind, estimate in known.items()}
    spec = msgspec.structs.replace(first.spec, costs={**first.spec.costs, **costs})
    notes = [note for fitted in fits for note in fitted.notes]
    return replace(first, spec=spec, estimates=known, costs=costs, notes=notes)


def mean(estimates: Sequence[Estimate]) -> Estimate:
    """One estimate from several: what two boots differ by counts as doubt."""
    weights = [1 / max(estimate.spread, 1e-3) ** 2 for estimate in estimates]
    total = sum(weights)
    centre = sum(weight * log(estimate.factor) for weight, estimate in zip(weights, estimates, strict=True)) / total
    scatter = sum(
        weight * (log(estimate.factor) - centre) ** 2 for weight, estimate in zip(weights, estimates, strict=True)
    )
    spread = (1 / total + scatter / total / len(estimates)) ** 0.5
    return Estimate(exp(centre), spread, any(e.learnt for e in estimates), sum(e.rows for e in estimates))
