"""PCI trees as text and as plain data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from minikern.lab.pci_tree import FunctionRow, RootRow, probe_only, skipping

LOST = {0x01: "disks", 0x02: "network", 0x03: "display and its console", 0x07: "serial console"}
"""What is lost with a function, by base class; a root file system may be on one of the first."""


def tree_lines(roots: list[RootRow], chosen: bool) -> Iterator[str]:
    """The tree, a line a function; with ``chosen`` what is not needed is marked and listed with what it costs."""
    for root in roots:
        yield f"{root.name} {root.buses}  {'  '.join(root.windows)}".rstrip()
        yield from _functions(root.functions, "", chosen)
    rows = [row for root in roots for top in root.functions for row in top.all()]
    yield f"{len(rows)} functions, {_us(sum(row.cost_ns for row in rows))} us"
    if chosen:
        yield from _skipped(roots)


def _functions(rows: list[FunctionRow], indent: str, chosen: bool) -> Iterator[str]:
    for number, row in enumerate(rows):
        last = number == len(rows) - 1
        mark = "  (not needed)" if chosen and not row.needed else ""
        group = "" if row.group is None else f"  group {row.group}"
        place = row.name.removeprefix("0000:") + (f"-{row.buses}" if row.buses else "")
        yield f"{indent}{'`-' if last else '|-'} {place}  {row.id} {row.what}{group}  {_us(row.cost_ns)} us{mark}"
        deeper = indent + ("   " if last else "|  ")
        for text in row.ranges:
            yield f"{deeper}{'|  ' if row.behind else '   '}{text}"
        yield from _functions(row.behind, deeper, chosen)


def _skipped(roots: list[RootRow]) -> Iterator[str]:
    tops = skipping(roots)
    rows = [row for top in tops for row in top.all()]
    yield ""
    yield f"Not needed: {len(rows)} functions, {_us(sum(row.cost_ns for row in rows))} us"
    for top in tops:
        behind = list(top.all())[1:]
        tail = f", and {len(behind)} behind it" if behind else ""
        lost = sorted({LOST[row.class_code >> 16] for row in top.all() if row.class_code >> 16 in LOST})
        warning = f": lost with it: {', '.join(lost)}" if lost else ""
        yield f"  {top.name}  {top.id} {top.what}{tail}{warning}"
    yield f"pci=probe_only={probe_only(roots)}"


def _us(ns: int) -> str:
    return f"{ns / 1000:.1f}"


def tree_json(roots: Iterable[RootRow]) -> list[dict[str, Any]]:
    """The tree as plain data; times in nanoseconds of the simulated clock."""
    return [
        {
            "bus": root.name,
            "buses": root.buses,
            "windows": root.windows,
            "functions": list(map(_row_json, root.functions)),
        }
        for root in roots
    ]


def _row_json(row: FunctionRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "id": row.id,
        "class": f"{row.class_code:06x}",
        "what": row.what,
        "buses": row.buses,
        "ranges": row.ranges,
        "iommu_group": row.group,
        "config_reads": row.reads,
        "config_writes": row.writes,
        "sim_cost_ns": row.cost_ns,
        "needed": row.needed,
        "behind": list(map(_row_json, row.behind)),
    }
