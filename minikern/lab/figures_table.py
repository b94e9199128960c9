"""Published figures beside emulated ones: what to measure, and how far off it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from hw.errors import InputError
from hw.toml_file import decode_toml
from hw.units import NS_PER_MS
from minikern.core.cost_table import machine_costs
from minikern.lab.run import Boot
from minikern.lab.spent import TOTAL, WAITS, spent_in

CARRIES = 0.1  # of a figure's time: what makes so much of it carries it


class Measure(msgspec.Struct, forbid_unknown_fields=True):
    """How the emulated figure is taken from a boot.

    ``total``: to /init; ``lines``: from the first line that contains ``first`` to the last that contains ``last``;
    ``at``: time of that line; ``printed``: mean of the numbers a line itself prints; ``phase``: time of the boot CPU in
    a phase; ``work``: booked time of kinds of work in a phase.
    """

    kind: Literal["total", "lines", "at", "printed", "phase", "work"]
    first: str = ""
    last: str = ""
    pattern: str = ""
    phase: str = ""
    work: list[str] = []


class Figure(msgspec.Struct, forbid_unknown_fields=True):
    """One published figure in ms with the relative tolerance its publication allows."""

    id: str  # by which costs say that they were made from it
    name: str
    variant: str
    ms: Annotated[float, Meta(gt=0)]
    tolerance: Annotated[float, Meta(gt=0)]
    measure: Measure


class Figures(msgspec.Struct, forbid_unknown_fields=True):
    """All published figures of one source."""

    title: str
    row: list[Figure]


Status = Literal["fitted", "checked", "predicted"]
"""Of a figure: a cost or residue that carries it was made from it; from others of its source; from none of them."""


class Comparison(msgspec.Struct):
    """One published figure beside the emulated one; ``error`` is relative and signed."""

    name: str
    variant: str
    talk_ms: float
    sim_ms: float
    error: float
    tolerance: float
    status: Status = "predicted"

    @property
    def ok(self) -> bool:
        """True if the error is within the tolerance."""
        return abs(self.error) <= self.tolerance


def figure_names() -> list[str]:
    """Names of the sets of published figures, of boots and of downtimes."""
    names = (entry.name for entry in resources.files("minikern.lab").joinpath("figures").iterdir())
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml") and "-downtime" not in name)


def load_figures(name: str) -> Figures:
    """The figures called ``name``; InputError if there are none."""
    if name not in figure_names():
        raise InputError(f"no published figures called {name!r:.80}")
    path = resources.files("minikern.lab").joinpath("figures").joinpath(f"{name}.toml")
    return decode_toml(path.read_bytes(), Figures, f"figures {name}")


def compare_figures(figures: Figures, boots: Mapping[str, Boot]) -> list[Comparison]:
    """Every figure whose variant was booted, in the order of the file."""
    rows = []
    for figure in figures.row:
        boot = boots.get(figure.variant)
        if boot is None:
            continue
        sim_ms = measure(figure.measure, boot) / NS_PER_MS
        error = sim_ms / figure.ms - 1
        rows.append(
            Comparison(
                figure.name, figure.variant, figure.ms, round(sim_ms, 3), round(error, 4), figure.tolerance,
                status(figure, boot),
            )
        )
    return rows


def measure(how: Measure, boot: Boot) -> float:
    """The emulated figure in ns. InputError if the boot did not print the lines it is taken from."""
    if how.kind == "total":
        return boot.total_ns
    if how.kind == "phase":
        return boot.kernel.phase_ns().get(how.phase, 0)
    if how.kind == "work":
        rows = (entry for entry in boot.kernel.ledger.entries() if entry.cpu == 0 and entry.phase == how.phase)
        return sum(entry.total_ns for entry in rows if entry.kind in how.work)
    if how.kind == "printed":
        found = [int(m.group(1)) for line in boot.kernel.log.lines if (m := re.search(how.pattern, line.text))]
        if not found:
            raise InputError(f"{boot.name}: no line matches {how.pattern!r}")
        return NS_PER_MS * sum(found) / len(found)
    last = _time(boot, how.last, -1)
    return last if how.kind == "at" else last - _time(boot, how.first, 0)


def status(figure: Figure, boot: Boot) -> Status:
    """How much a figure proves: by what the costs and the residue that carry it were made from."""
    made_from = [origin for name in carriers(figure.measure, boot) for origin in _origins(boot, name)]
    if figure.id in made_from:
        return "fitted"
    return "checked" if made_from else "predicted"


def carriers(how: Measure, boot: Boot) -> list[str]:
    """Kinds of work, and names of residue, that make a tenth of a figure's time or more."""
    parts: dict[str, float] = {}
    if how.kind == "work":
        parts = _listed(how, boot)
    for phase, share in _phases(how, boot).items():
        spent = spent_in(boot.kernel, phase)
        for name, ns in (*spent.work.items(), *spent.rest.items()):
            parts[name] = parts.get(name, 0.0) + share * ns
    whole = sum(parts.values())
    return sorted(name for name, ns in parts.items() if ns >= CARRIES * whole > 0)


def _listed(how: Measure, boot: Boot) -> dict[str, float]:
    # Waiting is for what others do in that phase.
    rows = [entry for entry in boot.kernel.ledger.entries() if entry.phase == how.phase]
    waits = any(kind in WAITS for kind in how.work)
    parts: dict[str, float] = {}
    for row in rows:
        if (row.kind in how.work and row.kind not in WAITS) or (waits and row.cpu and row.modelled):
            parts[row.kind] = parts.get(row.kind, 0.0) + row.total_ns
    return parts


def _phases(how: Measure, boot: Boot) -> dict[str, float]:
    """The phases a figure's time lies in, and how much of each."""
    if how.kind in ("total", "phase", "work"):
        return {"total": {TOTAL: 1.0}, "phase": {how.phase: 1.0}}.get(how.kind, {})
    if how.kind == "printed":
        return {line.phase: 1.0 for line in boot.kernel.log.lines if re.search(how.pattern, line.text)}
    end = _time(boot, how.last, -1)
    begin = 0 if how.kind == "at" else _time(boot, how.first, 0)
    zero, whole = boot.kernel.log.clock_zero_ns or 0, boot.kernel.phase_ns()
    inside: dict[str, float] = {}
    for name, start, stop in boot.kernel.phase_stretches():
        both = min(stop - zero, end) - max(start - zero, begin)
        if both > 0:
            inside[name] = inside.get(name, 0.0) + both / whole[name]
    return inside


def _origins(boot: Boot, name: str) -> list[str]:
    cost = machine_costs(boot.spec.name, boot.spec.costs).get(name)
    residue = [origin for item in boot.spec.residue if item.name == name for origin in item.fitted_on]
    return [*(cost.fitted_on if cost else []), *residue]


def _time(boot: Boot, needle: str, which: int) -> int:
    times = [line.ts_ns for line in boot.kernel.log.lines if needle in line.text]
    if not times:
        raise InputError(f"{boot.name}: no line contains {needle!r}")
    return times[which]
