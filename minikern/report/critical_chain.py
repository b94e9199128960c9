"""The way to /init as a table: stretches in the order of time, under each what was done and what was waited for."""

from __future__ import annotations

from hw.units import NS_PER_MS
from minikern.lab.critical_chain import Chain, Link, Waited
from minikern.report.startup import around
from minikern.report.tables import Sheet

LARGEST = 4  # kinds of work that are named in a stretch
FLOOR = 0.005  # of the total; smaller ones are added up


def chain_sheet(chain: Chain) -> Sheet:
    """One row a stretch; below it, indented, its largest pieces. What systemd measured stands before and behind."""
    before, after = around(chain.startup) if chain.startup is not None else ([], [])
    title = f"{chain.machine}, {chain.variant}: /init after {chain.total_ns / NS_PER_MS:.1f} simulated ms"
    sheet = Sheet(title, ["on the boot CPU", "@ ms", "+ ms", "share"])
    sheet.rows += [_measured(*part) for part in before]
    short = [link for link in chain.links if link.share < FLOOR]
    for link in chain.links:
        if link.share >= FLOOR:
            sheet.rows.append([link.phase, f"{link.began_ns / NS_PER_MS:.1f}", *_amount(link.spent_ns, link.share)])
            sheet.rows += _inside(link)
    if short:
        spent = sum(link.spent_ns for link in short)
        name = f"{len(short)} stretches of less than {FLOOR:.1%} each"
        sheet.rows.append([name, "", *_amount(spent, sum(link.share for link in short))])
    sheet.rows += [_measured(*part) for part in after]
    return sheet


def _measured(name: str, began_ms: float, ms: float) -> list[str]:
    return [f"{name}, by systemd", f"{began_ms:.1f}", f"{ms:.2f}", ""]


def _inside(link: Link) -> list[list[str]]:
    rows = [(one.spent_ns, one.share, _waiting(one)) for one in link.waited]
    for work in link.worked:
        name = work.kind if work.modelled else f"{work.kind} [unmodelled]"
        rows.append((work.spent_ns, work.share, f"{name} x {work.pieces:,}" if work.pieces > 1 else name))
    rows.sort(key=lambda row: -row[0])
    large = [row for row in rows[:LARGEST] if row[1] >= FLOOR / 5]
    return [[f"  {text}", "", *_amount(spent, share)] for spent, share, text in large]


def _waiting(one: Waited) -> str:
    times = f", {one.waits:,} times" if one.waits > 1 else ""
    if not one.kind:
        return f"waited for the time to pass{times}"
    who = f"CPU {one.cpus[0]}" if len(one.cpus) == 1 else f"{len(one.cpus)} CPUs ({one.cpus[0]} to {one.cpus[-1]})"
    return f"waited for {one.kind} on {who}{times}"


def _amount(spent_ns: int, share: float) -> list[str]:
    return [f"{spent_ns / NS_PER_MS:.2f}", f"{share:.1%}"]
