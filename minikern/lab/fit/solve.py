"""Solve: unit costs from rows, non-negative and robust, held by log-normal priors.

The unknowns are ln(cost / prior cost), each the sum of its group's (memory, tables, CPUs, bus ... as fast or slow as
this machine is at it) and its own. So what the lines cannot tell apart keeps the prior's ratio, and what no line shows
moves with its group. A row that takes longer than its work says has something unexplained in it, which is common; one
that takes shorter contradicts its costs, which weighs more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minikern.lab.fit.rows import Row

Array = NDArray[np.float64]

GRAIN_NS = 50_000.0  # shorter stretches say nothing: stamps, interrupts and line order blur them
SPREAD_UNEXPLAINED, SPREAD_OVERSHOT = 1.0, 0.04  # of ln(real / modelled), where real is longer, or shorter
LEARNT = 0.8  # an interval that is still so much of the prior's was not learnt from the rows
SPREAD_EXACT = 0.01
OWN_SHARE = 0.5  # of a prior's variance is the kind's own, the rest its group's
LEAST_NS = 2_000.0  # a kind with less time in all rows is no unknown of its own


@dataclass(frozen=True)
class Prior:
    """What is believed of a unit cost before a log is read: ns a piece, spread of its logarithm, its group.

    ``shift`` is ln(believed cost / the cost that the rows were emulated with).
    """

    ns: float
    spread: float
    group: str = ""
    shift: float = 0.0


@dataclass(frozen=True)
class Estimate:
    """A unit cost after it: factor over the prior cost, spread of its logarithm, whether the rows moved it."""

    factor: float
    spread: float
    learnt: bool
    rows: int = 0  # in which it was a tenth of the time or more


def solve(
    rows: Sequence[Row], expected_ns: Sequence[float], priors: Mapping[str, Prior], exact: Sequence[bool] = ()
) -> dict[str, Estimate]:
    """Factors over the costs the rows were emulated with, for every kind in ``priors``.

    ``expected_ns`` is what else is expected in each row: the console, and what usually goes unexplained there. Rows
    that are ``exact`` have nothing unexplained in them.
    """
    from scipy.optimize import minimize  # half a second that a boot without stamps need not wait for

    kinds = _kinds(rows, priors)
    if not kinds:
        return {kind: Estimate(1.0, prior.spread, False) for kind, prior in priors.items()}
    problem = _Problem(rows, expected_ns, kinds, priors, exact or [False] * len(rows))
    found = minimize(
        problem.cost, problem.begin, jac=problem.gradient, hess=problem.curvature, method="trust-exact",
        options={"maxiter": 60, "gtol": 1e-4},
    )  # fmt: skip
    return problem.estimates(found.x)


def _kinds(rows: Sequence[Row], priors: Mapping[str, Prior]) -> list[str]:
    total: dict[str, float] = {}
    for row in rows:
        for kind, spent in row.work.items():
            total[kind] = total.get(kind, 0.0) + spent
    return sorted(kind for kind, spent in total.items() if kind in priors and spent >= LEAST_NS)


class _Problem:
    """Unknowns z: one a kind, then one a group; ln factor of kind k = z[k] + z[its group]."""

    def __init__(
        self,
        rows: Sequence[Row],
        expected_ns: Sequence[float],
        kinds: list[str],
        priors: Mapping[str, Prior],
        exact: Sequence[bool],
    ) -> None:
        self._exact = np.array(exact)
        self._kinds, self._priors = kinds, priors
        self._groups = sorted({prior.group for prior in priors.values()})
        self._sum = np.hstack([np.eye(len(kinds)), self._membership(kinds)])
        self._work = np.zeros((len(rows), len(kinds)))
        self._base = np.array(expected_ns, dtype=float) + GRAIN_NS
        place = {kind: column for column, kind in enumerate(kinds)}
        for index, row in enumerate(rows):
            for kind, spent in row.work.items():
                if kind in place:
                    self._work[index, place[kind]] += spent
                else:
                    self._base[index] += spent
        self._real = np.log(np.array([max(row.real_ns, 0) for row in rows]) + GRAIN_NS)
        self._spread = np.array([*self._own(kinds), *self._group_spreads()])
        self._shift = np.array([*(priors[kind].shift for kind in kinds), *([0.0] * len(self._groups))])

    @property
    def begin(self) -> Array:
        """Where the search begins: at what is believed."""
        return self._shift

    @property
    def unknowns(self) -> int:
        return len(self._spread)

    def _membership(self, kinds: Sequence[str]) -> Array:
        rows = [[float(self._priors[kind].group == group) for group in self._groups] for kind in kinds]
        return np.array(rows).reshape(len(kinds), len(self._groups))

    def _own(self, kinds: Sequence[str]) -> list[float]:
        return [self._priors[kind].spread * OWN_SHARE**0.5 for kind in kinds]

    def _group_spreads(self) -> list[float]:
        spreads: dict[str, list[float]] = {}
        for prior in self._priors.values():
            spreads.setdefault(prior.group, []).append(prior.spread)
        return [float(np.median(spreads[group])) * (1 - OWN_SHARE) ** 0.5 for group in self._groups]

    def _modelled(self, z: Array) -> Array:
        return self._work @ np.exp(self._sum @ z) + self._base

    def _weight(self, z: Array) -> Array:
        short = np.log(self._modelled(z)) > self._real
        usual = np.where(short, 1 / SPREAD_OVERSHOT, 1 / SPREAD_UNEXPLAINED)
        return np.where(self._exact, 1 / SPREAD_EXACT, usual)

    def residuals(self, z: Array) -> Array:
        rows = (np.log(self._modelled(z)) - self._real) * self._weight(z)
        return np.concatenate([rows, (z - self._shift) / self._spread])

    def jacobian(self, z: Array) -> Array:
        share = self._work * np.exp(self._sum @ z) / self._modelled(z)[:, None]
        return np.vstack([share @ self._sum * self._weight(z)[:, None], np.diag(1 / self._spread)])

    def cost(self, z: Array) -> float:
        """Half the sum of soft_l1 of all residuals: squares of small ones, magnitudes of large ones."""
        return float(np.sum(np.sqrt(1 + self.residuals(z) ** 2) - 1))

    def gradient(self, z: Array) -> Array:
        """Of the cost."""
        residuals = self.residuals(z)
        return self.jacobian(z).T @ (residuals / np.sqrt(1 + residuals**2))

    def curvature(self, z: Array) -> Array:
        """Of the cost, as Gauss and Newton have it."""
        jacobian, residuals = self.jacobian(z), self.residuals(z)
        return jacobian.T @ (jacobian / np.sqrt(1 + residuals**2)[:, None])

    def estimates(self, z: Array) -> dict[str, Estimate]:
        """Means and spreads at the solution, from the curvature there; outliers count as little as they weighed."""
        covariance = np.linalg.inv(self.curvature(z))
        share = self._work * np.exp(self._sum @ z) / self._modelled(z)[:, None]
        rows = dict(zip(self._kinds, (share >= 0.1).sum(axis=0), strict=True))
        found = {}
        for kind, prior in self._priors.items():
            weights = np.zeros(self.unknowns)
            own = kind in rows
            if own:
                weights[self._kinds.index(kind)] = 1.0
            weights[len(self._kinds) + self._groups.index(prior.group)] = 1.0
            variance = float(weights @ covariance @ weights) + (0.0 if own else prior.spread**2 * OWN_SHARE)
            spread = max(variance, 0.0) ** 0.5
            learnt = own and spread < LEARNT * prior.spread
            found[kind] = Estimate(float(np.exp(weights @ z)), spread, learnt, int(rows.get(kind, 0)))
        return found
