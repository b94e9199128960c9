"""Predict a boot from other boots of its machine: their unit costs and unexplained time, everything else its own.

The boot to be predicted tells by its lines what its kernel and drivers do; how long that takes is looked up at the same
lines of the boots that were fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import msgspec

from minikern.describe.case import Case
from minikern.lab.fit.align import align
from minikern.lab.fit.calibrate import metered, read_timeline
from minikern.lab.fit.console_rate import nominal_ns, unpaced
from minikern.lab.fit.fitted import FittedMachine
from minikern.lab.fit.rows import Matched, match
from minikern.lab.fit.timeline import Timeline
from minikern.lab.fit.unexplained import Price, residue

KEPT_NS = 2_000_000  # a vanished line's time up to this is taken for its neighbours' work, which stays


def predict(name: str, fits: Sequence[FittedMachine], spec: Case) -> Case:
    """``spec``, made from log ``name``, with the times of the fitted boots; the log's own stamps are not looked at."""
    if not fits:
        return spec
    real = erased(read_timeline(name))
    spec = msgspec.structs.replace(unpaced(spec), costs={**spec.costs, **fits[0].costs})
    matched = match(real, metered(spec))
    priced = price_lines(matched, fits[0])
    found = residue(matched, priced, f"stamps of {fits[0].matched.timeline.where}")
    return msgspec.structs.replace(spec, residue=[*spec.residue, *found])


def erased(real: Timeline) -> Timeline:
    """A boot whose times nobody may look at."""
    for step in real.steps:
        step.at_ns = step.gap_ns = None
    real.start = len(real.steps)
    return real


def price_lines(matched: Matched, fitted: FittedMachine) -> dict[int, Price]:
    """What each line of the boot takes beyond counted work, from the fitted boot's same lines."""
    ours, theirs = matched.timeline.steps, fitted.matched.timeline.steps
    pairs = align([step.text for step in theirs], [step.text for step in ours])
    known = {pair.second: fitted.prices[pair.first] for pair in pairs if pair.first in fitted.prices}
    usual = _usual(fitted)
    vanished = _vanished(fitted, {pair.first for pair in pairs}, {pair.first: pair.second for pair in pairs})
    rate = byte_rate(matched.timeline, fitted)
    waiting, found = 0.0, {}
    for at, step in enumerate(ours):
        if step.main:
            price = known.get(at) or Price(step.text, usual.get(step.mask, usual[""]))
            found[at] = Price(step.text, price.ns + vanished.get(at, 0.0), waiting * rate, price.waits)
            waiting = 0.0
        waiting += step.bytes
    return found


def _usual(fitted: FittedMachine) -> dict[str, float]:
    """The usual price of a line by its mask, and of any line."""
    by_mask: dict[str, list[float]] = {}
    for at, price in fitted.prices.items():
        by_mask.setdefault(fitted.matched.timeline.steps[at].mask, []).append(price.ns)
    found = {key: median(prices) for key, prices in by_mask.items()}
    return {**found, "": median([price.ns for price in fitted.prices.values()])}


def _vanished(fitted: FittedMachine, seen: set[int], places: dict[int, int]) -> dict[int, float]:
    """Time of lines the boot has not: what is small stays, before the next line that it has."""
    found: dict[int, float] = {}
    waiting = 0.0
    for at, price in sorted(fitted.prices.items()):
        if at not in seen:
            waiting += price.ns if price.ns <= KEPT_NS else 0.0
        elif waiting:
            found[places[at]] = found.get(places[at], 0.0) + waiting
            waiting = 0.0
    return found


def byte_rate(real: Timeline, fitted: FittedMachine) -> float:
    """Ns a byte on this boot's serial line: as measured where the fitted boot had one too, else its nominal time."""
    theirs = fitted.matched.timeline
    if any(theirs.serial.sent):
        return fitted.byte_ns * nominal_ns(real) / nominal_ns(theirs)
    return nominal_ns(real)
