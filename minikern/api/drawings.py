"""Pictures of a boot, for notebooks and files."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from hw.spelling import check_names
from minikern.host.output import write_file
from minikern.lab.run import Boot
from minikern.report.picture import picture_bytes
from minikern.report.pictures.canvas import DARK, LIGHT, check_picture_path, look_of
from minikern.report.pictures.kinds import OF_A_BOOT

if TYPE_CHECKING:
    from minikern.report.pictures.canvas import Look


class Drawing:
    """A picture that a notebook shows and that can be saved."""

    def __init__(self, kind: str, boot: Boot, look: Look) -> None:
        self.kind = kind
        self._boot = boot
        self._look = look

    def to_bytes(self, form: str = "svg") -> bytes:
        """The picture as svg, png or pdf. InputError: matplotlib is not installed, or there is nothing to draw."""
        with look_of(self._look):
            from matplotlib import pyplot

            figure = OF_A_BOOT[self.kind](self._boot, self._look)
            drawn = picture_bytes(figure, form)
            pyplot.close(figure)
        return drawn

    def save(self, path: str | PathLike[str]) -> Path:
        """Write it; the ending says in which form. InputError: another ending, or no place for it."""
        target = Path(path)
        check_picture_path(target)
        write_file(target, self.to_bytes(target.suffix.lower().removeprefix(".")))
        return target

    def __repr__(self) -> str:
        return f"<picture {self.kind} of {self._boot.spec.name}>"

    def _repr_svg_(self) -> str:
        return self.to_bytes().decode()


def draw(kind: str, boot: Boot, dark: bool = False) -> Drawing:
    """The picture of one kind. InputError: there is no such kind."""
    check_names("picture", "picture", [kind], OF_A_BOOT)
    return Drawing(kind, boot, DARK if dark else LIGHT)
