"""Times somebody measured on a described machine: the unit costs that carry a phase follow from how long it took.

A description has no log, but often a figure or two: "1786 ms for the deferred pages". The machine is booted as it was
when that was measured; the costs of the work in that phase are moved, as little as what is believed of them allows,
until the boot takes so long. Any other boot of the machine is then a prediction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, log
from typing import Final, get_args

import msgspec

from hw.errors import InputError
from hw.units import NS_PER_MS
from minikern.core.cost_table import machine_costs
from minikern.core.costs import Cost, Measured, MeasuredPhase, Place, Residue
from minikern.core.kernel import BootOptions, Kernel
from minikern.core.variant import load_variant
from minikern.describe.case import Case
from minikern.lab.fit.calibrate import DEFAULT_SPREAD, priors_of
from minikern.lab.fit.deferral import TICK_NS, deferred_factors
from minikern.lab.fit.fitted import fitted_cost
from minikern.lab.fit.rows import Row
from minikern.lab.fit.solve import Estimate, Prior, solve
from minikern.lab.run import boot
from minikern.lab.spent import spent_in

TOTAL: Final = "total"
ROUNDS, CLOSE = 6, 0.005  # boots, and how near to the measured time is near enough
TOO_FAR = 0.1  # of a logarithm: then the boot is not the one that was measured
DESCRIBED = ("early memory", "smp", "deferred", "hugepages")  # all their work follows from CPUs, memory and words
RESIDUE_AT: Mapping[str, Place] = {"acpi": "subsys_initcalls", "pci": "subsys_initcalls"}
LATE: Place = "device_initcalls"
UNDESCRIBED = "what the description leaves out"
LEAST_RESIDUE_MS = 0.001


def parse_measured(text: str) -> Measured:
    """``[VARIANT:]PHASE=MS``. InputError says what was expected."""
    what, _, value = text.rpartition("=")
    variant, _, phase = what.rpartition(":")
    ms = value.strip().removesuffix("ms")
    try:
        told = {"phase": phase.strip(), "ms": float(ms), "source": "--measured", "variant": variant.strip()}
        return msgspec.convert(told, Measured)
    except (ValueError, msgspec.ValidationError) as error:
        expected = f"[VARIANT:]PHASE=MS, as deferred=88, of {', '.join(get_args(MeasuredPhase))}"
        raise InputError(f"--measured: {text!r:.80}: expected {expected}") from error


@dataclass(frozen=True)
class _Told:
    """One measured time beside the boot it belongs to."""

    phase: MeasuredPhase
    real_ns: int
    emulated_ns: int
    row: Row
    kernel: Kernel

    @property
    def met(self) -> bool:
        """True if it is near enough; the kernel counts deferred pages' time in ticks."""
        least = TICK_NS if self.phase == "deferred" else 0
        return self.off < CLOSE or abs(self.emulated_ns - self.real_ns) < least

    @property
    def off(self) -> float:
        """How far the emulated time is from the measured one, as a logarithm."""
        return abs(log(max(self.emulated_ns, 1) / self.real_ns))


def fit_measured(spec: Case, kernel: str = "", append: str = "") -> Case:
    """``spec`` with the unit costs that its measured times tell of; itself where it has none.

    InputError: a variant or phase that does not exist, or that this machine cannot boot.
    """
    if not spec.measured:
        return spec
    believed = priors_of(spec)
    costs: dict[str, Cost] = {}
    for _ in range(ROUNDS):
        now = msgspec.structs.replace(spec, costs={**spec.costs, **costs})
        told = _told(now, kernel, append)
        if costs and all(one.met for one in told if one.phase in DESCRIBED):
            break
        costs = _moved(now, spec, believed, told)
    now = msgspec.structs.replace(spec, costs={**spec.costs, **costs})
    told = _told(now, kernel, append)
    return msgspec.structs.replace(
        now, residue=[*spec.residue, *_left(told)], notes=[*spec.notes, *_contradictions(told)]
    )


def _told(spec: Case, kernel: str, append: str) -> list[_Told]:
    found = []
    for name in dict.fromkeys(item.variant for item in spec.measured):
        variant = load_variant(name) if name else None
        done = boot(spec, variant, kernel, append, BootOptions(vmemmap="counted")).kernel
        done.release_memory()
        found += [_beside(item, done) for item in spec.measured if item.variant == name]
    return found


def _beside(item: Measured, kernel: Kernel) -> _Told:
    spent = kernel.phase_ns()
    emulated = sum(spent.values()) if item.phase == TOTAL else spent.get(item.phase, 0)
    real = round(item.ms * NS_PER_MS)
    row = Row(0, 0, 0, real, emulated, dict(spent_in(kernel, item.phase).work))
    return _Told(item.phase, real, emulated, row, kernel)


def _moved(now: Case, spec: Case, believed: Mapping[str, Prior], told: Sequence[_Told]) -> dict[str, Cost]:
    """The costs after one more round, each beside what was believed of it."""
    current = {kind: cost.ns for kind, cost in machine_costs(now.name, now.costs).items()}
    known = machine_costs(spec.name, spec.costs)
    priors = {kind: replace(prior, shift=log(prior.ns / current[kind])) for kind, prior in believed.items()}
    # A whole boot holds much that is not described: it says only that the rest of it takes no longer.
    timed = [one for one in told if one.phase not in ("deferred", TOTAL) or one.emulated_ns > one.real_ns]
    rows, exact = [one.row for one in timed], [one.phase in DESCRIBED for one in timed]
    found = dict(solve(rows, [0.0] * len(rows), priors, exact))
    for one in told:
        if one.phase == "deferred":
            found |= deferred_factors(one.real_ns, one.kernel, DEFAULT_SPREAD)
    absolute = {kind: _over(found[kind], prior) for kind, prior in priors.items() if kind in found}
    return {kind: fitted_cost(known[kind], estimate, "measured times") for kind, estimate in absolute.items()}


def _over(estimate: Estimate, prior: Prior) -> Estimate:
    # The factor over what was believed, from that over what the boot had.
    return replace(estimate, factor=estimate.factor * exp(-prior.shift))


def _contradictions(told: Sequence[_Told]) -> list[str]:
    """Measured times that no unit costs explain: waits the kernel's code prescribes take longer, or are not there."""
    return [
        f"{one.phase}: {one.real_ns / NS_PER_MS:g} ms were measured, the boot takes {one.emulated_ns / NS_PER_MS:.0f}"
        " ms whatever work costs: another kernel or command line than that of the measurement?"
        for one in told
        if one.off > TOO_FAR and (one.phase in DESCRIBED or one.emulated_ns > one.real_ns)
    ]


def _left(told: Sequence[_Told]) -> list[Residue]:
    """Time of phases whose work no description tells whole, beyond what was counted; a total's beyond all phases'."""
    found: list[Residue] = []
    for one in sorted(told, key=lambda one: one.phase == TOTAL):
        ms = (one.real_ns - one.emulated_ns) / NS_PER_MS
        if one.phase in DESCRIBED:
            continue
        if one.phase == TOTAL:
            ms -= sum(item.ms for item in found)
        if ms >= LEAST_RESIDUE_MS:
            found.append(_residue(one.phase, ms))
    return found


def _residue(phase: MeasuredPhase, ms: float) -> Residue:
    at, where = RESIDUE_AT.get(phase, LATE), "rest" if phase == TOTAL else phase
    return Residue(UNDESCRIBED, at, round(ms, 6), "a measured time, less counted work", phase=where)
