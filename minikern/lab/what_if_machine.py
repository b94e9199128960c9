"""What if the machine had other memory, CPUs and huge pages, beside other unit costs: a model made of boots.

Every place of a slider is a boot with its counted work. What two sliders do to each other when both are moved is in a
table of boots as well: nothing where their work is serial, and then the sum is exact; else it is interpolated. How far
that is off is measured by boots at settings drawn by lot, and stated.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, product
from typing import NamedTuple

import msgspec

from hw.errors import BusError, GeneralProtection, InputError, MachineStopped
from hw.units import NS_PER_MS
from minikern.host.children import forked_map
from minikern.host.nodes import usable_cpus
from minikern.lab.machine_axes import Asked, Axis, axes_of, huge_page_bytes, machine_at
from minikern.lab.run import Boot, boot
from minikern.lab.what_if import COUNTED, STRAIGHT_NS, Curve, at, on_the_way, with_factors

MEMORY = 0
CPUS = 1  # the axis that others' work is divided by: its places are not interpolated between
CHECKS = 20  # boots at settings drawn by lot
DRAWS = 40  # times as many settings to find them among
MARGIN = 3.0  # times what the worst of them was off
LEAST_SHARE = 0.05  # of an effect, as its error
MS_PER_S = 1000
NO_MS = 1e-6  # less is what sums of fractions leave
MOST_FACTOR = 4.0
CHECK_SEED = 1

OnBoots = Callable[[int], None]


class Figures(msgspec.Struct, frozen=True):
    """A boot's total, and how many pieces of each curve's work are on its way to /init."""

    total_ms: float
    pieces: list[int]


class Pair(msgspec.Struct, frozen=True):
    """What moving two sliders does beyond what each does alone, at the places ``knots`` of both."""

    axes: tuple[int, int]
    knots: tuple[list[int], list[int]]
    beyond: list[list[Figures]]
    exact: bool  # nothing at all


class Setting(msgspec.Struct, frozen=True):
    """Where all sliders stand: a place an axis, a factor a curve."""

    places: list[int]
    factors: list[float]


class Said(NamedTuple):
    """What the model says: the total, how far it may be off (0: it is exact), and what that stands on.

    ``loose_ms`` is how much work between boots was moved.
    """

    total_ms: float
    loose_ms: float
    error_ms: float


class WhatIf(msgspec.Struct, frozen=True):
    """All that a page needs to say the total of any setting."""

    total_ms: float
    curves: list[Curve]
    axes: list[Axis]
    single: list[list[Figures]]  # an axis, a place
    pairs: list[Pair]
    by_cpus: list[list[list[float]]]  # a curve, a place of the CPUs: totals at its factors; none of a serial one
    huge_page_bytes: int
    tick_ms: float  # of the kernel's timer: what waits for the next one may always be that much off
    error_share: float = 0.0  # of the interpolated effects and a tick, how far the total may be off
    checked: int = 0  # boots that say so


def machine_what_if(
    done: Boot,
    curves: Sequence[Curve],
    release: str = "",
    append: str = "",
    on_boots: OnBoots = lambda count: None,
    fixed: str = "",
) -> WhatIf:
    """The model of a finished boot. ``on_boots`` is told how many boots each part takes, as it begins.

    ``fixed`` says why the machine itself is left as it is, where it is.
    """
    maker = _Maker(done, curves, release, append, on_boots)
    found = axes_of(maker.asked)
    axes, single = maker.singles([_fixed(axis, fixed) for axis in found] if fixed else found)
    pairs: list[Pair] = []
    for first, second in combinations(range(len(axes)), 2):
        if len(axes[first].positions) < 2 or len(axes[second].positions) < 2:
            continue
        pair = maker.pair(axes, single, first, second)
        if pair is None:
            axes[second] = _fixed(axes[second], f"with other {axes[first].name} the machine does not come up")
            single[second] = [maker.own]
            pairs = [one for one in pairs if second not in one.axes]
        else:
            pairs.append(pair)
    total_ms = done.total_ns / NS_PER_MS
    tick_ms = MS_PER_S / done.kernel.config.number("CONFIG_HZ")
    by_cpus = [[] if one.serial else maker.by_cpus(axes, single, index) for index, one in enumerate(curves)]
    model = WhatIf(total_ms, list(curves), axes, single, pairs, by_cpus, huge_page_bytes(maker.asked), tick_ms)
    return _checked(model, maker)


def _fixed(axis: Axis, why: str) -> Axis:
    return Axis(axis.name, [axis.positions[axis.own]], 0, why)


def _checked(model: WhatIf, maker: _Maker) -> WhatIf:
    """The model with how far it is off, by boots at settings drawn by lot."""
    # Alone each slider stands on a boot, so only settings with something between boots tell of the error.
    loose = [one for one in drawn(model, CHECKS * DRAWS, CHECK_SEED) if said(model, one).loose_ms][:CHECKS]
    worst, checked = LEAST_SHARE, 0
    for setting, fresh in zip(loose, maker.boots(model.axes, loose), strict=True):
        if fresh is not None:
            told, checked = said(model, setting), checked + 1
            off_ms = abs(told.total_ms - fresh.total_ms)
            worst = max(worst, MARGIN * off_ms / (told.loose_ms + model.tick_ms))
    return msgspec.structs.replace(model, error_share=round(worst, 4), checked=checked)


def said(model: WhatIf, setting: Setting) -> Said:
    """What the model says of a setting; the page's script computes the same."""
    own = [axis.own for axis in model.axes]
    moved = [index for index, place in enumerate(setting.places) if place != own[index]]
    total, loose = model.total_ms, 0.0
    base = model.single[0][own[0]].pieces
    pieces: list[float] = list(base)
    for index in moved:
        here = model.single[index][setting.places[index]]
        total += here.total_ms - model.total_ms
        pieces = [some + more - less for some, more, less in zip(pieces, here.pieces, base, strict=True)]
    for pair in model.pairs:
        if set(pair.axes) <= set(moved):
            beyond = _between(model, pair, setting)
            total += beyond[0]
            pieces = [some + more for some, more in zip(pieces, beyond[1:], strict=True)]
            loose += 0.0 if pair.exact else _around(model, pair, setting)
    for index, curve in enumerate(model.curves):
        factor = setting.factors[index]
        if factor == 1.0:
            continue
        if curve.serial:
            total += pieces[index] * curve.unit_ns * (factor - 1.0) / NS_PER_MS
        else:
            place = setting.places[CPUS]
            beside = msgspec.structs.replace(curve, totals_ms=tuple(model.by_cpus[index][place]))
            share = pieces[index] / max(model.single[CPUS][place].pieces[index], 1)
            total += (at(beside, factor) - at(beside, 1.0)) * share
            loose += abs(pieces[index] * curve.unit_ns * (factor - 1.0)) / NS_PER_MS
    loose = loose if loose > NO_MS else 0.0
    # A wait for the timer always may end a tick sooner or later.
    error = model.error_share * loose + max(model.error_share, 1.0) * model.tick_ms
    return Said(total, loose, error if loose else 0.0)


def _between(model: WhatIf, pair: Pair, setting: Setting) -> list[float]:
    """[ms, pieces ...] of a pair's table, linear between its knots."""
    weights = [
        _weights(model.axes[axis], knots, setting.places[axis])
        for axis, knots in zip(pair.axes, pair.knots, strict=True)
    ]
    found = [0.0] * (1 + len(model.curves))
    for (row, high), (column, wide) in product(*weights):
        cell = pair.beyond[row][column]
        for index, value in enumerate([cell.total_ms, *cell.pieces]):
            found[index] += high * wide * value
    return found


def _around(model: WhatIf, pair: Pair, setting: Setting) -> float:
    """How large a pair's effect (ms) is at the knots around a setting, whichever way it goes."""
    weights = [
        _weights(model.axes[axis], knots, setting.places[axis])
        for axis, knots in zip(pair.axes, pair.knots, strict=True)
    ]
    return sum(
        abs(high * wide * pair.beyond[row][column].total_ms) for (row, high), (column, wide) in product(*weights)
    )


def _weights(axis: Axis, knots: Sequence[int], place: int) -> list[tuple[int, float]]:
    """The knots around a place, by index, with their shares."""
    if len(knots) == 1:
        return [(0, 1.0)]
    values = [axis.positions[knot].value for knot in knots]
    value = axis.positions[place].value
    high = min(max(bisect_right(values, value), 1), len(values) - 1)
    share = (value - values[high - 1]) / (values[high] - values[high - 1])
    return [(high - 1, 1.0 - share), (high, share)]


class _Maker:
    """Makes the boots of a model; ``on_boots`` is told how many each part takes, as it begins."""

    def __init__(self, done: Boot, curves: Sequence[Curve], release: str, append: str, on_boots: OnBoots) -> None:
        self.curves, self.release, self.on_boots = list(curves), release, on_boots
        self.asked = Asked(done.spec, done.variant, append)
        self.own = self._figures(done)

    def boots(self, axes: list[Axis], settings: Sequence[Setting]) -> list[Figures | None]:
        """A fresh boot at each setting, side by side where the host can; None: it does not come up."""
        self.on_boots(len(settings))

        def one(setting: Setting) -> Figures | None:
            try:
                return self._figures(boot_at(self.asked, axes, self.curves, setting, self.release))
            except (InputError, MachineStopped, BusError, GeneralProtection):
                return None

        return list(forked_map(one, settings, len(usable_cpus())))

    def _figures(self, done: Boot) -> Figures:
        spent = on_the_way(done.kernel)
        pieces = [spent.get(curve.kind, (0, 0))[0] for curve in self.curves]
        return Figures(done.total_ns / NS_PER_MS, pieces)

    def singles(self, axes: list[Axis]) -> tuple[list[Axis], list[list[Figures]]]:
        """The axes less the places where the machine does not come up, and the boot of every place."""
        kept, rows = [], []
        for index, axis in enumerate(axes):
            moved = [place for place in range(len(axis.positions)) if place != axis.own]
            found = self.boots(axes, [self._moved(axes, {index: place}) for place in moved])
            by_place = {axis.own: self.own} | {
                place: some for place, some in zip(moved, found, strict=True) if some is not None
            }
            places = sorted(by_place)
            kept.append(
                Axis(axis.name, [axis.positions[place] for place in places], places.index(axis.own), axis.absent)
            )
            rows.append([by_place[place] for place in places])
        return kept, rows

    def by_cpus(self, axes: list[Axis], single: list[list[Figures]], index: int) -> list[list[float]]:
        """The totals of a curve at its factors, at each place of the CPUs: more of them may hide or show its work."""
        curve, axis = self.curves[index], axes[CPUS]
        others = [(place, by) for place in range(len(axis.positions)) for by in curve.factors if by != 1.0]
        cells = [(place, by) for place, by in others if place != axis.own]
        settings = [self._moved(axes, {CPUS: place}, {index: by}) for place, by in cells]
        found = {cell: some for cell, some in zip(cells, self.boots(axes, settings), strict=True) if some is not None}
        rows = []
        for place, here in enumerate(single[CPUS]):
            alike = [here.total_ms + total - at(curve, 1.0) for total in curve.totals_ms]  # where it did not come up
            booted = [found.get((place, by)) for by in curve.factors]
            totals = [other if some is None else some.total_ms for some, other in zip(booted, alike, strict=True)]
            rows.append(totals)
        return rows

    def pair(self, axes: list[Axis], single: list[list[Figures]], first: int, second: int) -> Pair | None:
        """What two axes do to each other; None: somewhere the machine does not come up."""
        ends = _ends(axes[first], first), _ends(axes[second], second)
        found = self._table(axes, single, (first, second), ends)
        if found is None or found.exact:
            return found
        knots = (_knots(axes[first], first), _knots(axes[second], second))
        return self._table(axes, single, (first, second), knots)

    def _table(
        self, axes: list[Axis], single: list[list[Figures]], pair: tuple[int, int], knots: tuple[list[int], list[int]]
    ) -> Pair | None:
        nothing = Figures(0.0, [0] * len(self.curves))
        own = [axes[axis].own for axis in pair]
        cells = [cell for cell in product(*knots) if cell[0] != own[0] and cell[1] != own[1]]
        there = self.boots(axes, [self._moved(axes, dict(zip(pair, cell, strict=True))) for cell in cells])
        beyond = {}
        for cell, both in zip(cells, there, strict=True):
            if both is None:
                return None
            alone = single[pair[0]][cell[0]], single[pair[1]][cell[1]]
            beyond[cell] = _beyond(both, *alone, self.own)
        exact = all(abs(one.total_ms) * NS_PER_MS <= STRAIGHT_NS and not any(one.pieces) for one in beyond.values())
        return Pair(
            pair, knots, [[beyond.get((row, column), nothing) for column in knots[1]] for row in knots[0]], exact
        )

    def _moved(
        self, axes: list[Axis], places: Mapping[int, int], factors: Mapping[int, float] | None = None
    ) -> Setting:
        at_places = [places.get(index, axis.own) for index, axis in enumerate(axes)]
        return Setting(at_places, [(factors or {}).get(index, 1.0) for index in range(len(self.curves))])


def _ends(axis: Axis, index: int) -> list[int]:
    """The outermost places, and the machine's own. Its own memory map is not one of the made-up ones beside it."""
    places = [place for place in range(len(axis.positions)) if index != MEMORY or place != axis.own]
    return sorted({places[0], places[-1]} | ({axis.own} if index != MEMORY else set()))


def _knots(axis: Axis, index: int) -> list[int]:
    """Places of a table: all of an axis that divides others' work, else the outermost and one between."""
    if index == CPUS:
        return list(range(len(axis.positions)))
    ends = _ends(axis, index)
    middle = (ends[0] + ends[-1]) // 2
    return sorted({*ends, middle + (index == MEMORY and middle == axis.own)})


def _beyond(both: Figures, first: Figures, second: Figures, own: Figures) -> Figures:
    pieces = [a - b - c + d for a, b, c, d in zip(both.pieces, first.pieces, second.pieces, own.pieces, strict=True)]
    return Figures(both.total_ms - first.total_ms - second.total_ms + own.total_ms, pieces)


def boot_at(asked: Asked, axes: list[Axis], curves: Sequence[Curve], setting: Setting, release: str = "") -> Boot:
    """A fresh boot at a setting."""
    factors = {curve.kind: by for curve, by in zip(curves, setting.factors, strict=True) if by != 1.0}
    spec, variant, append = machine_at(asked, axes, tuple(setting.places))
    done = boot(with_factors(spec, factors) if factors else spec, variant, release, append, COUNTED)
    done.kernel.release_memory()
    return done


def drawn(model: WhatIf, count: int, seed: int) -> list[Setting]:
    """Settings by lot: from one to all of the sliders go anywhere, few of them more often than many."""
    dice = random.Random(seed)
    sliders, found = len(model.axes) + len(model.curves), []
    for _ in range(count):
        moved = set(dice.sample(range(sliders), dice.randint(1, dice.randint(1, sliders))))
        places = [dice.randrange(len(axis.positions)) for axis in model.axes]
        factors = [round(dice.uniform(0.0, MOST_FACTOR), 2) for _ in model.curves]
        found.append(
            Setting(
                [place if index in moved else model.axes[index].own for index, place in enumerate(places)],
                [by if len(places) + index in moved else 1.0 for index, by in enumerate(factors)],
            )
        )
    return found
