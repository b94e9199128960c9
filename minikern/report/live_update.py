"""Live updates of one host for its guests: the page that says which way loses least, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from minikern.lab.guest_costs import Figure, GuestCosts
from minikern.lab.live_update import LiveUpdate
from minikern.lab.migration import Moved
from minikern.lab.vms import VmGroup
from minikern.report.downtime import Refused, refused_json, what_cannot_be
from minikern.report.json_text import json_text
from minikern.report.tables import Sheet

MIGRATION = "live migration"
MEMORY_BY = {"kho": "handed over (kho)", "dax": "on a DAX range", "file": "over a disk"}


def _figure(one: Figure, digits: int = 0) -> str:
    text = f"{one.ms:.{digits}f}"
    return text if one.band is None else f"{text} {one.band.told(digits)}"


class Page(NamedTuple):
    """What was found out for one host and its guests."""

    machine: str
    groups: Sequence[VmGroup]
    rows: Sequence[LiveUpdate]
    refused: Refused
    moved: Moved
    costs: Sequence[GuestCosts]


def live_update_sheets(page: Page) -> list[Sheet]:
    """The answer first, then silence, what it is made of, and what each kind of guest is."""
    rows, moved, costs = page.rows, page.moved, page.costs
    sheets = [_answer(page), _ways(rows, moved), _silence(rows, moved), _groups(rows, costs), _parts(rows),
              _guests(costs), _iommu(costs)]  # fmt: skip
    return [sheet for sheet in (*sheets, *what_cannot_be(page.refused)) if sheet.rows]


def answers(rows: Sequence[LiveUpdate], moved: Moved) -> dict[str, str]:
    """Which way loses fewest packets: on this host alone, with kernels there are and then with patches, or with two."""
    ordered = sorted(rows, key=lambda row: (row.lost_packets, row.variant))
    now = next((row for row in ordered if row.released), None)
    found = {}
    if now is not None:
        found["on this host alone"] = _best(now)
    if ordered[0] is not now:
        found["with patches that no release has"] = _best(ordered[0])
    return {**found, "with a second host": _moved(now or ordered[0], moved)}


def _best(row: LiveUpdate) -> str:
    return (
        f"{row.variant}, guest memory {MEMORY_BY[row.way]}: {row.lost_packets:,} packets lost, {_figure(row.p50)} ms of"
        f" silence a guest; it costs {_price(row)}; it needs {row.requires or 'nothing else'}"
    )


def _moved(best: LiveUpdate, moved: Moved) -> str:
    if not moved.converged:
        return f"live migration does not end: a guest writes faster than the link carries; {_fare(moved)}"
    change = f"{best.lost_packets / moved.lost_packets:.0f} times fewer" if moved.lost_packets else "none"
    if moved.lost_packets >= best.lost_packets:
        change = "no fewer"
    return (
        f"live migration: {moved.lost_packets:,} packets lost ({change}), {moved.p50_ms:.0f} ms of silence a guest;"
        f" it costs {_fare(moved)}"
    )


def _answer(page: Page) -> Sheet:
    told = ", ".join(f"{group.count} x {group.memory}" for group in page.groups)
    title = f"{page.machine}, guests {told}: which way loses fewest packets, and what it costs"
    found = answers(page.rows, page.moved)
    return Sheet(title, ["", ""], left=2, rows=[[where, sentence] for where, sentence in found.items()])


def _ways(rows: Sequence[LiveUpdate], moved: Moved) -> Sheet:
    """The ways by packets lost, the fewest first, each with its price."""
    heads = ["way", "guest memory", "packets lost", "silence, p50", "it costs", "it needs"]
    sheet = Sheet("All ways, fewest packets lost first; simulated ms (80 % band)", heads, left=6)
    ways = [(row.lost_packets, [row.variant, MEMORY_BY[row.way], f"{row.lost_packets:,}", _figure(row.p50),
                                _price(row), row.requires]) for row in rows]  # fmt: skip
    ways.append((moved.lost_packets, [MIGRATION, "network", f"{moved.lost_packets:,}", f"{moved.p50_ms:.0f}",
                                      _fare(moved), moved.price]))  # fmt: skip
    sheet.rows += [way for _, way in sorted(ways, key=lambda way: (way[0], way[1][0]))]
    return sheet


def _fare(moved: Moved) -> str:
    sent, seconds = moved.network_bytes / 1e9, moved.total_ms / 1e3
    fare = f"{sent:.{0 if sent > 9 else 1}f} GB over the network in {seconds:.{0 if seconds > 9 else 1}f} s"
    if moved.passed_through:
        fare += f"; passed-through devices (guests: {moved.passed_through}) need drivers that can move them"
    return fare if moved.converged else f"{fare}; DOES NOT CONVERGE: stopped after many rounds"


def _price(row: LiveUpdate) -> str:
    return "; ".join([row.price, *(f"LOST: {what}" for what in row.lost)])


def _silence(rows: Sequence[LiveUpdate], moved: Moved) -> Sheet:
    heads = ["variant", "guest memory", "p50", "p99", "worst", "in all", "packets lost"]
    sheet = Sheet("Silence of a guest, simulated ms (80 % band)", heads, left=2)
    for row in rows:
        sheet.rows.append([row.variant, MEMORY_BY[row.way], _figure(row.p50), _figure(row.p99), _figure(row.worst),
                           f"{row.total_ms:.0f}", f"{row.lost_packets:,}"])  # fmt: skip
    sheet.rows.append([MIGRATION, "network", f"{moved.p50_ms:.0f}", f"{moved.worst_ms:.0f}", f"{moved.worst_ms:.0f}",
                       f"{moved.total_ms:.0f}", f"{moved.lost_packets:,}"])  # fmt: skip
    return sheet


def _groups(rows: Sequence[LiveUpdate], costs: Sequence[GuestCosts]) -> Sheet:
    sheet = Sheet("Silence by kind of guest, p50", ["variant", *map(_name, costs)])
    if len(costs) > 1:
        sheet.rows += [[row.variant, *map(_figure, row.groups)] for row in rows]
    return sheet


def _parts(rows: Sequence[LiveUpdate]) -> Sheet:
    names = [*rows[0].host_ms, *rows[0].guest_ms] if rows else []
    heads = ["variant", *names, "kept pages", "struct pages on one CPU"]
    sheet = Sheet("What the longest silence is made of, simulated ms; counts", heads)
    for row in rows:
        parts = {**row.host_ms, **row.guest_ms}
        sheet.rows.append([row.variant, *(f"{parts[name]:.1f}" for name in names), f"{row.preserved_pages:,}",
                           f"{row.initialised_alone:,}"])  # fmt: skip
    return sheet


def _guests(costs: Sequence[GuestCosts]) -> Sheet:
    heads = ["guest", "vCPU state, KiB", "device state, KiB", "calls", "saved or given back, ms"]
    sheet = Sheet("State of one guest besides its memory", heads)
    for one in costs:
        sheet.rows.append([_name(one), f"{one.vcpu_state_bytes / 1024:.1f}", f"{one.device_state_bytes / 1024:.1f}",
                           f"{one.state_calls:,}", _figure(one.state, 2)])  # fmt: skip
    return sheet


def _iommu(costs: Sequence[GuestCosts]) -> Sheet:
    heads = ["guest", "folios mapped", "table pages", "rebuilt, ms", "of that the reset", "kept, ms"]
    sheet = Sheet("IOMMU of passed-through devices: rebuilt as in mainline, or kept (under review in 2026)", heads)
    for one in costs:
        if one.iommu_rebuilt is not None and one.iommu_kept is not None and one.device_reset is not None:
            sheet.rows.append([_name(one), f"{one.iommu_mapped_folios:,}", f"{one.iommu_table_pages:,}",
                               _figure(one.iommu_rebuilt, 2), _figure(one.device_reset, 2),
                               _figure(one.iommu_kept, 3)])  # fmt: skip
    return sheet


def _name(one: GuestCosts) -> str:
    return f"{one.count} x {one.memory}, {one.vcpus} vCPUs, {one.vfio} vfio"


def live_update_json(page: Page) -> str:
    """All figures; every time is simulated and in ms."""
    body = {
        "machine": page.machine,
        "clock": "simulated",
        "answer": {where.replace(" ", "_"): told for where, told in answers(page.rows, page.moved).items()},
        "vms": page.groups,
        "guests": page.costs,
        "ways": page.rows,
        "refused": refused_json(page.refused),
        "migration": page.moved,
    }
    return json_text(body)
