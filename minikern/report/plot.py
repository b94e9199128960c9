"""The ladder as a picture: one bar a log line, rungs side by side, as on the talk's slides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hw.errors import InputError
from minikern.lab.compare import PHASES, Ladder, LinePoint, Rung
from minikern.report.picture import write_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = (".svg", ".png", ".pdf")
COLOURS = {
    "early memory": "#4477aa",
    "smp": "#ee6677",
    "deferred": "#66ccee",
    "acpi": "#228833",
    "pci": "#ccbb44",
    "hugepages": "#aa3377",
    "rest": "#999999",
}  # Paul Tol's bright scheme: told apart by colour-blind readers and in print
LABEL_GAP_SHARE = 0.08
SHARED_BAR_MS = 4.0  # lines of one phase that close together share a bar, or 900 PCI lines would hide all others
COLUMNS = 5


def plot_ladder(ladder: Ladder, logs: Mapping[str, Sequence[LinePoint]], path: Path) -> None:
    """Draw every rung's log lines as bars whose height is the line's time; jumps are named.

    InputError: matplotlib is not installed, or the file's ending is none it can write here.
    """
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{path}: cannot plot to {path.suffix or 'that'}: expected .svg, .png or .pdf")
    try:
        import matplotlib
    except ImportError as error:
        raise InputError("plots need matplotlib: pip install 'minikern[plot]'") from error
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "minikern"  # same input, same file
    from matplotlib import pyplot
    from matplotlib.patches import Rectangle

    columns = min(COLUMNS, len(ladder.rungs))
    rows = -(-len(ladder.rungs) // columns)
    figure, grid = pyplot.subplots(
        rows, columns, sharey=True, squeeze=False, figsize=(max(5.0, 3.2 * columns), 1.2 + 3.6 * rows)
    )
    axes = list(grid.flat)
    top = max(rung.total_ms for rung in ladder.rungs)
    for axis, rung in zip(axes, ladder.rungs, strict=False):
        _draw_rung(axis, rung, shared_bars(logs[rung.variant]), top)
    for axis in axes[len(ladder.rungs) :]:
        axis.set_visible(False)
    for row in grid:
        row[0].set_ylabel("simulated ms")
    handles = [Rectangle((0, 0), 1, 1, color=COLOURS[name]) for name in PHASES]
    figure.legend(handles, PHASES, loc="lower center", ncols=len(PHASES), frameon=False)
    figure.suptitle(f"Boot of {ladder.machine}: a bar for each log line, as high as its time stamp")
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    write_picture(figure, path)
    pyplot.close(figure)


def shared_bars(lines: Sequence[LinePoint]) -> list[LinePoint]:
    """The lines to draw: of neighbours in one phase that are close together the first, and the boot's last line."""
    bars: list[LinePoint] = []
    for line in lines:
        if not bars or bars[-1].phase != line.phase or line.ms - bars[-1].ms >= SHARED_BAR_MS:
            bars.append(line)
    return [*bars[:-1], lines[-1]]


def _draw_rung(axis: Axes, rung: Rung, lines: Sequence[LinePoint], top: float) -> None:
    heights = [line.ms for line in lines]
    axis.bar(range(len(lines)), heights, width=1.0, color=[COLOURS[line.phase] for line in lines], linewidth=0)
    axis.set_title(f"{rung.variant}: {rung.total_ms:.0f} ms", fontsize=10, fontweight="bold")
    axis.set_ylim(0, top * 1.15)
    axis.set_xlim(-1, len(lines))
    axis.set_xticks([])
    axis.set_xlabel("log lines", fontsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    for index, jump, text in _jumps(lines, top):
        left = index < len(lines) / 2
        axis.annotate(
            f"+{jump:.0f} ms  {text}",
            (index, heights[index]),
            xytext=(2 if left else -2, 3),
            textcoords="offset points",
            fontsize=6.5,
            ha="left" if left else "right",
            va="bottom",
            bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.6},
        )


def _jumps(lines: Sequence[LinePoint], top: float) -> list[tuple[int, float, str]]:
    # The largest steps from one line to the next, those that would be seen in the picture.
    steps = [(lines[i].ms - lines[i - 1].ms, i) for i in range(1, len(lines))]
    large = sorted((step for step in steps if step[0] > LABEL_GAP_SHARE * top), reverse=True)[:4]
    return [(index, jump, _short(lines[index].text)) for jump, index in sorted(large, key=lambda step: step[1])]


def _short(text: str, width: int = 28) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
