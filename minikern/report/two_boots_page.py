"""One page that shows two boots side by side: phases on one scale, where time went further, and every line of both.

A single HTML file without a network; the figures are the logs' own, nothing is emulated.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import replace
from math import floor, log10
from string import Template

import msgspec

from minikern.lab.line_diff import DiffLine
from minikern.lab.phase_marks import LOG_PHASES
from minikern.lab.two_boots import TwoBoots
from minikern.report.page import own_file, page_json
from minikern.report.tables import Sheet
from minikern.report.two_boots import two_boots_sheets

WIDTH, LABELS, ROOM = 960, 110, 90  # of the chart; its left column, and what figures at the ends of bars take
BAR, STEP, TOP = 11, 34, 30
TICKS = 6
NICE = (1, 2, 5)


def two_boots_page(found: TwoBoots, lines: Sequence[DiffLine]) -> str:
    """The page of two compared boots."""
    names = [html.escape(name) for name in found.names]
    return Template(own_file("two_boots.html")).substitute(
        style=own_file("page.css"),
        title=f"{names[0]} and {names[1]}",
        first=names[0],
        second=names[1],
        headline=html.escape(headline(found, lines)),
        notes="".join(f"<p class=note>{html.escape(note)}</p>" for note in found.notes),
        chart=_chart(found),
        tables="".join(_table(sheet) for sheet in _sheets(found)),
        figures=page_json({"lines": msgspec.to_builtins(lines)}),
    )


def headline(found: TwoBoots, lines: Sequence[DiffLine]) -> str:
    """What changed most, in one sentence each: the total, the phase, the lines."""
    told = []
    total = next((one for one in found.phases if one.phase == "total"), None)
    if total is not None and total.grew_ms is not None:
        told.append(f"B takes {total.second_ms:.1f} ms where A takes {total.first_ms:.1f} ms ({total.grew_ms:+.1f}).")
    parts = [one for one in found.phases if one.grew_ms and one.phase != "total" and not one.inside]
    if parts:
        largest = max(parts, key=lambda one: abs(one.grew_ms or 0.0))
        told.append(f"Most of all in {largest.phase}: {largest.grew_ms:+.1f} ms.")
    gone, new = (sum(line.kind == kind for line in lines) for kind in ("vanished", "appeared"))
    told.append(f"{gone} lines vanished, {new} appeared.")
    return " ".join(told)


def _sheets(found: TwoBoots) -> list[Sheet]:
    # The first has the logs' names for a title, which stand at the top of the page.
    facts, *others = two_boots_sheets(found)
    return [replace(facts, title="What the boots are"), *others]


def _table(sheet: Sheet) -> str:
    heads = "".join(f'<th scope="col">{html.escape(head) or "what"}</th>' for head in sheet.heads)
    rows = []
    for row in sheet.rows:
        cells = [html.escape(cell) for cell in row] + [""] * (len(sheet.heads) - len(row))
        kinds = ["" if index < sheet.left else " class=n" for index in range(1, len(cells))]
        rest = "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, cells[1:], strict=True))
        rows.append(f'<tr><th scope="row">{cells[0]}</th>{rest}</tr>')
    title = html.escape(sheet.title)
    head = f"<h2>{title}</h2><div class=wide tabindex=0 role=region aria-label='{title}'>"
    return f"{head}<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"


def _chart(found: TwoBoots) -> str:
    """Bars of both boots, a pair a phase, on one scale."""
    phases = [one for name in LOG_PHASES for one in found.phases if one.phase == name]
    if not phases:
        return "<p>No stamps to draw: both logs need them.</p>"
    longest = max(value or 0.0 for one in phases for value in (one.first_ms, one.second_ms)) or 1.0
    scale = (WIDTH - LABELS - ROOM) / longest
    height = TOP + STEP * len(phases) + 10
    drawn = [_axis(longest, scale, height)]
    for index, one in enumerate(phases):
        top = TOP + index * STEP
        name = f"({one.phase})" if one.inside else one.phase
        drawn.append(f'<text x="{LABELS - 8}" y="{top + BAR + 4}" text-anchor="end">{name}</text>')
        for side, value in (("a", one.first_ms), ("b", one.second_ms)):
            if value is None:
                continue
            y = top + (BAR if side == "b" else 0)
            drawn.append(
                f'<rect class="{side}" x="{LABELS}" y="{y}" width="{max(value * scale, 0.5):.1f}" height="{BAR - 1}"/>'
                f'<text class="figure" x="{LABELS + value * scale + 4:.1f}" y="{y + BAR - 2}">{value:,.1f}</text>'
            )
    text = f"{len(phases)} phases of both boots in ms, on one scale; a table below has the same figures."
    return (
        f'<div class="chart" tabindex="0" role="region" aria-label="phases of both boots, chart">'
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{html.escape(text)}">{"".join(drawn)}</svg></div>'
    )


def _axis(longest: float, scale: float, height: int) -> str:
    step = _tick(longest)
    marks = []
    for index in range(int(longest / step) + 1):
        x = LABELS + index * step * scale
        marks.append(f'<line x1="{x:.1f}" y1="{TOP - 8}" x2="{x:.1f}" y2="{height - 8}"/>')
        marks.append(f'<text class="figure" x="{x:.1f}" y="{TOP - 12}" text-anchor="middle">{index * step:,g}</text>')
    return f'<g class="grid">{"".join(marks)}<text class="figure" x="{WIDTH - 20}" y="{TOP - 12}">ms</text></g>'


def _tick(longest: float) -> float:
    power = 10.0 ** floor(log10(longest / TICKS))
    return next((power * by for by in NICE if power * by * TICKS >= longest), power * 10)
