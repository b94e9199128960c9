"""Downtime of guests as a picture: one bar a variant, made of its parts; live migration below."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hw.errors import InputError
from minikern.lab.downtime import PARTS, Downtime, Migration
from minikern.report.lanes import check_plot_path
from minikern.report.picture import write_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {
    "pause": "#dddddd",
    "snapshot": "#bbbbbb",
    "shutdown": "#ee6677",
    "relocation": "#aa3377",
    "purgatory": "#ccbb44",
    "decompression": "#228833",
    "boot": "#4477aa",
    "vmm start": "#66ccee",
    "restore": "#999999",
    "resume": "#555555",
    "waiting": "#f4e9d8",
}  # Paul Tol's bright scheme; greys for what is done to the guests themselves
LABEL_SHARE = 0.035  # of the widest bar: narrower parts have no room for their figure
SEEN_SHARE = 0.002  # parts narrower than that are no line in the legend
MIGRATION = "live migration"


def bar_parts(row: Downtime) -> dict[str, float]:
    """The parts of one variant's bar in ms, in order; what the silence is longer than their sum is waiting."""
    parts = {name: row.parts_ms[name] for name in PARTS}
    return {**parts, "waiting": max(0.0, row.p50_ms - sum(parts.values()))}


def plot_downtime(machine: str, rows: Sequence[Downtime], moved: Migration, path: Path) -> None:
    """Draw the variants under each other. InputError: no matplotlib, or an ending it cannot write."""
    check_plot_path(path)
    try:
        import matplotlib
    except ImportError as error:
        raise InputError("plots need matplotlib: pip install 'minikern[plot]'") from error
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "minikern"  # same input, same file
    from matplotlib import pyplot
    from matplotlib.patches import Rectangle

    names = [*(row.variant for row in rows), MIGRATION]
    figure, axis = pyplot.subplots(figsize=(11.0, 2.4 + 0.42 * len(names)))
    widest = max([row.p50_ms for row in rows] + [moved.downtime_ms])
    for at, row in enumerate(rows):
        _draw_bar(axis, at, row, widest)
    note = f" {moved.downtime_ms:.0f} ms, on a second host" + ("" if moved.converged else "; did not converge")
    axis.barh(
        len(rows), moved.downtime_ms, height=0.72, color="white", edgecolor="#555555", hatch="////", linewidth=0.6
    )
    axis.text(moved.downtime_ms, len(rows), note, va="center", fontsize=8)
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.set_xlim(0, widest * 1.14)
    axis.set_xlabel("longest silence of a guest, median over guests, simulated ms")
    axis.spines[["top", "right"]].set_visible(False)
    used = [name for name in COLOURS if any(bar_parts(row)[name] > SEEN_SHARE * widest for row in rows)]
    handles = [Rectangle((0, 0), 1, 1, color=COLOURS[name]) for name in used]
    figure.legend(handles, used, loc="lower center", ncols=max(1, len(used)), frameon=False, fontsize=8)
    figure.suptitle(f"Update of the host's kernel under its guests, {machine}")
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    write_picture(figure, path)
    pyplot.close(figure)


def _draw_bar(axis: Axes, at: int, row: Downtime, widest: float) -> None:
    left = 0.0
    for name, width in bar_parts(row).items():
        if not width:
            continue
        axis.barh(at, width, left=left, height=0.72, color=COLOURS[name], linewidth=0)
        if width > LABEL_SHARE * widest:
            colour = "white" if name in ("boot", "relocation", "decompression", "resume") else "black"
            axis.text(left + width / 2, at, f"{width:.0f}", ha="center", va="center", fontsize=7, color=colour)
        left += width
    axis.text(left, at, f" {row.p50_ms:.0f} ms", va="center", fontsize=8, fontweight="bold")
