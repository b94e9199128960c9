"""The ladder as a picture: one bar a log line, rungs side by side, as on the talk's slides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from hw.errors import InputError
from minikern.lab.compare import PHASES, Ladder, LinePoint, Rung
from minikern.report.output import write_file

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

    count = len(ladder.rungs)
    figure, axes = pyplot.subplots(1, count, sharey=True, squeeze=False, figsize=(max(6.0, 3.4 * count), 6.5))
    top = max(rung.total_ms for rung in ladder.rungs)
    for axis, rung in zip(axes[0], ladder.rungs, strict=True):
        _draw_rung(axis, rung, logs[rung.variant], top)
    axes[0][0].set_ylabel("simulated ms since the first log line")
    handles = [Rectangle((0, 0), 1, 1, color=COLOURS[name]) for name in PHASES]
    figure.legend(handles, PHASES, loc="lower center", ncols=len(PHASES), frameon=False, title="one bar a log line")
    figure.suptitle(f"Boot of {ladder.machine}")
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    metadata = {"Date": None} if path.suffix.lower() == ".svg" else {}
    write_file(path, lambda draft: figure.savefig(draft, dpi=110, metadata=metadata))
    pyplot.close(figure)


def _draw_rung(axis: object, rung: Rung, lines: Sequence[LinePoint], top: float) -> None:
    from matplotlib.axes import Axes

    assert isinstance(axis, Axes)
    heights = [line.ms for line in lines]
    axis.bar(range(len(lines)), heights, width=1.0, color=[COLOURS[line.phase] for line in lines], linewidth=0)
    axis.set_title(f"{rung.variant}\n{rung.total_ms:.0f} ms", fontsize=10)
    axis.set_ylim(0, top * 1.12)
    axis.set_xlim(-2, len(lines) + 2)
    axis.set_xticks([])
    axis.set_xlabel("log lines", fontsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.axhline(rung.total_ms, color="black", linewidth=0.6, linestyle=":")
    for index, jump, text in _jumps(lines, top):
        axis.annotate(
            f"+{jump:.0f} ms\n{text}",
            (index, heights[index]),
            xytext=(-4, 6),
            textcoords="offset points",
            fontsize=6.5,
            ha="right" if index > len(lines) / 2 else "left",
            va="bottom",
        )


def _jumps(lines: Sequence[LinePoint], top: float) -> list[tuple[int, float, str]]:
    # The largest steps from one line to the next, those that would be seen in the picture.
    steps = [(lines[i].ms - lines[i - 1].ms, i) for i in range(1, len(lines))]
    large = sorted((step for step in steps if step[0] > LABEL_GAP_SHARE * top), reverse=True)[:4]
    return [(index, jump, _short(lines[index].text)) for jump, index in sorted(large, key=lambda step: step[1])]


def _short(text: str, width: int = 28) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
