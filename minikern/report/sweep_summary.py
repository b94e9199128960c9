"""The summary of a sweep as tables."""

from __future__ import annotations

from minikern.lab.sweep.summary import Change, Level, Machine, Spread, Summary
from minikern.report.tables import Sheet

MOST_LEVELS = 60  # rows of varied values that are still a table


def summary_sheets(found: Summary) -> list[Sheet]:
    """What each change saves, where it does not pay, times by varied parameter, the machines to measure next."""
    compared = [_changes(found), _losers(found.changes), _levels(found)]
    sheets = [sheet for sheet in compared if sheet.rows] or [_boots(found)]
    return [*sheets, _widest(found.widest)] if found.widest else sheets


def _ms(value: float) -> str:
    return f"{value:.1f}" if abs(value) < 100 else f"{value:.0f}"


def _changes(found: Summary) -> Sheet:
    failed = f", {found.failed} without a boot" if found.failed else ""
    title = f"{found.rows} rows, {found.machines} machines{failed}: saved ms of {found.metric}, over the machines"
    yearly = any(change.saved_hours_a_year is not None for change in found.changes)
    heads = ["change", "against", "machines", "p10", "median", "p90", "of", "pays on", "no difference"]
    sheet = Sheet(title, [*heads, *(["hours a year", "boots a year"] if yearly else [])], left=2)
    for change in sorted(found.changes, key=lambda one: -one.saved_ms.median):
        row = [
            f"{change.axis} {change.name}" if change.axis != "variant" else change.name,
            change.against or "none",
            str(change.machines),
            *_spread(change.saved_ms),
            f"{change.share.median:.0%}",
            f"{change.pays} of {change.machines}",
            str(change.no_difference or "-"),
        ]
        if yearly:
            row += [f"{change.saved_hours_a_year or 0:.2f}", f"{change.saved_boots_a_year or 0:.1f}"]
        sheet.rows.append(row)
    return sheet


def _losers(changes: list[Change]) -> Sheet:
    title = "where a change costs time, or may: saved ms over the draws"
    sheet = Sheet(title, ["change", "machine", "p10", "median", "p90"], left=2)
    for change in changes:
        sheet.rows += [[change.name, one.name, *_spread(one.saved_ms)] for one in change.does_not_pay]
    return sheet


def _spread(spread: Spread) -> list[str]:
    return [_ms(value) for value in (spread.p10, spread.median, spread.p90)]


def _levels(found: Summary) -> Sheet:
    levels = found.levels if len(found.levels) <= MOST_LEVELS else _thinned(found.levels)
    cut = "" if levels is found.levels else f" ({len(levels)} of {len(found.levels)} values)"
    title = f"{found.metric}, ms, by varied parameter{cut}"
    sheet = Sheet(title, ["parameter", "value", "rows", "p10", "median", "p90"], left=2)
    for level in levels:
        sheet.rows.append([level.name, level.value, str(level.rows), *_spread(level.ms)])
    return sheet


def _thinned(levels: list[Level]) -> list[Level]:
    step = -(-len(levels) // MOST_LEVELS)
    return levels[::step]


def _widest(machines: list[Machine]) -> Sheet:
    title = "whose logs to capture next: the widest bands"
    sheet = Sheet(title, ["machine", "80 % band over total"], left=1)
    sheet.rows += [[machine.name, f"{machine.value:.0%}"] for machine in machines]
    return sheet


def _boots(found: Summary) -> Sheet:
    """Where nothing is held against anything: how long the boots take, over the draws."""
    failed = f", {found.failed} without a boot" if found.failed else ""
    sheet = Sheet(f"{found.metric}, ms{failed}", ["machine", "boot", "rows", "p10", "median", "p90"], left=2)
    for boot in found.boots[:MOST_LEVELS]:
        sheet.rows.append([boot.name, boot.value, str(boot.rows), *_spread(boot.ms)])
    return sheet
