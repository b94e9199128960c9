"""FittedMachine: a machine with its own unit costs, and where its unexplained time lies.

What other parts of minikern use:

* ``spec``: the machine, to be booted like any other: its ``costs`` carry ``ns``, ``source``, ``low`` and ``high``
  (80 %) and ``status`` (``fitted`` or ``assumed``), its ``residue`` stands before the lines it was found at;
* ``base``: the machine before it was fitted;
* ``costs[kind]``: the same costs; ``estimates[kind]``: factor over the prior and spread of its logarithm;
* ``prices``: what each line of the main thread took beyond counted work, by its place in the log;
* ``byte_ns``: what a byte on the serial line costs, 0 where nobody waits for one;
* ``real_total_ns``, ``explained_ns``: from the first running stamp to init, and how much of it is counted work, console
  and waiting for the initramfs;
* ``notes``: what a user should know of the fit, one line each.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import exp

import msgspec

from minikern.core.costs import Cost, Residue
from minikern.describe.case import Case
from minikern.lab.fit.rows import Matched
from minikern.lab.fit.solve import Estimate
from minikern.lab.fit.unexplained import Price

EIGHTY_PERCENT = 1.2816  # standard deviations to either side of the mean


@dataclass
class FittedMachine:
    """See the module's text."""

    spec: Case
    base: Case
    matched: Matched
    estimates: dict[str, Estimate]
    costs: dict[str, Cost]
    prices: dict[int, Price]
    residue: list[Residue]
    byte_ns: float
    real_total_ns: int
    explained_ns: float
    notes: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """The fit in one line."""
        share = self.explained_ns / self.real_total_ns if self.real_total_ns else 0.0
        learnt = sum(estimate.learnt for estimate in self.estimates.values())
        return (
            f"fitted to the log's stamps: {self.real_total_ns / 1e6:.0f} ms to init, {share:.0%} of it counted work,"
            f" console and waiting, {learnt} unit costs moved (--no-fit leaves the stamps alone)"
        )


def fitted_cost(cost: Cost, estimate: Estimate, where: str) -> Cost:
    """``cost`` as the log moved it, with its interval."""
    ns = cost.ns * estimate.factor
    width = exp(EIGHTY_PERCENT * estimate.spread)
    status = "fitted" if estimate.learnt else "assumed"
    source = f"fitted to {where}, {estimate.rows} stretches; before: {cost.ns:g} ns" if estimate.learnt else cost.source
    return msgspec.structs.replace(
        cost, ns=_digits(ns), low=_digits(ns / width), high=_digits(ns * width), status=status, source=source
    )


def _digits(value: float) -> float:
    return float(f"{value:.5g}")
