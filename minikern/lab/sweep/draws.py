"""Costs drawn from what is believed of them: one draw is one machine that could be the real one.

Unit costs are independent and log-normal with the median and the 80 % interval they state; unexplained stretches are
half alike, half independent: the same belief that bands are computed from. A draw depends on the plan's seed, its
number and the machine, on nothing else, so variants of one machine share their draws and rows can be made in any order.
"""

from __future__ import annotations

import hashlib
from math import exp, sqrt

import msgspec
import numpy as np

from minikern.core.cost_table import machine_costs
from minikern.core.costs import Cost
from minikern.describe.case import Case
from minikern.lab.bands import doubts_of
from minikern.lab.believed import ALIKE


def drawn(spec: Case, digest: str, seed: int, draw: int) -> Case:
    """``spec`` with costs and unexplained times of draw number ``draw``."""
    dice = _dice(seed, draw, digest)
    doubts, known = doubts_of(spec), sorted(machine_costs(spec.name, spec.costs).items())
    costs = {kind: _drawn(cost, doubts.work.get(kind, 0.0) * float(dice.standard_normal())) for kind, cost in known}
    shared = float(dice.standard_normal())
    residue = []
    for item in spec.residue:
        z = sqrt(ALIKE) * shared + sqrt(1 - ALIKE) * float(dice.standard_normal())
        residue.append(msgspec.structs.replace(item, ms=item.ms * exp(doubts.rest.get(item.name, 0.0) * z)))
    return msgspec.structs.replace(spec, costs=costs, residue=residue)


def _drawn(cost: Cost, off: float) -> Cost:
    return msgspec.structs.replace(cost, ns=cost.ns * exp(off)) if off else cost


def _dice(seed: int, draw: int, digest: str) -> np.random.Generator:
    key = hashlib.sha256(f"{seed}/{draw}/{digest}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key[:16], "little")))
