"""``minikern sweep``."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hw.errors import InputError
from hw.files import is_file, is_folder
from minikern.commands.common import EXIT_FAILED, reported, show_sheets
from minikern.commands.numbers import SEED, Count, Real
from minikern.lab.sweep.limits import MAX_DRAWS, MAX_ROWS

if TYPE_CHECKING:
    from minikern.lab.sweep.plan import Grid, Plan
    from minikern.lab.sweep.rows import Row
    from minikern.report.sweep_store import Store

MANY = 1_000_000  # rows that somebody has to mean
KEEP_S, KEEP_ROWS = 5.0, 2000  # how much a killed sweep may lose
NAMED = 8  # machines that failed, by name


class _PlanOrCommand(click.Group):
    """A group whose first word is one of its commands, or else the plan of ``run``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ("-h", "--help")):
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_PlanOrCommand, name="sweep")
def sweep() -> None:
    """Boot a whole plan: machines x kernels x variants x parameters x drawn costs, one row a boot.

    \b
    Examples:
      minikern sweep plan.toml -o results.parquet
      minikern sweep --machines 'fleet/*.tar.xz' --variants as-is,parallel-smp,hvo-skip -o fleet.parquet
      minikern sweep lpc2023 --vary memory=64G..24T:log:13 --vary cpus=16,64,256 --metric total,smp,deferred
      minikern sweep show fleet.parquet --reboots-per-year 12

    `minikern sweep run --help` lists the options.
    """


@sweep.command()
@click.argument("plan", default="", metavar="[PLAN.toml|MACHINE]")
@click.option("--machines", multiple=True, metavar="A,B,GLOB", help="Presets, files, folders, archives, globs.")
@click.option("--variants", default="", metavar="A,B,...", help="Names or files; as-is is the boot without one.")
@click.option("--kernels", default="", metavar="A,B,...", help="Kernels instead of each machine's own.")
@click.option("--append", "-a", multiple=True, metavar="WORDS", help="An alternative of words added; repeatable.")
@click.option("--vary", multiple=True, metavar="NAME=VALUES", help="memory, cpus, nodes or costs.KIND; repeatable.")
@click.option("--draws", type=Count(0, MAX_DRAWS), default=None, metavar="N", help="Boots with drawn unit costs.")
@click.option("--seed", type=SEED, default=None, metavar="N", help="Of the draws.")
@click.option("--metric", default="", metavar="A,B,...", help="Times to keep: total, residue, smp, ...; default all.")
@click.option("--vmemmap", type=click.Choice(["counted", "window"]), default=None, help="Default: counted.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE.parquet|csv", help="Where rows go.")
@click.option("--scheduler", default="processes", metavar="ADDRESS", help="A Dask scheduler, tcp://HOST:PORT.")
@click.option("--workers", type=Count(1, 1024), default=None, metavar="N", help="Processes on this computer.")
@click.option("--resume", is_flag=True, help="Make only the rows that an earlier run did not.")
@click.option("--row", type=Count(0, MAX_ROWS), default=None, metavar="N", help="Make one row alone, print it.")
@click.option("--yes", is_flag=True, help=f"Yes, more than {MANY} rows.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
@reported
def run(
    plan: str, output: Path | None, scheduler: str, workers: int | None, resume: bool, row: int | None, yes: bool,
    as_json: bool, **given: Any,
) -> None:  # fmt: skip
    """Boot every row of a plan.

    The plan is a TOML file, or is made of options: a machine, or --machines. With -o the rows are kept as they come,
    and a run that was stopped goes on with --resume; without it only the summary is printed. Savings are held against
    the first variant, as-is for the boot as it is; a variant is a whole rung of the ladder, and on the machine of a log
    what that rung changes over the one before, as in compare.

    \b
    Example:
      minikern sweep run lpc2023 --variants as-is,deferred --vary memory=64G,512G -o rows.csv
    """
    grid = _grid(plan, given)
    if row is not None:
        _print_row(grid, row)
        return
    if len(grid) > MANY and not yes:
        raise InputError(f"the plan has {len(grid)} rows: expected at most {MANY}, or --yes")
    if resume and output is None:
        raise InputError("--resume: expected -o FILE, whose rows it goes on with")
    table = _made(grid, output, scheduler, workers, resume)
    _tell_failures(table)
    _show_summary(table, as_json, None)
    if any(table.column("error").to_pylist()):
        sys.exit(EXIT_FAILED)


@sweep.command()
@click.argument("results", type=click.Path(path_type=Path), metavar="RESULTS.parquet|csv")
@click.option("--reboots-per-year", type=Real(0, 1e6), default=None, help="Of each machine.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="FOLDER", help="Draw the sweep into a new folder.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@reported
def show(results: Path, reboots_per_year: float | None, plot: Path | None, as_json: bool) -> None:
    """What a finished sweep tells: what each change saves over the machines, where it does not pay, what is unsure.

    \b
    Example:
      minikern sweep show fleet.parquet --reboots-per-year 12 --plot pictures
    """
    from minikern.report.sweep_results import read_results

    table = read_results(results)
    _show_summary(table, as_json, reboots_per_year)
    if plot is not None:
        from minikern.report.sweep_plot import plot_sweep

        for path in plot_sweep(table.to_pydict(), plot):
            click.echo(f"minikern: {path}", err=True)


def _show_summary(table: Any, as_json: bool, reboots_per_year: float | None) -> None:
    from minikern.lab.sweep.summary import summarise

    found = summarise(table.to_pydict(), reboots_per_year)
    if as_json:
        from minikern.report.json_text import json_text

        click.echo(json_text(found))
        return
    from minikern.report.sweep_summary import summary_sheets

    show_sheets(summary_sheets(found), False)


def _grid(plan: str, given: dict[str, Any]) -> Grid:
    from minikern.lab.sweep.plan import grid, is_plan, read_plan

    path = Path(plan)
    if plan and is_plan(path):
        return grid(_over(read_plan(path), given), path.parent)
    if plan:
        _check_place(plan)
    machines = [*([plan] if plan else []), *(name for text in given["machines"] for name in _list(text))]
    if not machines:
        raise InputError("nothing to boot: expected a plan (a TOML file with machines), a machine, or --machines")
    from minikern.lab.sweep.plan import Plan

    return grid(_over(Plan(machines), {**given, "machines": ()}))


def _check_place(name: str) -> None:
    """InputError: what stands where a plan or a machine is expected can be neither, and no row could be made."""
    from minikern.describe.presets import machine_names

    if name in machine_names():
        return
    path = Path(name)
    expected = "expected a plan (a TOML file with machines), or a machine's file or folder"
    if is_folder(path):
        from minikern.describe.machine_files import is_machine_folder

        if not is_machine_folder(path):
            raise InputError(f"{path}: a folder, but no captured machine: {expected}")
    elif os.path.lexists(path) and not is_file(path):
        raise InputError(f"{path}: neither a file nor a folder: {expected}")


def _over(plan: Plan, given: dict[str, Any]) -> Plan:
    """The plan with what the options say instead, within the bounds that hold for the file, too."""
    from minikern.lab.sweep.plan import checked

    if given["machines"]:
        plan.machines = [name for text in given["machines"] for name in _list(text)]
    plan.variants = _list(given["variants"]) or plan.variants
    plan.kernels = _list(given["kernels"]) or plan.kernels
    plan.metrics = _list(given["metric"]) or plan.metrics
    plan.words = list(given["append"]) or plan.words
    for text in given["vary"]:
        name, equals, values = text.partition("=")
        if not equals:
            raise InputError(f"--vary: {text!r:.80}: expected NAME=VALUES, as cpus=16,64")
        plan.vary = {**plan.vary, name: values}
    for key in ("draws", "seed", "vmemmap"):
        if given[key] is not None:
            setattr(plan, key, given[key])
    return checked(plan)


def _list(text: str) -> list[str]:
    return [part for part in text.split(",") if part]


def _print_row(grid: Grid, row: int) -> None:
    from minikern.lab.sweep.rows import make_row
    from minikern.report.json_text import json_text
    from minikern.report.sweep_store import flat

    if row >= len(grid):
        raise InputError(f"--row: {row}: the plan's rows are 0 to {len(grid) - 1}")
    made = make_row(grid.point(row))
    click.echo(json_text(flat(made, grid)))
    if made.error:
        sys.exit(EXIT_FAILED)


def _made(grid: Grid, output: Path | None, scheduler: str, workers: int | None, resume: bool) -> Any:
    from minikern.host.ending import undone_at_end
    from minikern.host.output import scratch_folder
    from minikern.report.sweep_store import Store

    with scratch_folder() as scratch:
        store = Store(output or scratch.path / "rows.parquet", grid)
        there = store.open(resume)
        whole = False

        def hint() -> None:
            if not whole and store.leave() and output is not None:
                click.echo(f"minikern: --resume goes on with {output}", err=True)

        with undone_at_end(hint):
            _run(grid, there, store, scheduler, workers)
            table = store.close()
            whole = True
        return table


def _run(grid: Grid, there: set[int], store: Store, scheduler: str, workers: int | None) -> None:
    from minikern.commands.sweep_progress import Rate
    from minikern.lab.sweep.engine import client
    from minikern.lab.sweep.engine import run as run_rows

    todo = [row for row in range(len(grid)) if row not in there] if there else range(len(grid))
    if not todo:
        return
    pending: list[Row] = []
    since = time.monotonic()
    with client(scheduler, workers, len(todo)) as on, Rate(len(grid), len(there)) as rate:
        try:
            for rows in run_rows(grid, todo, on):
                pending += rows
                rate(len(rows))
                if len(pending) >= KEEP_ROWS or time.monotonic() - since > KEEP_S:
                    kept, pending, since = pending, [], time.monotonic()
                    store.add(kept)
        finally:
            if pending:
                store.add(pending)


def _tell_failures(table: Any) -> None:
    failed: dict[tuple[str, str], int] = {}
    for machine, error in zip(table.column("machine").to_pylist(), table.column("error").to_pylist(), strict=True):
        if error:
            failed[machine, error] = failed.get((machine, error), 0) + 1
    for (machine, error), count in list(failed.items())[:NAMED]:
        click.echo(f"minikern: {machine}: {count} {'row' if count == 1 else 'rows'} without a boot: {error}", err=True)
    if len(failed) > NAMED:
        click.echo(f"minikern: and {len(failed) - NAMED} more reasons: see the column error", err=True)
