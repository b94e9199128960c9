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
    kind = path.suffix.lower().removeprefix(".")
    drawn = io.BytesIO()
    figure.savefig(drawn, format=kind, dpi=110, metadata={"Date": None} if kind == "svg" else {})
    write_file(path, drawn.getvalue())
