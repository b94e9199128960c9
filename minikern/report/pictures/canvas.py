"""Figures in a light or a dark look, the same bytes for the same boot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hw.errors import InputError
from minikern.host.output import check_place
from minikern.report.picture import write_picture
from minikern.report.plot import FORMATS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Paul Tol's bright scheme: told apart by colour-blind readers and in print.
BLUE, RED, GREEN, YELLOW, CYAN, PURPLE, GREY = (
    "#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#999999",
)  # fmt: skip
WHEEL = (BLUE, RED, GREEN, YELLOW, CYAN, PURPLE)


class Look(NamedTuple):
    """Colours of paper, ink, thin lines, and of what is there but says nothing."""

    paper: str
    ink: str
    line: str
    pale: str


LIGHT = Look("#ffffff", "#222222", "#bbbbbb", "#e4e8ee")
DARK = Look("#1e2129", "#e2e4e9", "#565c6b", "#383e4b")


def check_picture_path(path: Path) -> None:
    """InputError if no picture can be written to ``path``; said before a boot, not after it."""
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{path}: expected a file ending in {', '.join(FORMATS)}")
    check_place(path)


@contextmanager
def look_of(look: Look) -> Iterator[None]:
    """Figures made inside have this look. InputError: matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError as error:
        raise InputError("pictures need matplotlib: pip install 'minikern[plot]'") from error
    matplotlib.use("Agg")
    settings: dict[Any, Any] = {
        "svg.hashsalt": "minikern",  # same input, same file
        "figure.facecolor": look.paper, "axes.facecolor": look.paper, "savefig.facecolor": look.paper,
        "text.color": look.ink, "axes.labelcolor": look.ink, "axes.edgecolor": look.line,
        "xtick.color": look.ink, "ytick.color": look.ink, "font.size": 9.0, "axes.titlesize": 10.5,
        "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
    }  # fmt: skip
    with matplotlib.rc_context(settings):
        yield


def save(figure: Figure, path: Path) -> None:
    """Write a figure and forget it. InputError: the place cannot be written to."""
    from matplotlib import pyplot

    write_picture(figure, path)
    pyplot.close(figure)


def size_text(size: int) -> str:
    """Bytes in the largest unit of which there is a whole number, or nearly."""
    for unit, name in ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}" if size < 1000 * unit else f"{size // unit} {name}"
    return f"{size} B"
