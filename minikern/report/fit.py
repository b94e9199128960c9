"""A fit as tables and as JSON: costs with their intervals, what stayed assumed, what nothing explains."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from minikern.core.costs import Residue
from minikern.lab.fit.fitted import FittedMachine
from minikern.report.json_text import json_text
from minikern.report.startup import startup_sheets
from minikern.report.tables import Sheet

LARGEST = 20  # pieces of unexplained time shown


def fit_sheets(fitted: FittedMachine, explain: bool) -> list[Sheet]:
    """The costs the log moved, then the largest unexplained pieces; with ``explain`` all costs and sources."""
    return [_costs(fitted, explain), _rest(fitted, None if explain else LARGEST), *startup_sheets(fitted.spec.startup)]


def _costs(fitted: FittedMachine, explain: bool) -> Sheet:
    rows: list[Sequence[str]] = []
    for kind, cost in sorted(fitted.costs.items()):
        if explain or cost.status == "fitted":
            interval = f"{cost.low:.4g} to {cost.high:.4g}"
            rows.append([kind, f"{cost.ns:.4g}", interval, cost.status, *([cost.source] if explain else [])])
    header = ["kind of work", "ns", "80 %", "status", *(["source"] if explain else [])]
    return Sheet(fitted.summary(), header, rows=rows)


def largest(residue: Sequence[Residue], count: int | None) -> list[tuple[str, float]]:
    """Unexplained time by name, ms, largest first."""
    sums: dict[str, float] = {}
    for item in residue:
        sums[item.name] = sums.get(item.name, 0.0) + item.ms
    return sorted(sums.items(), key=lambda item: -item[1])[:count]


def _rest(fitted: FittedMachine, count: int | None) -> Sheet:
    rows: list[Sequence[str]] = [[name, f"{ms:.1f}"] for name, ms in largest(fitted.residue, count) if ms >= 0.05]
    return Sheet("what no counted work explains, by the line it ends with", ["line", "ms"], rows=rows)


def fit_json(fitted: FittedMachine) -> str:
    """Costs, unexplained time and totals as JSON; times say their unit."""
    body = {
        "machine": fitted.spec.name,
        "real_total_ns": fitted.real_total_ns,
        "explained_ns": round(fitted.explained_ns),
        "serial_byte_ns": round(fitted.byte_ns, 1),
        "costs": {kind: msgspec.to_builtins(cost) for kind, cost in sorted(fitted.costs.items())},
        "residue_ms": [{"name": name, "ms": round(ms, 6)} for name, ms in largest(fitted.residue, None)],
        "startup_ms": dict(fitted.spec.startup.parts()) if fitted.spec.startup is not None else {},
        "notes": fitted.notes,
    }
    return json_text(body)
