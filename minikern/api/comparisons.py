"""``minikern.compare()``: a machine under several variants, and what pays."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from os import PathLike, fspath
from typing import Any

import msgspec

from minikern.api.machines import MachineLike, machine
from minikern.api.records import Records, html_table
from minikern.lab.compare import PHASES, Ladder, LinePoint, Rung, choose_variants, ladder_of
from minikern.lab.verdict import Payoff


class RungRow(msgspec.Struct, frozen=True):
    """One boot of the ladder; all times are simulated ms, ``None`` where nothing can be said."""

    variant: str
    total_ms: float | None
    low_ms: float | None
    high_ms: float | None
    against: str
    saved_ms: float | None
    early_memory_ms: float | None
    smp_ms: float | None
    deferred_ms: float | None
    acpi_ms: float | None
    pci_ms: float | None
    hugepages_ms: float | None
    rest_ms: float | None
    residue_ms: float | None
    failed: str


class Comparison:
    """A finished ladder: ``rungs``, the ``verdict`` in a sentence, what pays in ``payoffs``."""

    def __init__(self, ladder: Ladder, logs: dict[str, list[LinePoint]]) -> None:
        self.ladder = ladder
        self.logs = logs
        self.verdict = ladder.verdict
        self.rungs = Records(RungRow, map(_row, ladder.rungs), f"{ladder.machine}: simulated ms, {ladder.boundary}")
        self.payoffs: Records[Payoff] = Records(Payoff, ladder.payoffs, "What pays")

    def to_frame(self, library: str = "") -> Any:
        """The rungs as a frame, as :meth:`Records.to_frame` makes it."""
        return self.rungs.to_frame(library)

    def __repr__(self) -> str:
        totals = ", ".join(f"{rung.variant} {rung.total_ms:.1f}" for rung in self.rungs if rung.total_ms is not None)
        return f"<{self.ladder.machine}, simulated ms: {totals}>"

    def _repr_html_(self) -> str:
        heads = ("variant", "total ms", *PHASES, "saved ms", "against")
        rows = [
            (rung.variant, rung.total_ms, *(rung.phases[name] for name in PHASES), rung.saved_ms, rung.against)
            for rung in self.ladder.rungs
            if not rung.failed
        ]
        verdict = f"<p>{escape(self.verdict)}</p>" if self.verdict else ""
        return html_table(heads, rows, self.rungs.title) + verdict


def _row(rung: Rung) -> RungRow:
    def told(value: float) -> float | None:
        return None if rung.failed else value

    band, phases = rung.band, rung.phases
    return RungRow(
        variant=rung.variant,
        total_ms=told(rung.total_ms),
        low_ms=band.low_ms if band else None,
        high_ms=band.high_ms if band else None,
        against=rung.against,
        saved_ms=rung.saved_ms,
        early_memory_ms=told(phases["early memory"]),
        smp_ms=told(phases["smp"]),
        deferred_ms=told(phases["deferred"]),
        acpi_ms=told(phases["acpi"]),
        pci_ms=told(phases["pci"]),
        hugepages_ms=told(phases["hugepages"]),
        rest_ms=told(phases["rest"]),
        residue_ms=told(rung.residue_ms),
        failed=rung.failed,
    )


def compare(
    on: MachineLike = "lpc2023",
    *,
    variants: Sequence[str | PathLike[str]] = (),
    append: str = "",
    kernel: str = "",
    cpus: str | int = "",
    memory: str = "",
    numa: Sequence[str] = (),
    fit: bool = True,
) -> Comparison:
    """Boot a machine under several variants: those given, else the ladder; for a log what its own boot lacks.

    InputError: a machine, variant or kernel is not there. MachineStopped: none of the boots comes to an end.

    >>> found = compare("tiny", variants=["baseline", "deferred"])
    >>> [rung.variant for rung in found.rungs]
    ['baseline', 'deferred']
    >>> found.rungs[1].saved_ms == round(found.rungs[0].total_ms - found.rungs[1].total_ms, 3)
    True
    """
    spec = machine(on, cpus=cpus, memory=memory, numa=numa, fit=fit).spec
    chosen = choose_variants(spec, [fspath(name) for name in variants])
    return Comparison(*ladder_of(spec, chosen, bool(variants), kernel, append))
