"""Do bands mean what they say: of real times that no fit has seen, how many lie in the 80 % bands?

    python -m bench.predict.coverage SAMPLES.json

Two kinds of predictions are asked. A machine's boots are foretold from all other machines (leave one out), and from
another boot of the same machine. Real times are summed by the phase of the emulated line that a stretch ends with. What
spreads would have to be multiplied by is taken from every other machine and tried on the rest.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from math import exp, log
from pathlib import Path

from bench.predict.leave_one_out import hidden_machine
from bench.predict.logs import machine_logs
from bench.predict.samples import read
from hw.errors import InputError
from minikern.describe.case import Case
from minikern.describe.presets import load_machine
from minikern.lab.bands import doubts_of, time_band
from minikern.lab.believed import EIGHTY_PERCENT
from minikern.lab.fit.calibrate import fit_log, metered, read_timeline
from minikern.lab.fit.pool import Sample
from minikern.lab.fit.predict import predict
from minikern.lab.fit.rows import match
from minikern.lab.spent import TOTAL, spent_in

LEAST_NS = 1_000_000  # a phase shorter than that is not asked
SHARE = 0.8


@dataclass(frozen=True)
class Asked:
    """One real time beside its prediction: how far off, and how wide the band, as logarithms."""

    kind: str
    machine: str
    phase: str
    off: float
    half_width: float

    @property
    def inside(self) -> bool:
        """True if the real time lies in the band."""
        return abs(self.off) <= self.half_width


def asked(kind: str, machine: str, path: Path, told: Case) -> Iterator[Asked]:
    """A prediction's phases and total against the log it is of."""
    kernel = metered(told)
    matched, doubts = match(read_timeline(str(path)), kernel), doubts_of(told)
    real: dict[str, float] = {}
    emulated: dict[str, float] = {}
    for row in matched.rows:
        for name in (kernel.log.lines[row.line].phase, TOTAL):
            real[name] = real.get(name, 0.0) + row.real_ns
            emulated[name] = emulated.get(name, 0.0) + row.emulated_ns
    for name, ns in real.items():
        band = time_band(emulated[name], spent_in(kernel, name), doubts)
        if band is not None and min(ns, emulated[name]) >= LEAST_NS:
            yield Asked(kind, machine, name, log(ns / emulated[name]), log(band.high_ms / band.low_ms) / 2)


def all_asked(samples: list[Sample]) -> Iterator[Asked]:
    """Both kinds, over all machines."""
    for machine, paths in machine_logs().items():
        fits = {}
        for path in paths:
            try:
                yield from asked("machine left out", machine, path, hidden_machine(path, samples, machine))
                fits[path] = fit_log(str(path), load_machine) if len(paths) > 1 else None
            except InputError:  # no stamps
                continue
        for one, other in permutations(fits, 2):
            told = predict(str(other), [fit for fit in (fits[one],) if fit], load_machine(str(other)))
            yield from asked("another boot", machine, other, told)


def factor(rows: Sequence[Asked]) -> float:
    """What the bands' widths would have to be multiplied by for four of five to lie in them."""
    needed = sorted(abs(row.off) / max(row.half_width, 1e-9) for row in rows)
    return needed[min(int(SHARE * len(needed)), len(needed) - 1)] if needed else 1.0


def covered(rows: Sequence[Asked], times: float = 1.0) -> str:
    """How many of the real times lie in bands so many times as wide."""
    inside = sum(abs(row.off) <= times * row.half_width for row in rows)
    return f"{inside}/{len(rows)} {inside / max(len(rows), 1):.0%}"


def report(rows: Sequence[Asked]) -> Iterator[str]:
    """Coverage by kind: of all phases, of totals; and what half of the machines teach about the other half."""
    for kind in dict.fromkeys(row.kind for row in rows):
        mine = [row for row in rows if row.kind == kind]
        machines = sorted({row.machine for row in mine})
        taught = [row for row in mine if machines.index(row.machine) % 2 == 0]
        tried = [row for row in mine if machines.index(row.machine) % 2 == 1]
        totals = [row for row in mine if row.phase == TOTAL]
        typical = sorted(row.half_width for row in mine)[len(mine) // 2] / EIGHTY_PERCENT
        yield f"{kind}: phases and totals {covered(mine)}, totals {covered(totals)}, typical spread x{exp(typical):.2f}"
        for name in sorted({row.phase for row in mine}):
            yield f"    {name:14} {covered([row for row in mine if row.phase == name])}"
        times = factor(taught)
        yield f"    half of the machines ask for widths x {times:.2f}; the others: {covered(tried, times)}"


if __name__ == "__main__":
    for line in report(list(all_asked(read(Path(sys.argv[1]))))):
        print(line)
