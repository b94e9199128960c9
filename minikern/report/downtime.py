"""Downtime of guests as tables and JSON."""

from __future__ import annotations

from collections.abc import Sequence

from minikern.lab.downtime import PARTS, Downtime, Migration, Published
from minikern.report.json_text import json_text
from minikern.report.tables import Sheet

Refused = Sequence[tuple[str, str]]  # variant, why it cannot be


def downtime_sheets(
    machine: str, rows: Sequence[Downtime], moved: Migration, known: Published | None, refused: Refused = ()
) -> list[Sheet]:
    """One row a variant and one for migration; below, what each choice saves, published figures, what cannot be."""
    heads = ["variant", "p50", "p99", "boot share", *PARTS]
    sheet = Sheet(f"{machine}: longest silence of a guest, simulated ms", heads)
    for row in rows:
        parts = (f"{row.parts_ms[part]:.1f}" for part in PARTS)
        sheet.rows.append([row.variant, f"{row.p50_ms:.0f}", f"{row.p99_ms:.0f}", f"{row.boot_share:.0%}", *parts])
    note = f"live migration, {moved.rounds} rounds" + ("" if moved.converged else ", did not converge")
    blank = ["" for _ in PARTS]
    sheet.rows.append([note, f"{moved.downtime_ms:.0f}", f"{moved.downtime_ms:.0f}", "", *blank])
    sheets = [sheet, _choices(rows, moved), *what_cannot_be(refused)]
    if known is not None:
        sheets += [_published(row, known) for row in rows if row.variant == known.variant]
    return sheets


def what_cannot_be(refused: Refused) -> list[Sheet]:
    """The variants that were not measured, and why."""
    if not refused:
        return []
    return [Sheet("What cannot be, and why", ["variant", ""], left=2, rows=[list(row) for row in refused])]


def _choices(rows: Sequence[Downtime], moved: Migration) -> Sheet:
    """What one gets and gives for each row: silence saved against the first, longest part, price."""
    sheet = Sheet("What each choice saves, and what for", ["variant", "gives up", "saves ms", "longest part"], left=2)
    for row in rows:
        longest = max(row.parts_ms, key=lambda part: row.parts_ms[part])
        saved = f"{rows[0].p50_ms - row.p50_ms:.0f}"
        sheet.rows.append([row.variant, row.gives_up, saved, f"{longest} {row.parts_ms[longest]:.0f}"])
    saved = f"{rows[0].p50_ms - moved.downtime_ms:.0f}" if rows else ""
    price = f"a second host; {moved.total_ms / 1e3:.0f} s of copying for all guests"
    sheet.rows.append(["live migration", price, saved, f"copying {moved.downtime_ms:.0f}"])
    return sheet


def _published(row: Downtime, known: Published) -> Sheet:
    sheet = Sheet("Published figures", ["figure", "variant", "talk", "simulated", ""], left=2)
    low, high = known.total_ms
    inside = low <= row.p50_ms <= high
    share = abs(row.boot_share - known.boot_share) <= known.boot_share_tolerance
    sheet.rows.append(
        ["downtime, ms", row.variant, f"{low:.0f}-{high:.0f}", f"{row.p50_ms:.0f}", "ok" if inside else "OFF"]
    )
    sheet.rows.append(
        ["boot's share", row.variant, f"{known.boot_share:.0%}", f"{row.boot_share:.0%}", "ok" if share else "OFF"]
    )
    return sheet


def downtime_json(machine: str, rows: Sequence[Downtime], moved: Migration, refused: Refused = ()) -> str:
    """All figures; every time is simulated and in ms."""
    body = {
        "machine": machine, "clock": "simulated", "variants": rows, "migration": moved, "refused": refused_json(refused)
    }  # fmt: skip
    return json_text(body)


def refused_json(refused: Refused) -> list[dict[str, str]]:
    """What cannot be, by name."""
    return [{"variant": name, "why": why} for name, why in refused]
