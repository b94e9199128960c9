"""Pictures of a sweep: saving against size, how savings add up over a fleet, what the uncertainty comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hw.errors import InputError
from hw.units import NS_PER_MS
from minikern.host.output import new_folder
from minikern.lab.sweep.summary import Table, pairs, savings, shown
from minikern.report.picture import write_picture

WIDTH, HEIGHT = 8, 4.5
TORNADO = 12  # kinds of work in the picture of the uncertainty
LARGE_STEP = 8  # a parameter that grows by more than this is drawn on a logarithmic axis
Columns = Mapping[str, Sequence[Any]]


def plot_sweep(columns: Columns, folder: Path) -> list[Path]:
    """Draw what the rows allow into a new ``folder``; returns the files. InputError: nothing to draw, no matplotlib."""
    try:
        import matplotlib
    except ImportError as error:
        raise InputError("--plot needs matplotlib: pip install 'minikern[plot]'") from error
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "minikern"  # same input, same file
    table = Table(columns)
    pictures = {"size": _size(table), "fleet": _fleet(table), "tornado": _tornado(table)}
    drawn = {name: figure for name, figure in pictures.items() if figure is not None}
    if not drawn:
        raise InputError("--plot: nothing to draw: expected a parameter, a change or unsure costs that vary")
    with new_folder(folder) as draft:
        for name, figure in drawn.items():
            write_picture(figure, draft / f"{name}.svg")
    return [folder / f"{name}.svg" for name in drawn]


def _axes(title: str, across: str, up: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    axes = figure.subplots()
    axes.set(title=title, xlabel=across, ylabel=up)
    axes.grid(alpha=0.3)
    return figure, axes


def _size(table: Table) -> Any:
    """Time against the first varied number, a line for each variant; a band where draws or other parameters spread."""
    numbers = [name for name in table.varied if all(isinstance(one, int | float) for one in table.columns[name])]
    numbers = [name for name in numbers if len(set(table.columns[name])) > 1]
    if not numbers or not table.metric:
        return None
    name, times = numbers[0], table.columns[table.metric]
    what = table.metric.removesuffix("_ns").replace("_", " ")
    figure, axes = _axes(f"{what} by {name}", name, "simulated ms")
    for variant in dict.fromkeys(table.columns["variant"]):
        found: dict[float, list[float]] = {}
        for row in range(table.rows):
            if table.columns["variant"][row] == variant:
                found.setdefault(table.columns[name][row], []).append(times[row] / NS_PER_MS)
        sizes = sorted(found)
        low, middle, high = (np.array([np.quantile(found[size], q) for size in sizes]) for q in (0.1, 0.5, 0.9))
        (line,) = axes.plot(sizes, middle, marker="o", label=variant)
        axes.fill_between(sizes, low, high, alpha=0.15, color=line.get_color())
    values = sorted(set(table.columns[name]))
    if values[0] > 0 and values[-1] > LARGE_STEP * values[0]:
        axes.set_xscale("log", base=2)
    if len(values) <= 2 * TORNADO:
        axes.set_xticks(values, [shown(name, value) for value in values], rotation=30)
        axes.set_xticks([], minor=True)
    axes.set_ylim(bottom=0)
    axes.legend()
    return figure


def _fleet(table: Table) -> Any:
    """For each change, machines in the order of their saving, and how the saving adds up."""
    paired = pairs(table, "variant") if table.metric else {}
    if not paired:
        return None
    figure, axes = _axes("saving over the fleet, largest first", "machines", "saved so far, simulated ms a boot")
    for (variant, _), rows in paired.items():
        values = sorted((float(np.median(saved)) for saved in savings(table, rows).values()), reverse=True)
        axes.plot(range(len(values) + 1), np.concatenate([[0.0], np.cumsum(values)]), marker=".", label=variant)
    axes.legend()
    return figure


def _tornado(table: Table) -> Any:
    """The kinds of work that make the totals unsure, by the median half-width they contribute."""
    doubts: dict[str, list[float]] = {}
    for text in table.columns.get("doubt_ns", []):
        for kind, ns in json.loads(text or "{}").items():
            doubts.setdefault(kind, []).append(ns / NS_PER_MS)
    widths = {kind: float(np.sum(values)) / max(table.rows, 1) for kind, values in doubts.items()}
    largest = sorted(widths.items(), key=lambda item: item[1])[-TORNADO:]
    if not largest:
        return None
    figure, axes = _axes("what the uncertainty comes from", "half-width of the 80 % band, simulated ms", "")
    names, values = zip(*largest, strict=True)
    axes.barh([name[:40] for name in names], values)
    axes.barh([name[:40] for name in names], [-value for value in values], color="C0")
    return figure
