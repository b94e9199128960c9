"""A drawn figure as a file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from minikern.host.output import write_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_picture(figure: Figure, path: Path) -> None:
    """Write ``figure`` in the format of the path's ending, the same bytes for the same figure. InputError: no place."""
    write_file(path, picture_bytes(figure, path.suffix.lower().removeprefix(".")))


def picture_bytes(figure: Figure, kind: str) -> bytes:
    """``figure`` in the format ``kind``, as svg, the same bytes for the same figure."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format=kind, dpi=110, metadata={"Date": None} if kind == "svg" else {})
    return drawn.getvalue()
