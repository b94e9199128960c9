"""What the commands share for fitting: a machine with its log's own times, and the line that says so."""

from __future__ import annotations

import atexit
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hw.errors import InputError

if TYPE_CHECKING:
    from minikern.describe.case import Case
    from minikern.lab.fit.fitted import FittedMachine

STANDARD_INPUT = "-"
MAX_FITS = 64


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
    """``spec`` with the times its own log or the logs of ``--fit`` tell; as it is where there are none to go by."""
    from minikern.describe.presets import is_log

    if others:
        return _predicted(spec, name, others)
    return spec if no_fit or not is_log(name) else _fitted(spec, name)


def _predicted(spec: Case, name: str, others: tuple[str, ...]) -> Case:
    from minikern.describe.presets import is_log
    from minikern.lab.fit.predict import predict

    if not is_log(name):
        raise InputError(f"--fit: {name}: expected a boot log, whose lines say where the time goes")
    fits = fit_all(others)
    click.echo(f"minikern: all times are from {', '.join(others)}, none from {name}", err=True)
    return predict(name, fits, spec)


def fit_all(names: tuple[str, ...]) -> list[FittedMachine]:
    """One fit a log. InputError: no log, no stamps, or none to be believed."""
    from minikern.describe.presets import is_log, load_machine
    from minikern.lab.fit.calibrate import fit_log

    if len(names) > MAX_FITS:
        raise InputError(f"{len(names)} logs to fit: expected at most {MAX_FITS}")
    for name in names:
        if not is_log(name):
            raise InputError(f"{name}: expected a boot log to fit to")
    return [fit_log(name, load_machine) for name in names]


def _fitted(spec: Case, name: str) -> Case:
    from minikern.lab.fit.calibrate import fit, read_timeline
    from minikern.lab.fit.predict import predict

    try:
        real = read_timeline(name)
        if not real.timed:
            click.echo("minikern: the log has no time stamps: times are those of machines of its kind", err=True)
            return predict(name, [], spec)
        fitted = fit(real, spec)
    except InputError as error:
        click.echo(f"minikern: not fitted (--no-fit leaves the stamps alone): {error}", err=True)
        return spec
    for line in (fitted.summary(), *fitted.notes):
        click.echo(f"minikern: {line}", err=True)
    return fitted.spec
