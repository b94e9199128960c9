"""A machine with the times its own log, or logs of other boots of it, tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hw.errors import InputError
from minikern.describe.case import Case
from minikern.describe.presets import is_log, load_machine
from minikern.lab.fit.calibrate import fit, fit_log, read_timeline
from minikern.lab.fit.combine import combine
from minikern.lab.fit.corrected import settled
from minikern.lab.fit.fitted import FittedMachine
from minikern.lab.fit.measured_total import told_apart, with_total
from minikern.lab.fit.predict import predict

MAX_FITS = 64


class Timed(NamedTuple):
    """A machine, and what a user should know of where its times come from, a line each."""

    spec: Case
    notes: list[str]


def timed(spec: Case, name: str, others: Sequence[str] = (), no_fit: bool = False) -> Timed:
    """``spec`` with the times that the log ``name`` it was read from, or the logs ``others``, tell.

    As it is where there are none to go by. InputError: ``others`` without a log whose lines say where time goes, or
    none to be believed.
    """
    if others:
        if not is_log(name):
            raise InputError(f"--fit: {name}: expected a boot log, whose lines say where the time goes")
        fits = fit_all(others)
        return Timed(predict(name, fits, spec), [f"all times are from {', '.join(others)}, none from {name}"])
    if no_fit:
        return Timed(spec, [])
    return _by_own_log(spec, name) if is_log(name) else _by_total(Timed(spec, []))


def fit_all(names: Sequence[str]) -> list[FittedMachine]:
    """One fit a log. InputError: no log, no stamps, or none to be believed."""
    if len(names) > MAX_FITS:
        raise InputError(f"{len(names)} logs to fit: expected at most {MAX_FITS}")
    for name in names:
        if not is_log(name):
            raise InputError(f"{name}: expected a boot log to fit to")
    return [fit_log(name, load_machine) for name in names]


def fit_together(names: Sequence[str]) -> FittedMachine:
    """The machine of the first log, with costs that rest on all; its boot takes as long as that log's did."""
    return settled(combine(fit_all(names)))


def _by_own_log(spec: Case, name: str) -> Timed:
    try:
        real = read_timeline(name)
        if not real.timed:
            notes = [*real.notes, "the log has no time stamps: times are those of machines of its kind"]
            return _by_total(Timed(predict(name, [], spec), notes))
        fitted = settled(fit(real, spec))
    except InputError as error:
        return Timed(spec, [f"not fitted (--no-fit leaves the stamps alone): {error}"])
    apart = told_apart(spec.startup, fitted.real_total_ns) if spec.startup is not None else []
    return Timed(fitted.spec, [fitted.summary(), *fitted.notes, *apart])


def _by_total(found: Timed) -> Timed:
    """With the total that systemd measured, where it did."""
    if found.spec.startup is None:
        return found
    spec, note = with_total(found.spec, found.spec.startup)
    return Timed(spec, [*found.notes, note])
