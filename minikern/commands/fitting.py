"""What the commands share for fitting: a machine with its log's own times, and the line that says so."""

from __future__ import annotations

import atexit
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from minikern.describe.case import Case

STANDARD_INPUT = "-"


def spooled(name: str) -> str:
    """``name``, or the file that standard input was put into so that it can be read twice."""
    if name != STANDARD_INPUT:
        return name
    folder = Path(tempfile.mkdtemp(prefix="minikern-"))
    atexit.register(shutil.rmtree, folder, True)
    path = folder / "stdin"
    path.write_bytes(sys.stdin.buffer.read())
    return str(path)


def timed_spec(spec: Case, name: str, others: tuple[str, ...], no_fit: bool) -> Case:
    """``spec`` with the times its own log or the logs of ``--fit`` tell, and on stderr where they come from."""
    from minikern.lab.fit.timed import timed

    found = timed(spec, name, others, no_fit)
    for note in found.notes:
        click.echo(f"minikern: {note}", err=True)
    return found.spec
