"""What a fitted boot gives to the priors of other machines."""

from __future__ import annotations

from minikern.lab.fit.fitted import FittedMachine
from minikern.lab.fit.kind import family_of_log
from minikern.lab.fit.pool import Sample


def sample_of(fitted: FittedMachine, machine: str) -> Sample:
    """The costs the stamps moved and the prices of the lines, as one boot of ``machine``."""
    real = fitted.matched.timeline
    costs = {kind: fitted.costs[kind].ns for kind, estimate in fitted.estimates.items() if estimate.learnt}
    lines = [(real.steps[at].mask, price.ns) for at, price in sorted(fitted.prices.items())]
    return Sample(machine, family_of_log(fitted.base, real), costs, lines)
