"""Tables for terminals and for Markdown, from the same rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import get_args

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hw.units import NS_PER_MS
from minikern.core.ledger import Entry
from minikern.lab.bands import Band
from minikern.lab.compare import PHASES, Ladder, Rung
from minikern.lab.figures_table import Status
from minikern.lab.handover_price import told
from minikern.lab.own import AS_LOGGED
from minikern.report.narrow import narrow_lines, natural_width

NO_BOOT = "no boot"
WAITED = "waits for work beside the boot CPU"


@dataclass
class Sheet:
    """Rows of text under headings; the first ``left`` columns are words, the others figures."""

    title: str
    heads: Sequence[str]
    left: int = 1
    rows: list[Sequence[str]] = field(default_factory=list)

    def rich(self) -> Table:
        """The sheet as a terminal table."""
        title = Text(self.title, "bold", no_wrap=True, overflow="ignore")  # also when longer than its table is wide
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for index, head in enumerate(self.heads):
            table.add_column(head, justify="left" if index < self.left else "right", overflow="fold")
        for row in self.rows:
            table.add_row(*(Text(cell) for cell in row))
        return table

    def markdown(self) -> str:
        """The sheet as a Markdown table."""
        rule = ["---" if index < self.left else "---:" for index in range(len(self.heads))]
        lines = [self.heads, rule, *self.rows]
        body = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
        return f"### {self.title}\n\n{body}\n"


def print_sheets(sheets: Iterable[Sheet], console: Console, narrow: int = 0) -> None:
    """Print sheets one below the other; those wider than ``narrow`` columns (0: any width will do) laid out anew."""
    for index, sheet in enumerate(sheets):
        if index:
            console.print()
        if narrow and max(natural_width(sheet.heads, sheet.rows), len(sheet.title)) > narrow:
            for line in narrow_lines(sheet.title, sheet.heads, sheet.left, sheet.rows, narrow):
                console.print(Text(line), soft_wrap=True)
        else:
            console.print(sheet.rich())


def ladder_sheets(ladder: Ladder) -> list[Sheet]:
    """The ladder, what pays, the published figures beside it, and the residue by name."""
    if ladder.rungs and ladder.rungs[0].variant == AS_LOGGED:
        return own_sheets(ladder)
    sheets = [_rungs(ladder), _no_boots(ladder), _payoffs(ladder), _losses(ladder), _prices(ladder), _handovers(ladder)]
    if ladder.talk:
        sheets.append(_talk(ladder))
    sheets.append(_residue(ladder))
    return [sheet for sheet in sheets if sheet.rows]


def _rungs(ladder: Ladder) -> Sheet:
    rates = ", memory and digests at this computer's rates" if ladder.times == "host" else ""
    title = f"{ladder.machine}: simulated ms{rates}, {ladder.boundary}"
    sheet = Sheet(title, ["variant", "total", "talk", "error", *PHASES, "saved", "of", "residue"])
    talk = {row.variant: row for row in ladder.talk if row.name == "total"}
    for rung in ladder.rungs:
        row = talk.get(rung.variant)
        if rung.failed:
            sheet.rows.append([rung.variant, NO_BOOT])
            continue
        sheet.rows.append(
            [
                rung.variant,
                f"{rung.total_ms:.0f}",
                f"{row.talk_ms:.0f}" if row else "",
                _percent(row.error) if row else "",
                *(_ms(rung.phases[name]) for name in PHASES),
                f"{rung.saved_ms:+.0f}" if rung.saved_ms is not None else "",
                rung.against,
                f"{rung.residue_share:.0%}",
            ]
        )
    return sheet


def own_sheets(ladder: Ladder) -> list[Sheet]:
    """A real boot beside the same with one change each, and where the rest of its time goes."""
    rungs = Sheet(ladder.verdict, ["ms to init", "total", "80 %", "saved", "80 %", "of total", *PHASES])
    own = ladder.rungs[0]
    for rung in ladder.rungs:
        rungs.rows.append([rung.variant, NO_BOOT] if rung.failed else _own_row(rung, own))
    sheets = [rungs, _no_boots(ladder), _losses(ladder), _prices(ladder), _handovers(ladder)]
    if ladder.there:
        sheets.append(Sheet("There already, by the log", ["optimisation"], rows=[[name] for name in ladder.there]))
    rest = Sheet("Where the rest goes: time no rung touches, by the line it ends with", ["", "ms", "of total"])
    for item in ladder.rest:
        if item.ms >= 0.05:
            rest.rows.append([item.name, _ms(item.ms), f"{item.ms / own.total_ms:.0%}" if own.total_ms else ""])
    return [sheet for sheet in (*sheets, rest) if sheet.rows]


def _no_boots(ladder: Ladder) -> Sheet:
    rows: list[Sequence[str]] = [[rung.variant, f"{NO_BOOT}: {rung.failed}"] for rung in ladder.rungs if rung.failed]
    return Sheet("What this machine cannot boot", ["variant", "why"], left=2, rows=rows)


def _losses(ladder: Ladder) -> Sheet:
    rows: list[Sequence[str]] = [[rung.variant, rung.loses] for rung in ladder.rungs if rung.loses]
    return Sheet("What is lost with it", ["variant", "functions"], left=2, rows=rows)


def _own_row(rung: Rung, own: Rung) -> list[str]:
    saved = f"{rung.saved_ms:.0f}" if rung.saved_ms is not None else ""
    share = f"{rung.saved_ms / own.total_ms:.0%}" if rung.saved_ms is not None and own.total_ms else ""
    figures = [f"{rung.total_ms:.0f}", _band(rung.band), saved, _band(rung.saved_band), share]
    return [rung.variant, *figures, *(_ms(rung.phases[name]) for name in PHASES)]


def _band(band: Band | None) -> str:
    return band.told() if band is not None else ""


def _payoffs(ladder: Ladder) -> Sheet:
    sheet = Sheet(ladder.verdict, ["what pays", "needs", ladder.release, "against", "ms saved", "share"], left=4)
    for item in ladder.payoffs:
        has = "has it" if item.in_release else "has not"
        sheet.rows.append(
            [item.variant, item.requires, has, item.against, f"{item.saved_ms:.0f}", f"{item.share:.0%}"]
        )
    return sheet


def _prices(ladder: Ladder) -> Sheet:
    return Sheet("What options cost that exclude others", ["price"], rows=[[price] for price in ladder.prices])


def _handovers(ladder: Ladder) -> Sheet:
    sheet = Sheet("Kexec HandOver: who initialises struct pages, simulated ms (80 % band)", ["variant", ""], left=2)
    for rung in ladder.rungs:
        if rung.handover is not None:
            sheet.rows += [[rung.variant, sentence] for sentence in told(rung.handover)]
    return sheet


def _talk(ladder: Ladder) -> Sheet:
    count = {status: sum(row.status == status for row in ladder.talk) for status in get_args(Status)}
    title = f"Published figures: {', '.join(f'{number} {status}' for status, number in count.items())}"
    sheet = Sheet(title, ["figure", "variant", "talk ms", "simulated ms", "error", "allowed", "", "status"], left=2)
    for row in ladder.talk:
        verdict = "ok" if row.ok else "OFF"
        sheet.rows.append(
            [row.name, row.variant, f"{row.talk_ms:g}", f"{row.sim_ms:.1f}", _percent(row.error),
             f"{row.tolerance:.0%}", verdict, row.status]
        )  # fmt: skip
    return sheet


def _residue(ladder: Ladder) -> Sheet:
    names = list(dict.fromkeys(item.name for rung in ladder.rungs for item in rung.residue))
    heads = ["unmodelled residue, ms", *(rung.variant for rung in ladder.rungs)]
    if len({tuple((item.name, item.ms) for item in rung.residue) for rung in ladder.rungs}) == 1:
        heads = ["unmodelled residue (the same on every rung)", "ms"]
        return Sheet("Time without a mechanism", heads, rows=[
            [item.name, _ms(item.ms)] for item in ladder.rungs[0].residue
        ])  # fmt: skip
    sheet = Sheet("Time without a mechanism", heads)
    for name in names:
        amounts = [sum(item.ms for item in rung.residue if item.name == name) for rung in ladder.rungs]
        sheet.rows.append([name, *(_ms(amount) for amount in amounts)])
    return sheet


def _ms(value: float) -> str:
    return f"{value:.1f}" if value >= 0.05 else "-"


def _percent(value: float) -> str:
    return f"{value:+.1%}"


def blame_sheet(entries: Sequence[Entry], total_ns: int, title: str) -> Sheet:
    """The ledger sorted by time. What ran beside the boot CPU or before the log's clock is marked and has no share."""
    heads = ["work", "phase", "on", "count", "ns each", "ms", "share"]
    sheet = Sheet(title, heads, left=3)
    for entry in entries:
        where = "boot CPU" if entry.critical else "before the log" if entry.before else "others"
        share = f"{entry.total_ns / total_ns:.1%}" if entry.critical and total_ns else ""
        name = entry.kind if entry.modelled else f"{entry.kind} [unmodelled]"
        sheet.rows.append(
            [name, entry.phase, where, f"{entry.pieces:,}", f"{entry.unit_ns:,.2f}",
             f"{entry.total_ns / NS_PER_MS:,.3f}", share]
        )  # fmt: skip
    waited_ns = total_ns - sum(entry.total_ns for entry in entries if entry.critical)
    if waited_ns > 0 and total_ns:
        share = f"{waited_ns / total_ns:.1%}"
        sheet.rows.append([WAITED, "", "boot CPU", "", "", f"{waited_ns / NS_PER_MS:,.3f}", share])
    return sheet


def blame(entries: Iterable[Entry]) -> list[Entry]:
    """Rows of all CPUs but the boot CPU added up, sorted by time, largest first."""
    merged: dict[tuple[str, str, bool, bool], Entry] = {}
    for entry in entries:
        key = (entry.phase, entry.kind, entry.critical, entry.before)
        old = merged.get(key)
        if old is None:
            merged[key] = entry
            continue
        count, total = old.pieces + entry.pieces, old.total_ns + entry.total_ns
        merged[key] = entry._replace(pieces=count, total_ns=total, unit_ns=total / count if count else 0.0)
    return sorted(merged.values(), key=lambda entry: (-entry.total_ns, entry.phase, entry.kind))
