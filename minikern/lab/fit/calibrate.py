"""Fit one log: align, count, solve, name the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import exp, log
from pathlib import Path

import msgspec

from hw.errors import InputError
from hw.files import is_file
from hw.numbers import is_count
from minikern.core.cost_table import cost_groups, machine_costs
from minikern.core.costs import Cost
from minikern.core.kernel import BootOptions, Kernel
from minikern.describe.case import Case
from minikern.describe.stamps import read_stamped
from minikern.lab.bands import SAME_BOOT, spread_of
from minikern.lab.fit.console_rate import byte_ns, unpaced
from minikern.lab.fit.deferral import deferred_factors, slowest_ns
from minikern.lab.fit.evidence import with_evidence
from minikern.lab.fit.fitted import FittedMachine, fitted_cost
from minikern.lab.fit.initramfs import KIND as UNPACK
from minikern.lab.fit.initramfs import sleeper, unpack_factor
from minikern.lab.fit.rows import Matched, match
from minikern.lab.fit.solve import Estimate, Prior, solve
from minikern.lab.fit.timeline import Step, Timeline, timeline
from minikern.lab.fit.unexplained import left_over, prices, residue
from minikern.lab.run import boot

DEFAULT_SPREAD = 0.8  # of the logarithm of a unit cost nobody has measured on several machines
HELD = "time"  # costs the emulated kernel measures its clocks by: it would calibrate itself differently
EXACT = ("definition", "exact")  # how the source of a cost begins that no machine changes
FEWEST_ROWS = 10
BRINGUP = ("sipi_to_alive", "sipi_to_alive_sibling", "microcode_load", "ap_wakeup_unexplained")
MOVED, LEAST_WAIT_SHARE = 0.3, 0.01  # of a logarithm; of the boot


def split_name(name: str) -> tuple[Path, int]:
    """A log's file and which boot of it: ``FILE`` or ``FILE:N``."""
    path, colon, which = name.rpartition(":")
    if colon and is_count(which) and len(which) < 4 and not is_file(name):
        return Path(path), int(which)
    return Path(name), 0


def read_timeline(name: str) -> Timeline:
    """The boot a log's name stands for. InputError: unreadable, or stamps nobody can believe."""
    return timeline(read_stamped(*split_name(name)))


def priors_of(spec: Case) -> dict[str, Prior]:
    """What is believed of each unit cost of a machine before its log is read."""
    groups = cost_groups()
    return {
        kind: Prior(cost.ns, spread_of(cost) or DEFAULT_SPREAD, groups.get(kind, ""))
        for kind, cost in machine_costs(spec.name, spec.costs).items()
        if cost.ns and not cost.source.startswith(EXACT) and groups.get(kind) != HELD
    }


def fit_log(name: str, load: Callable[[str], Case], kernel: str = "") -> FittedMachine:
    """The machine a log tells of, with the unit costs its stamps tell of.

    ``load`` makes the machine from the log's name. InputError: no stamps, or none to be believed.
    """
    real = read_timeline(name)
    if not real.timed:
        why = "; ".join(real.notes) or "none, or all zero"
        raise InputError(f"{name}: no time stamps ({why}): nothing to fit")
    return fit(real, load(name), kernel)


def fit(real: Timeline, spec: Case, kernel: str = "") -> FittedMachine:
    """Unit costs and residue of ``spec`` from a timed log.

    Where CPUs that come up side by side turn out faster or slower than believed, others may be waited for: then it is
    booted and solved once more.
    """
    slept = sleeper(real)
    if slept is not None and slept[0].gap_ns is not None:
        slept[0].gap_ns -= slept[1]
    spec = unpaced(spec)
    found = _solved(real, spec, spec, slept, kernel)
    shown = with_evidence(spec, found.matched)
    if shown is not spec:
        spec = shown
        found = _solved(real, spec, spec, slept, kernel)
    elif _bringup_moved(found):
        costs = _costs(spec, found.absolute, real.where)
        found = _solved(real, spec, msgspec.structs.replace(spec, costs={**spec.costs, **costs}), slept, kernel)
    return _fitted(real, spec, found, slept)


@dataclass(frozen=True)
class _Round:
    """One boot matched and solved: factors over the costs it was booted with, and over those believed before."""

    matched: Matched
    relative: dict[str, Estimate]
    absolute: dict[str, Estimate]
    rate: float


def _solved(real: Timeline, spec: Case, booted: Case, slept: tuple[Step, int] | None, kernel: str) -> _Round:
    matched = match(real, metered(booted, kernel))
    if len(matched.rows) < FEWEST_ROWS:
        raise InputError(f"{real.where}: {len(matched.rows)} stamped lines that a boot of it has too: not fitted")
    if slept is not None:
        _take_sleep_off(matched, slept[0], slept[1])
    rate = byte_ns(real)
    now = {kind: cost.ns for kind, cost in machine_costs(booted.name, booted.costs).items()}
    priors = {kind: replace(prior, shift=log(prior.ns / now[kind])) for kind, prior in priors_of(spec).items()}
    relative = _measured(solve(matched.rows, [row.bytes * rate for row in matched.rows], priors), matched)
    absolute = {
        kind: replace(estimate, factor=estimate.factor * exp(-priors[kind].shift) if kind in priors else 1.0)
        for kind, estimate in relative.items()
    }
    return _Round(matched, relative, absolute, rate)


def _bringup_moved(found: _Round) -> bool:
    waited = found.matched.kernel.ledger.total_ns("smp_wait_ns")
    moved = any(abs(log(found.relative[kind].factor)) > MOVED for kind in BRINGUP if kind in found.relative)
    return moved and waited > LEAST_WAIT_SHARE * sum(row.real_ns for row in found.matched.rows)


def metered(spec: Case, kernel: str = "") -> Kernel:
    """A boot whose lines know the work before them; only log, ledger and meter are left of it."""
    done = boot(spec, release=kernel, options=BootOptions(vmemmap="counted", meter=True)).kernel
    done.release_memory()
    return done


def _take_sleep_off(matched: Matched, sleeping: Step, slept_ns: int) -> None:
    steps = matched.timeline.steps
    for row in matched.rows:
        if any(step is sleeping for step in steps[max(row.first + 1, 0) : row.last + 1]):
            row.real_ns = max(0, row.real_ns - slept_ns)
            return


def _measured(estimates: Mapping[str, Estimate], matched: Matched) -> dict[str, Estimate]:
    """With what the log measures by itself: deferred pages by their printed time, the initramfs by its two ends."""
    real = [step.text for step in matched.timeline.steps]
    found = dict(estimates) | deferred_factors(slowest_ns(real), matched.kernel, DEFAULT_SPREAD)
    unpacking = unpack_factor(matched.timeline, matched.kernel.ledger.total_ns(UNPACK))
    if unpacking is not None:
        found[UNPACK] = unpacking
    return found


def _costs(spec: Case, estimates: Mapping[str, Estimate], where: str) -> dict[str, Cost]:
    known = machine_costs(spec.name, spec.costs)
    return {kind: fitted_cost(known[kind], estimate, Path(where).name) for kind, estimate in estimates.items()}


def _fitted(real: Timeline, spec: Case, solved: _Round, slept: tuple[Step, int] | None) -> FittedMachine:
    matched = solved.matched
    left = left_over(matched.rows, solved.relative, solved.rate)
    priced = prices(matched, left, solved.rate, slept[0] if slept else None)
    costs = _costs(spec, solved.absolute, real.where)
    found = residue(matched, priced, f"stamps of {Path(real.where).name}", SAME_BOOT)
    own = msgspec.structs.replace(spec, costs={**spec.costs, **costs}, residue=[*spec.residue, *found])
    total = sum(row.real_ns for row in matched.rows) + (slept[1] if slept else 0)
    explained = total - sum(rest for _, rest in left)
    told = [*real.notes]
    return FittedMachine(own, spec, matched, solved.absolute, costs, priced, found, solved.rate, total, explained, told)
