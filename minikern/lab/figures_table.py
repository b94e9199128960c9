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
from minikern.lab.run import Boot

NS_PER_MS = 1_000_000


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

    name: str
    variant: str
    ms: Annotated[float, Meta(gt=0)]
    tolerance: Annotated[float, Meta(gt=0)]
    measure: Measure


class Figures(msgspec.Struct, forbid_unknown_fields=True):
    """All published figures of one source."""

    title: str
    row: list[Figure]


class Comparison(msgspec.Struct):
    """One published figure beside the emulated one; ``error`` is relative and signed."""

    name: str
    variant: str
    talk_ms: float
    sim_ms: float
    error: float
    tolerance: float

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
    path = resources.files("minikern.lab").joinpath("figures").joinpath(f"{name}.toml")
    if not path.is_file():
        raise InputError(f"no published figures called {name!r}")
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
            Comparison(figure.name, figure.variant, figure.ms, round(sim_ms, 3), round(error, 4), figure.tolerance)
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


def _time(boot: Boot, needle: str, which: int) -> int:
    times = [line.ts_ns for line in boot.kernel.log.lines if needle in line.text]
    if not times:
        raise InputError(f"{boot.name}: no line contains {needle!r}")
    return times[which]
