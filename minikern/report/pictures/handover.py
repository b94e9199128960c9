"""The kexec image before and after relocation, and the ladder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from hw.units import PAGE_SIZE
from minikern.kexec.load import Image
from minikern.lab.compare import PHASES, Ladder
from minikern.report.pictures.canvas import WHEEL, Look, size_text
from minikern.report.plot import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEFT, RIGHT, WIDTH = 0.0, 3.0, 1.0
LABEL_HEIGHT = 0.035  # of the picture
GAP = 0.06  # of the height, between pieces that do not touch


class Move(NamedTuple):
    """Neighbouring pages of a segment that lie together now and will later; bytes."""

    segment: int
    source: int
    destination: int
    size: int


def moves(image: Image) -> Iterator[Move]:
    """Where every run of pages lies and where it belongs."""
    for number, segment in enumerate(image.kimage.segments):
        run: Move | None = None
        for offset in range(0, segment.memsz, PAGE_SIZE):
            destination = segment.mem + offset
            source = image.kimage.source_of(destination)
            if run is not None and source == run.source + run.size:
                run = run._replace(size=run.size + PAGE_SIZE)
            else:
                if run is not None:
                    yield run
                run = Move(number, source, destination, PAGE_SIZE)
        if run is not None:
            yield run


def draw_image(machine: str, image: Image, look: Look) -> Figure:
    """Two columns of memory: where the image's pages lie, where they belong, and what moves."""
    from matplotlib import pyplot
    from matplotlib.patches import Polygon

    found = list(moves(image))
    figure, axis = pyplot.subplots(figsize=(9.5, 6.0))
    now = _column([(move.source, move.size) for move in found])
    later = _column([(move.destination, move.size) for move in found])
    for move in found:
        colour = WHEEL[move.segment % len(WHEEL)]
        low, high = now(move.source), now(move.source + move.size, end=True)
        low_then, high_then = later(move.destination), later(move.destination + move.size, end=True)
        _box(axis, LEFT, low, high, colour, look)
        _box(axis, RIGHT, low_then, high_then, colour, look)
        ribbon = [(LEFT + WIDTH, low), (RIGHT, low_then), (RIGHT, high_then), (LEFT + WIDTH, high)]
        axis.add_patch(Polygon(ribbon, closed=True, facecolor=colour, alpha=0.25, linewidth=0))
    largest = {move.segment: move for move in sorted(found, key=lambda one: one.size)}.values()
    there = {move: (later(move.destination) + later(move.destination + move.size, end=True)) / 2 for move in largest}
    here = {move: (now(move.source) + now(move.source + move.size, end=True)) / 2 for move in largest}
    for move, place in _apart(there).items():
        segment = image.kimage.segments[move.segment]
        told = f"{segment.name}, {size_text(segment.memsz)} at {segment.mem:#x}"
        axis.text(RIGHT + WIDTH + 0.08, place, told, va="center", fontsize=8)
    for move, place in _apart(here).items():
        axis.text(LEFT - 0.08, place, f"{move.source:#x}", va="center", ha="right", fontsize=8, family="monospace")
    pages = sum(move.size for move in found) // PAGE_SIZE
    moved = sum(move.size for move in found if move.source != move.destination) // PAGE_SIZE
    axis.text(LEFT + WIDTH / 2, 1.05, "loaded", ha="center")
    axis.text(RIGHT + WIDTH / 2, 1.05, "relocated", ha="center")
    axis.set_xlim(-1.4, 6.0)
    axis.set_ylim(-0.03, 1.12)
    axis.axis("off")
    axis.set_title(f"{machine}: kexec image, {pages:,} pages in {len(found)} runs, {moved:,} of them move")
    figure.tight_layout()
    return figure


def _apart(places: dict[Move, float]) -> dict[Move, float]:
    # Labels in the same order, and far enough from each other to be read.
    out: dict[Move, float] = {}
    for move, place in sorted(places.items(), key=lambda one: one[1]):
        out[move] = max(place, max(out.values(), default=-1.0) + LABEL_HEIGHT)
    return out


class _Scale:
    """Addresses as heights: pieces at their share of the bytes, a fixed gap wherever they do not touch."""

    def __init__(self, pieces: list[tuple[int, int]]) -> None:
        runs: list[list[int]] = []
        for start, size in sorted(pieces):
            if runs and runs[-1][1] == start:
                runs[-1][1] = start + size
            else:
                runs.append([start, start + size])
        total = sum(end - start for start, end in runs)
        free = 1.0 - GAP * (len(runs) - 1)
        self._runs: list[tuple[int, int, float, float]] = []
        at = 0.0
        least = 0.02
        shares = [max((end - start) / total, least) for start, end in runs]
        for (start, end), share in zip(runs, shares, strict=True):
            height = share / sum(shares) * free
            self._runs.append((start, end, at, height))
            at += height + GAP

    def __call__(self, address: int, end: bool = False) -> float:
        for start, stop, at, height in self._runs:
            if start <= address < stop or (end and address == stop):
                return at + (address - start) / (stop - start) * height
        raise ValueError(f"{address:#x} is in no piece")


def _column(pieces: list[tuple[int, int]]) -> _Scale:
    return _Scale(pieces)


def _box(axis: Axes, left: float, low: float, high: float, colour: str, look: Look) -> None:
    from matplotlib.patches import Rectangle

    axis.add_patch(Rectangle((left, low), WIDTH, high - low, facecolor=colour, edgecolor=look.paper, linewidth=0.5))


def draw_ladder(ladder: Ladder, look: Look) -> Figure:
    """A bar for each rung, cut by phase; what was saved against which rung stands behind."""
    from matplotlib import pyplot
    from matplotlib.patches import Rectangle

    rungs = [rung for rung in ladder.rungs if not rung.failed]
    figure, axis = pyplot.subplots(figsize=(11.0, 1.5 + 0.42 * len(rungs)))
    for at, rung in enumerate(rungs):
        left = 0.0
        for phase in PHASES:
            axis.barh(at, rung.phases[phase], 0.7, left, color=COLOURS[phase], edgecolor=look.paper, linewidth=0.4)
            left += rung.phases[phase]
        saved = "" if rung.saved_ms is None else f"   {-rung.saved_ms:+,.0f} ms against {rung.against}"
        saved = saved.replace("-0 ms against", "no change against")
        axis.text(rung.total_ms, at, f" {rung.total_ms:,.0f}{saved}", va="center", fontsize=8)
    axis.set_yticks(range(len(rungs)), [rung.variant for rung in rungs])
    axis.invert_yaxis()
    axis.set_xlim(0, 1.32 * max(rung.total_ms for rung in rungs))
    axis.set_xlabel(f"simulated ms, {ladder.boundary}")
    axis.grid(axis="x", linewidth=0.4, color=look.line)
    axis.set_axisbelow(True)
    handles = [Rectangle((0, 0), 1, 1, color=COLOURS[name]) for name in PHASES]
    figure.legend(handles, PHASES, loc="lower center", ncols=len(PHASES), fontsize=8)
    axis.set_title(f"{ladder.machine}: the ladder")
    figure.tight_layout(rect=(0, 0.35 / (1.5 + 0.42 * len(rungs)), 1, 1))
    return figure
