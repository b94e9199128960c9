"""What a sweep tells a fleet's owner: what each change saves over the machines, where it does not pay, what is unsure.

Two rows are held against each other that differ in one thing only (variant, kernel or words) and share the rest, the
draw of the costs included; the first of its kind in the plan is what the others are held against.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from hw.units import NS_PER_MS

AXES = ("variant", "kernel", "words")
FIXED = ("machine", *AXES, "draw")
NOT_KEYS = ("row", "counts", "doubt_ns", "inputs_sha256", "versions", "error")
NAMED = 10
HOUR_MS = 3_600_000

Key = tuple[object, ...]


class Spread(msgspec.Struct):
    """The distribution of a figure: one in ten lies below ``p10``, one in ten above ``p90``."""

    p10: float
    median: float
    p90: float


class Machine(msgspec.Struct):
    """One machine (with its varied parameters) and a figure of it."""

    name: str
    value: float


class Unsure(msgspec.Struct):
    """One machine on which a change does not save something in nine draws of ten."""

    name: str
    saved_ms: Spread  # over the draws


class Change(msgspec.Struct):
    """What one change saves over the machines of the sweep."""

    axis: str
    name: str
    against: str
    machines: int
    saved_ms: Spread
    share: Spread  # of the time it is held against
    pays: int  # machines where at least nine draws of ten save something
    no_difference: int  # machines where no draw saves or costs anything: they have it, or nothing it works on
    saved_hours_a_year: float | None
    saved_boots_a_year: float | None  # boots that the saved time is as long as
    does_not_pay: list[Unsure]  # least sure first


class Level(msgspec.Struct):
    """All boots of one value of a varied parameter, or of one machine."""

    name: str
    value: str
    rows: int
    ms: Spread


class Summary(msgspec.Struct):
    """A finished sweep in a few figures. Times are simulated ms."""

    rows: int
    failed: int
    machines: int
    metric: str
    changes: list[Change]
    levels: list[Level]
    boots: list[Level]  # of each machine and what it is booted with
    widest: list[Machine]  # width of the 80 % band over the time: whose logs to capture next


class Table:
    """The rows that were booted, by column."""

    def __init__(self, columns: Mapping[str, Sequence[Any]]) -> None:
        booted = [not error for error in columns["error"]]
        self.total = len(booted)
        self.columns = {
            name: [value for value, keep in zip(values, booted, strict=True) if keep]
            for name, values in columns.items()
        }
        self.rows = sum(booted)
        times = [name for name in columns if name.endswith("_ns") and name not in ("doubt_ns", *_BAND)]
        self.metric = "total_ns" if "total_ns" in times else times[0] if times else ""
        self.varied = [name for name in columns if name not in (*FIXED, *NOT_KEYS, *_BAND, *times)]

    def keys(self, names: Iterable[str]) -> list[Key]:
        """One key a row, of the named columns."""
        return list(zip(*(self.columns[name] for name in names), strict=True)) or [()] * self.rows

    def unit(self, row: int) -> str:
        """A machine with its varied parameters, as people read it."""
        varied = " ".join(f"{name}={shown(name, self.columns[name][row])}" for name in self.varied)
        return f"{self.columns['machine'][row]} {varied}".strip()


_BAND = ("total_low_ns", "total_high_ns")


def shown(name: str, value: object) -> str:
    """A varied value as it would be typed: memory in the largest unit that divides it."""
    if name != "memory" or not isinstance(value, int):
        return f"{value:g}" if isinstance(value, float) else str(value)
    for shift, unit in ((40, "T"), (30, "G"), (20, "M")):
        if value >> shift and not value & ((1 << shift) - 1):
            return f"{value >> shift}{unit}"
    return f"{value >> 20}M"


def summarise(columns: Mapping[str, Sequence[Any]], reboots_per_year: float | None = None) -> Summary:
    """The summary of a sweep's rows, given by column; failed rows count as failed and nowhere else."""
    table = Table(columns)
    changes = [change for axis in AXES for change in _changes(table, axis, reboots_per_year)] if table.metric else []
    return Summary(
        rows=table.total,
        failed=table.total - table.rows,
        machines=len(set(columns["machine"])),
        metric=table.metric.removesuffix("_ns").replace("_", " "),
        changes=changes,
        levels=list(_levels(table)) if table.metric else [],
        boots=list(_boots(table)) if table.metric else [],
        widest=_widest(table) if table.metric == "total_ns" else [],
    )


def pairs(table: Table, axis: str) -> dict[tuple[str, str], list[tuple[int, int]]]:
    """Rows that differ in ``axis`` only, as (row of the first value there is, row), by (value, first value)."""
    others = [name for name in ("machine", *AXES, *table.varied, "draw") if name != axis]
    groups: dict[Key, dict[str, int]] = {}
    for row, key in enumerate(table.keys(others)):
        groups.setdefault(key, {}).setdefault(str(table.columns[axis][row]), row)
    paired: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for rows in groups.values():
        (base, first), *rest = rows.items()
        for name, row in rest:
            paired.setdefault((name, base), []).append((first, row))
    return paired


def _changes(table: Table, axis: str, reboots: float | None) -> Iterator[Change]:
    for (name, base), found in pairs(table, axis).items():
        yield _change(table, (axis, name, base), found, reboots)


def savings(table: Table, paired: Iterable[tuple[int, int]]) -> dict[str, list[float]]:
    """Ms that the second row of each pair saves, by machine with its varied parameters."""
    times = table.columns[table.metric]
    saved: dict[str, list[float]] = {}
    for first, row in paired:
        saved.setdefault(table.unit(row), []).append((times[first] - times[row]) / NS_PER_MS)
    return saved


def _change(table: Table, which: tuple[str, str, str], paired: list[tuple[int, int]], reboots: float | None) -> Change:
    times = table.columns[table.metric]
    saved = savings(table, paired)
    before: dict[str, list[float]] = {}
    for first, row in paired:
        before.setdefault(table.unit(row), []).append(times[first] / NS_PER_MS)
    middle = {unit: float(np.median(values)) for unit, values in saved.items()}
    whole = {unit: float(np.median(values)) for unit, values in before.items()}
    differs = {unit: _spread(values) for unit, values in saved.items() if any(values)}
    losers = sorted((spread.p10, unit) for unit, spread in differs.items() if spread.p10 <= 0)
    a_year = sum(middle.values()) * reboots if reboots else None
    mean = float(np.mean(list(whole.values())))
    return Change(
        *which,
        machines=len(middle),
        saved_ms=_spread(list(middle.values())),
        share=_spread([middle[unit] / whole[unit] if whole[unit] else 0.0 for unit in middle]),
        pays=len(differs) - len(losers),
        no_difference=len(middle) - len(differs),
        saved_hours_a_year=None if a_year is None else round(a_year / HOUR_MS, 3),
        saved_boots_a_year=None if a_year is None or not mean else round(a_year / mean, 1),
        does_not_pay=[Unsure(unit, differs[unit]) for _, unit in losers[:NAMED]],
    )


def _spread(values: Sequence[float]) -> Spread:
    low, middle, high = (round(float(value), 4) for value in np.quantile(values, (0.1, 0.5, 0.9)))
    return Spread(low, middle, high)


def _levels(table: Table) -> Iterator[Level]:
    times = table.columns[table.metric]
    for name in table.varied:
        by_value: dict[Any, list[float]] = {}
        for row, value in enumerate(table.columns[name]):
            by_value.setdefault(value, []).append(times[row] / NS_PER_MS)
        if len(by_value) > 1:
            for value, found in by_value.items():
                yield Level(name, shown(name, value), len(found), _spread(found))


def _boots(table: Table) -> Iterator[Level]:
    times = table.columns[table.metric]
    found: dict[tuple[str, str], list[float]] = {}
    for row in range(table.rows):
        booted = " ".join(str(table.columns[axis][row]) for axis in AXES if table.columns[axis][row])
        found.setdefault((table.unit(row), booted), []).append(times[row] / NS_PER_MS)
    for (unit, booted), spent in found.items():
        yield Level(unit, booted, len(spent), _spread(spent))


def _widest(table: Table) -> list[Machine]:
    if any(name not in table.columns for name in _BAND):
        return []
    low, high, total = (table.columns[name] for name in (*_BAND, "total_ns"))
    widths: dict[str, list[float]] = {}
    for row in range(table.rows):
        if low[row] is not None and high[row] is not None and total[row]:
            widths.setdefault(table.columns["machine"][row], []).append((high[row] - low[row]) / total[row])
    found = sorted(((float(np.median(values)), name) for name, values in widths.items()), reverse=True)
    return [Machine(name, round(width, 4)) for width, name in found[:NAMED] if width > 0]
