"""What is believed of a machine, as a sample: DRAWS machines that could each be the real one.

Unit costs are taken as independent of each other and log-normal, a kind's pieces as all alike; unexplained stretches
are partly alike. A name's draws depend on the name alone, so two boots of a machine are compared draw by draw. Each
name's draws fill the distribution evenly (a Latin hypercube), so that a few hundred say what thousands would.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from math import sqrt
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from minikern.lab.spent import Spent

DRAWS = 2000
EIGHTY_PERCENT = 1.2816  # standard deviations to either side of the mean
ALIKE = 0.5  # share of the variance that unexplained stretches have in common

Sample = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Doubts:
    """Spreads (standard deviations of the logarithm): of kinds of work, and of unexplained time by name."""

    work: Mapping[str, float] = field(default_factory=dict)
    rest: Mapping[str, float] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.work or self.rest)


class Factors:
    """By how much each cost of the drawn machines differs from what is stated; no spread is below ``least``."""

    def __init__(self, doubts: Doubts, least: float = 0.0) -> None:
        self._doubts, self._least = doubts, least
        self._known: dict[tuple[str, bool], Sample | float] = {}

    def work(self, kind: str) -> Sample | float:
        """Of a kind of work; 1 where nothing states how sure it is."""
        found = self._known.get((kind, True))
        if found is None:
            spread = max(self._doubts.work.get(kind, 0.0), self._least)
            found = self._known[kind, True] = np.exp(spread * _normals(kind)) if spread else 1.0
        return found

    def rest(self, name: str) -> Sample | float:
        """Of an unexplained stretch."""
        found = self._known.get((name, False))
        if found is None:
            spread = max(self._doubts.rest.get(name, 0.0), self._least)
            alike, own = sqrt(ALIKE) * _normals(""), sqrt(1 - ALIKE)
            found = self._known[name, False] = np.exp(spread * (alike + own * _normals(name))) if spread else 1.0
        return found

    def put(self, kind: str, factor: Sample | float) -> None:
        """Say otherwise of a kind of work."""
        self._known[kind, True] = factor

    def off(self, spent: Spent) -> Sample:
        """By how many ns the time that went into ``spent`` differs in each draw."""
        total = np.zeros(DRAWS)
        for kind, ns in spent.work.items():
            total += ns * (self.work(kind) - 1.0)
        for name, ns in spent.rest.items():
            total += ns * (self.rest(name) - 1.0)
        return total


@cache
def _even() -> Sample:
    # The middles of DRAWS equally likely parts of the normal distribution.
    return np.array([NormalDist().inv_cdf((at + 0.5) / DRAWS) for at in range(DRAWS)])


@lru_cache(maxsize=2048)
def _normals(name: str) -> Sample:
    key = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    dice = np.random.Generator(np.random.Philox(key=int.from_bytes(key[:16], "little")))
    return dice.permutation(_even())


def ends(sample: Sample) -> tuple[float, float]:
    """Between which values four of five draws lie: as many lie below as above."""
    low, high = np.quantile(sample, (0.1, 0.9))
    return float(low), float(high)
