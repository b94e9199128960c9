"""``minikern.fit()``: unit costs from the time stamps of a machine's own boot logs."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from os import PathLike, fspath

import msgspec

from minikern.api.machines import Machine
from minikern.api.records import Records
from minikern.lab.fit.fitted import FittedMachine
from minikern.lab.fit.timed import fit_together


class FittedCost(msgspec.Struct, frozen=True):
    """A unit cost with its 80 % interval; ``status`` is ``fitted`` where the logs moved it, else ``assumed``."""

    kind: str
    ns: float
    low_ns: float | None
    high_ns: float | None
    status: str
    source: str


class Fit:
    """A machine with its own unit costs: ``machine`` boots like any other, ``costs`` say what each rests on."""

    def __init__(self, fitted: FittedMachine) -> None:
        self.fitted = fitted
        self.summary = fitted.summary()
        self.notes = list(fitted.notes)
        self.machine = Machine(fitted.spec, [self.summary, *self.notes])
        rows = (FittedCost(k, c.ns, c.low, c.high, c.status, c.source) for k, c in sorted(fitted.costs.items()))
        self.costs = Records(FittedCost, rows, f"{fitted.spec.name}: unit costs")

    def __repr__(self) -> str:
        return f"<fit of {self.machine.name}: {self.summary}>"

    def _repr_html_(self) -> str:
        moved = self.costs.where(status="fitted")
        return f"<p>{escape(self.summary)}</p>" + moved._repr_html_()


def fit(logs: str | PathLike[str] | Sequence[str | PathLike[str]]) -> Fit:
    """A machine from one or several of its boot logs: the first describes it, the others sharpen its costs.

    InputError: a name is no boot log, or its lines have no time stamps.

    >>> fit("lpc2023")
    Traceback (most recent call last):
        ...
    hw.errors.InputError: lpc2023: expected a boot log to fit to
    """
    names = [logs] if isinstance(logs, (str, PathLike)) else logs
    return Fit(fit_together([fspath(name) for name in names]))
