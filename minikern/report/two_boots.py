"""Two boots beside each other as tables."""

from __future__ import annotations

from collections.abc import Sequence

from minikern.lab.boot_facts import BootFacts
from minikern.lab.two_boots import Only, TwoBoots
from minikern.report.tables import Sheet

KIB = 1 << 10
LISTED = 20  # functions or tables of one side that are written out
WIDEST = 72  # characters of a line that names a stretch


def two_boots_sheets(found: TwoBoots) -> list[Sheet]:
    """What differs, section by section; where a section has nothing to show, one line says so."""
    same = [name for name in BootFacts.__struct_fields__ if name not in found.differs]
    facts = Sheet(f"A: {found.names[0]}   B: {found.names[1]}", ["what differs", "A", "B"], left=3)
    facts.rows = [[_label(name), _fact(found.first, name), _fact(found.second, name)] for name in found.differs]
    facts.rows = facts.rows or [["nothing", "", ""]]
    alike = Sheet("The same in both", ["facts"], rows=[[", ".join(map(_label, same))]] if same else [])
    lists = (
        _only("words of the command line", found.words),
        _only("PCI functions", found.pci_functions),
        _only("ACPI tables", found.acpi_tables),
    )
    return [sheet for sheet in (facts, alike, *lists, _phases(found), _stretches(found)) if sheet.rows]


def _label(name: str) -> str:
    return name.replace("_bytes", " size").removesuffix("_khz").replace("_", " ")


def _fact(facts: BootFacts, name: str) -> str:
    value = getattr(facts, name)
    if value is None:
        return "not in the log"
    if name.endswith("_bytes"):
        return f"{value / KIB:,.0f} KiB"
    if name.endswith("_khz"):
        return f"{value / 1000:.3f} MHz"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _only(what: str, lists: Only) -> Sheet:
    sheet = Sheet(f"Different {what}", ["only in", ""], left=2)
    for side, items in (("A", lists.first), ("B", lists.second)):
        sheet.rows += [[side, item] for item in items[:LISTED]]
        if len(items) > LISTED:
            sheet.rows.append([side, f"... and {len(items) - LISTED} more (--json lists all)"])
    return sheet


def _phases(found: TwoBoots) -> Sheet:
    sheet = Sheet("Phases by the logs' own stamps, ms", ["phase", "A", "B", "B - A", "B / A"])
    for one in found.phases:
        ratio = f"{one.second_ms / one.first_ms:.2f}" if one.first_ms and one.second_ms is not None else ""
        name = f"({one.phase})" if one.inside else one.phase
        sheet.rows.append([name, *_figures([one.first_ms, one.second_ms]), *_figures([one.grew_ms], "+.1f"), ratio])
    return sheet


def _stretches(found: TwoBoots) -> Sheet:
    heads = ["stretch that ends with", "A", "B", "B - A", "lines A", "lines B"]
    sheet = Sheet("Where the largest changes are, ms", heads)
    for one in found.stretches:
        figures = _figures([one.first_ms, one.second_ms]), _figures([one.grew_ms], "+.1f")
        lines = str(one.lines_first), str(one.lines_second)
        sheet.rows.append([_short(one.ends_with), *figures[0], *figures[1], *lines])
        if one.mostly:
            sheet.rows.append([f"  mostly before: {_short(one.mostly)}"])
    return sheet


def _figures(values: Sequence[float | None], form: str = ".1f") -> list[str]:
    return ["" if value is None else format(value, form) for value in values]


def _short(text: str) -> str:
    return text if len(text) <= WIDEST else text[: WIDEST - 3] + "..."
