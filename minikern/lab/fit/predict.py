"""Predict a boot from other boots of its machine, or from other machines of its kind.

The boot to be predicted tells by its lines what its kernel and drivers do; how long that takes beyond counted work is
looked up at the same lines of the boots that were fitted, and else in the table of what lines usually take.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median

import msgspec

from minikern.core.cost_table import cost_groups
from minikern.core.costs import Cost
from minikern.describe.case import Case
from minikern.lab.bands import SAME_KIND, SAME_MACHINE
from minikern.lab.fit.align import Pair, align, rewritten
from minikern.lab.fit.calibrate import metered, read_timeline
from minikern.lab.fit.combine import combine
from minikern.lab.fit.console_rate import nominal_ns, unpaced
from minikern.lab.fit.evidence import same_bringup
from minikern.lab.fit.fitted import FittedMachine
from minikern.lab.fit.initramfs import KIND as UNPACK
from minikern.lab.fit.kind import family_of_log
from minikern.lab.fit.line_prices import LinePrices, load_line_prices
from minikern.lab.fit.rows import match
from minikern.lab.fit.timeline import Timeline
from minikern.lab.fit.unexplained import Price, residue

SHARED_GROUPS = ("mm", "kexec")  # of the machine under a guest
KEPT_NS = 2_000_000  # a vanished line's time up to this is taken for its neighbours' work, which stays
USUAL_RATE = 1.02  # of ten bits' time, a byte on a serial line; median of fourteen logs
COPY_NS, PACKED, LARGEST_BYTES = 0.7, 3, 3 << 30  # of an initramfs: a byte copied, unpacked over packed, unpacked


def predict(
    name: str, fits: Sequence[FittedMachine], spec: Case, lines: LinePrices | None = None
) -> Case:
    """``spec``, made from log ``name``, with the times of the fitted boots; the log's own stamps are not looked at.

    Without fits its costs stay what they are: those of its family.
    """
    real = erased(read_timeline(name))
    family = family_of_log(spec, real)
    fitted = combine(fits) if fits else None
    costs = _taken_over(fitted, family) if fitted else by_size(spec)
    spec = msgspec.structs.replace(unpaced(spec), costs={**spec.costs, **costs})
    if fitted and fitted.matched.timeline.version >= real.version:
        spec = same_bringup(spec, fitted.spec)
    matched = match(real, metered(spec))
    priced = Pricer(matched.timeline, fitted, lines or load_line_prices(), family).prices()
    source = f"stamps of {fitted.matched.timeline.where}" if fitted else f"what such a line takes elsewhere: {family}"
    spread = SAME_MACHINE if fitted else SAME_KIND
    return msgspec.structs.replace(spec, residue=[*spec.residue, *residue(matched, priced, source, spread)])


def _taken_over(fitted: FittedMachine, family: str) -> dict[str, Cost]:
    """The fitted costs, of host and guest only those of work that neither devices nor other CPUs take part in."""
    if family_of_log(fitted.base, fitted.matched.timeline) == family:
        return fitted.costs
    groups = cost_groups()
    return {kind: cost for kind, cost in fitted.costs.items() if groups.get(kind) in SHARED_GROUPS or kind == UNPACK}


def erased(real: Timeline) -> Timeline:
    """A boot whose times nobody may look at."""
    for step in real.steps:
        step.at_ns = step.gap_ns = None
    real.start = len(real.steps)
    return real


def by_size(spec: Case) -> dict[str, Cost]:
    """What a byte of an initramfs nobody timed takes: its unpacked size is bounded, so a huge one is hardly packed."""
    known, size = spec.costs.get("initramfs_byte"), spec.boot.ramdisk_bytes
    if known is None or not size:
        return {}
    unpacked = min(PACKED * size, max(size, LARGEST_BYTES))
    per_unpacked = max(0.0, known.ns - COPY_NS) / (PACKED - 1)
    ns = COPY_NS + (unpacked - size) / size * per_unpacked
    scale = ns / known.ns if known.ns else 1.0
    low, high = ((value or known.ns) * scale for value in (known.low, known.high))
    return {"initramfs_byte": msgspec.structs.replace(known, ns=ns, low=low, high=high)}


def same_lines(theirs: Timeline, ours: Timeline, own_kind: bool = True) -> list[Pair]:
    """Lines of two boots of one machine: those that say the same, rewritten ones, and then those that moved.

    Only the first where one of them is a guest's: work that is told of in other words, or later, is other work there.
    """
    pairs = align([step.text for step in theirs.steps], [step.text for step in ours.steps])
    if not own_kind:
        return pairs
    masks = [step.mask for step in theirs.steps], [step.mask for step in ours.steps]
    pairs = sorted(pairs + rewritten(*masks, pairs))
    return pairs + _moved(*masks, pairs)


def _moved(theirs: Sequence[str], ours: Sequence[str], pairs: Sequence[Pair]) -> list[Pair]:
    taken = {pair.first for pair in pairs}, {pair.second for pair in pairs}
    left: dict[str, list[int]] = {}
    for at, key in enumerate(theirs):
        if at not in taken[0] and key:
            left.setdefault(key, []).append(at)
    free = [(key, to) for to, key in enumerate(ours) if to not in taken[1]]
    return [Pair(left[key].pop(0), to) for key, to in free if left.get(key)]


class Pricer:
    """Prices the lines of a boot: from a fitted boot's same lines, else from the table."""

    def __init__(self, real: Timeline, fitted: FittedMachine | None, lines: LinePrices, family: str) -> None:
        self._real, self._fitted, self._lines, self._family = real, fitted, lines, family
        self._pairs: list[Pair] = []
        self._told_from = len(real.steps)
        if fitted is not None:
            own = self._own_kind(fitted)
            self._pairs = same_lines(fitted.matched.timeline, real, own)
            told = [pair.second for pair in self._pairs if pair.first >= fitted.matched.timeline.start]
            self._told_from = min(told, default=len(real.steps)) if own else len(real.steps)

    def _own_kind(self, fitted: FittedMachine) -> bool:
        return family_of_log(fitted.base, fitted.matched.timeline) == self._family

    def prices(self) -> dict[int, Price]:
        """By place of the main thread's line."""
        known, usual, vanished = self._known(), self._usual(), self._vanished()
        rate = self._byte_rate()
        waiting, found = 0.0, {}
        for at, step in enumerate(self._real.steps):
            if step.main:
                price = known.get(at) or Price(step.text, self._expected(step.mask, usual, at))
                found[at] = replace(
                    price, text=step.text, ns=price.ns + vanished.get(at, 0.0), console_ns=waiting * rate
                )
                waiting = 0.0
            waiting += step.bytes
        return found

    def _expected(self, mask: str, usual: Mapping[str, float], at: int) -> float:
        """A line that the fitted boot has not cuts what took place there into pieces; where that had no clock, ask."""
        if mask in usual:
            return usual[mask]
        return self._lines.price_ns(mask, self._family) if at < self._told_from else 0.0

    def _known(self) -> dict[int, Price]:
        prices = self._fitted.prices if self._fitted else {}
        return {pair.second: prices[pair.first] for pair in self._pairs if pair.first in prices}

    def _usual(self) -> dict[str, float]:
        """The fitted boot's usual price of a line, by its mask."""
        by_mask: dict[str, list[float]] = {}
        if self._fitted is not None:
            for at, price in self._fitted.prices.items():
                by_mask.setdefault(self._fitted.matched.timeline.steps[at].mask, []).append(price.ns)
        return {key: median(prices) for key, prices in by_mask.items()}

    def _vanished(self) -> dict[int, float]:
        """Time of lines that this boot has not: what is small stays, before the next line that it has."""
        places = dict(self._pairs)
        found: dict[int, float] = {}
        waiting = 0.0
        for at, price in sorted(self._fitted.prices.items()) if self._fitted else ():
            if at not in places:
                waiting += price.ns if price.ns <= KEPT_NS else 0.0
            elif waiting:
                found[places[at]] = found.get(places[at], 0.0) + waiting
                waiting = 0.0
        return found

    def _byte_rate(self) -> float:
        """Ns a byte on this boot's serial line: as measured where the fitted boot had one too."""
        if self._fitted is not None and any(self._fitted.matched.timeline.serial.sent):
            return self._fitted.byte_ns * nominal_ns(self._real) / nominal_ns(self._fitted.matched.timeline)
        return nominal_ns(self._real) * USUAL_RATE


