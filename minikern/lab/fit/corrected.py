"""A second look: the fitted machine's boot is held against the log once more, and its named residue set right.

Some counted work answers to the clock: a CPU that polls, a calibration that waits for a tick, CPUs that wait for each
other. With fitted costs it takes another time than the sum that was solved for. What is missing before a line passes
there too; what is too much is taken off the unexplained time before it, and before the lines after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import msgspec

from minikern.core.costs import Residue
from minikern.core.pacing import Place
from minikern.lab.bands import SAME_BOOT
from minikern.lab.fit.calibrate import metered
from minikern.lab.fit.fitted import FittedMachine
from minikern.lab.fit.rows import Matched, match
from minikern.lab.fit.unexplained import NAME_LENGTH, line_places

LEAST_NS = 10_000  # a smaller difference is no difference
ROUNDS, ENOUGH = 2, 0.0002  # second looks at most; of the total, a line's lateness that needs no other


def settled(fitted: FittedMachine, kernel: str = "") -> FittedMachine:
    """``fitted`` with residue by which its boot's lines come when the log's did, as far as counted work allows."""
    real, source = fitted.matched.timeline, f"stamps of {Path(fitted.matched.timeline.where).name}"
    residue, spec = fitted.residue, fitted.spec
    others = spec.residue[: len(spec.residue) - len(residue)]
    for _ in range(ROUNDS):
        again = match(real, metered(spec, kernel))
        if _largest_gap_ns(again) <= ENOUGH * fitted.real_total_ns:
            break
        residue = _corrected(again, residue, source)
        spec = msgspec.structs.replace(spec, residue=[*others, *residue])
    return replace(fitted, spec=spec, residue=residue)


def _largest_gap_ns(matched: Matched) -> int:
    return max((abs(ns) for ns in accumulate(row.real_ns - row.emulated_ns for row in matched.rows)), default=0)


def _corrected(matched: Matched, residue: Sequence[Residue], source: str) -> list[Residue]:
    places = line_places(matched)
    lines = {place: line for line, place in places.items()}
    groups = _grouped(residue)
    owed = 0
    for row in matched.rows:
        owed += row.real_ns - row.emulated_ns
        if abs(owed) < LEAST_NS or row.line <= matched.kernel.log.first_timed:
            continue  # what passes before the emulated clock runs is not seen
        place = places[row.line]
        group = next((group for group in groups if group[0] == place), None)
        if group is None and owed > 0:
            behind = (index for index, (other, _) in enumerate(groups) if lines.get(other, -1) > row.line)
            group = place, []
            groups.insert(next(behind, len(groups)), group)
        if group is not None:
            owed = _settle(group[1], owed, _new(matched, row.last, place, source))
    return [item for _, items in groups for item in items]


def _grouped(residue: Sequence[Residue]) -> list[tuple[Place, list[Residue]]]:
    """Items that stand before one line, line after line."""
    groups: list[tuple[Place, list[Residue]]] = []
    for item in residue:
        place = Place(item.before, item.nth)
        if not groups or groups[-1][0] != place:
            groups.append((place, []))
        groups[-1][1].append(item)
    return groups


def _new(matched: Matched, last: int, place: Place, source: str) -> Residue:
    name = matched.timeline.steps[last].text[:NAME_LENGTH]
    return Residue(name, "", 0.0, source, before=place.mask, nth=place.nth, spread=SAME_BOOT)


def _settle(items: list[Residue], owed_ns: int, new: Residue) -> int:
    """Add to the largest item of a line, or take off its items; what could not be taken is still owed."""
    if owed_ns > 0:
        if all(item.serial_baud for item in items):
            items.append(new)
        index = max(range(len(items)), key=lambda at: (not items[at].serial_baud, items[at].ms))
        items[index] = msgspec.structs.replace(items[index], ms=round(items[index].ms + owed_ns / 1e6, 6))
        return 0
    for index, item in enumerate(items):
        taken = min(item.ms, -owed_ns / 1e6)
        items[index] = msgspec.structs.replace(item, ms=round(item.ms - taken, 6))
        owed_ns += round(taken * 1e6)
    return owed_ns
