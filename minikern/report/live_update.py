"""Live updates of one host for its guests: the page that says which way loses least, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence

from minikern.lab.live_update import Figure, LiveUpdate, Moved
from minikern.lab.vms import VmGroup
from minikern.report.json_text import json_text
from minikern.report.tables import Sheet

MIGRATION = "live migration"
Refused = Sequence[tuple[str, str]]
"""Variants that cannot be, and why."""


def _figure(one: Figure) -> str:
    text = f"{one.ms:.0f}"
    return text if one.band is None else f"{text} ({one.band.low_ms:.0f}-{one.band.high_ms:.0f})"


def live_update_sheets(
    machine: str, groups: Sequence[VmGroup], rows: Sequence[LiveUpdate], refused: Refused, moved: Moved
) -> list[Sheet]:
    """Silence, what it is made of, and the answer."""
    told = ", ".join(f"{g.count} x {g.memory} in {g.pages} pages, {g.vcpus} vCPUs, {g.vfio} vfio" for g in groups)
    heads = ["variant", "memory by", "p50", "p99", "worst", "in all", "lost packets"]
    sheet = Sheet(f"{machine}, guests {told}: silence, simulated ms (80 % band)", heads, left=2)
    for row in rows:
        sheet.rows.append([row.variant, row.way, _figure(row.p50), _figure(row.p99), _figure(row.worst),
                           f"{row.total_ms:.0f}", str(row.lost_packets)])  # fmt: skip
    migrated = MIGRATION + ("" if moved.converged else ", does not converge")
    sheet.rows.append([migrated, "network", f"{moved.p50_ms:.0f}", f"{moved.worst_ms:.0f}", f"{moved.worst_ms:.0f}",
                       f"{moved.total_ms:.0f}", str(moved.lost_packets)])  # fmt: skip
    sheet.rows += [[name, "refused", why, "", "", "", ""] for name, why in refused]
    return [sheet, _parts(rows), _answer(rows, moved)]


def _parts(rows: Sequence[LiveUpdate]) -> Sheet:
    names = [*rows[0].host_ms, *rows[0].guest_ms] if rows else []
    heads = ["variant", *names, "preserved pages", "struct pages on one CPU"]
    sheet = Sheet("What the longest silence is made of, simulated ms; counts", heads)
    for row in rows:
        parts = {**row.host_ms, **row.guest_ms}
        sheet.rows.append([row.variant, *(f"{parts[name]:.1f}" for name in names), f"{row.preserved_pages:,}",
                           f"{row.initialised_alone:,}"])  # fmt: skip
    return sheet


def _answer(rows: Sequence[LiveUpdate], moved: Moved) -> Sheet:
    """The ways by packets lost, the fewest first, each with its price."""
    sheet = Sheet("Fewest packets lost first", ["way", "what it costs", "lost packets"], left=2)
    ways = [(row.lost_packets, f"{row.variant}, memory by {row.way}", _price(row)) for row in rows]
    seconds, sent = moved.total_ms / 1e3, moved.network_bytes / 1e9
    ways.append((moved.lost_packets, MIGRATION, f"{moved.price}; {sent:.0f} GB over the network in {seconds:.0f} s"))
    for lost, name, price in sorted(ways):
        sheet.rows.append([name, price, str(lost)])
    return sheet


def _price(row: LiveUpdate) -> str:
    return "; ".join([row.price, *(f"LOST: {what}" for what in row.lost)])


def live_update_json(
    machine: str, groups: Sequence[VmGroup], rows: Sequence[LiveUpdate], refused: Refused, moved: Moved
) -> str:
    """All figures; every time is simulated and in ms."""
    body = {
        "machine": machine,
        "clock": "simulated",
        "vms": groups,
        "ways": rows,
        "refused": [{"variant": name, "why": why} for name, why in refused],
        "migration": moved,
    }
    return json_text(body)
