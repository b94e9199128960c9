"""The pictures of lessons, from the words that ask for them: a kind, a machine, options of the command line."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import msgspec

from hw.errors import InputError
from hw.spelling import check_names
from minikern.lab.compare import choose_variants, run_ladder
from minikern.learn.images import loaded_image
from minikern.learn.trial import Trial, booted
from minikern.report.picture import picture_bytes
from minikern.report.pictures.canvas import LIGHT, Look, look_of
from minikern.report.pictures.handover import draw_image, draw_ladder
from minikern.report.pictures.kinds import KINDS, OF_A_BOOT, OF_A_LADDER

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MANY = ("numa", "numa_distance", "fault")  # options that may be given several times


def read_words(text: str) -> tuple[str, Trial]:
    """``KIND MACHINE [--option value]...`` as the kind and the machine. InputError says what is wrong."""
    kind, machine, *rest = shlex.split(text)
    check_names(f"picture {text}", "picture", [kind], KINDS)
    fields: dict[str, Any] = {"machine": machine}
    for option, value in zip(rest[::2], rest[1::2], strict=True):
        name = option.removeprefix("--").replace("-", "_")
        if name not in Trial.__struct_fields__:
            raise InputError(f"picture {text}: unknown option {option}")
        fields[name] = (*fields.get(name, ()), value) if name in MANY else value
    return kind, msgspec.convert(fields, Trial)


def lesson_figure(text: str, look: Look = LIGHT) -> Figure:
    """Draw what a lesson's words ask for; to be called, and its result saved, inside ``look_of(look)``."""
    kind, trial = read_words(text)
    if kind in OF_A_BOOT:
        return OF_A_BOOT[kind](booted(trial), look)
    if kind == OF_A_LADDER:
        spec = trial.case()
        return draw_ladder(run_ladder(spec, choose_variants(spec, []))[0], look)
    _, image = loaded_image(trial)
    return draw_image(trial.machine, image, look)


def lesson_svg(text: str, look: Look = LIGHT) -> bytes:
    """The same as SVG. InputError: matplotlib is not installed, or there is nothing to draw."""
    with look_of(look):
        from matplotlib import pyplot

        figure = lesson_figure(text, look)
        drawn = picture_bytes(figure, "svg")
        pyplot.close(figure)
    return drawn
