"""``minikern compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import click

from hw.errors import InputError
from minikern.commands.common import (
    OUTPUT,
    Progress,
    fit_options,
    load_machine_fields,
    machine_options,
    reported,
    show_sheets,
    tell,
    tell_unmodelled,
)
from minikern.commands.page_kernel import guarded, limits_of, page_kernel_options
from minikern.commands.two_logs import read_two_boots, refuse_options


class Asked(NamedTuple):
    """What to compare, and how it is shown."""

    variants: str
    plot: Path | None
    markdown: bool
    as_json: bool
    append: str
    kernel: str


@click.command()
@machine_options
@click.argument("other", default="", metavar="[OTHER.log]")
@fit_options
@click.option("--variants", default="", metavar="A,B,...", help="Rungs, or files of them, instead of the ladder.")
@click.option("--plot", type=OUTPUT, metavar="FILE.svg|png", help="Draw one bar a log line.")
@page_kernel_options
@click.option("--markdown", is_flag=True, help="Print Markdown tables.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@reported
def compare(
    variants: str,
    plot: Path | None,
    markdown: bool,
    as_json: bool,
    append: str,
    kernel: str,
    other: str,
    page_kernel: str,
    timeout: float,
    memory_limit: str,
    **machine: Any,
) -> None:
    """Boot the ladder of variants and print phases and totals side by side.

    Only times are shown, so struct pages are counted and none is stored: --vmemmap window (or full) stores them, and so
    does --page-kernel. Figures are the same either way.

    With a second boot log nothing is booted: what differs between the two boots is printed, and where their own time
    stamps say that one took longer.

    \b
    Examples:
      minikern compare lpc2023 --variants deferred,parallel-smp --plot ladder.svg
      minikern compare before.log after.log
    """
    if other:
        refuse_options("markdown", "as_json")
        _two_boots(machine["machine"], other, markdown, as_json)
        return
    asked = Asked(variants, plot, markdown, as_json, append, kernel)
    limits = limits_of(timeout, memory_limit)
    guarded(page_kernel, lambda own: _ladder(own, asked, machine), machine["vmemmap"], limits)


def _ladder(page_kernel: Any, asked: Asked, machine: dict[str, Any]) -> None:
    from minikern.lab.compare import choose_variants, ladder_of

    variants, plot, markdown, as_json, append, kernel = asked
    spec, options = load_machine_fields(machine)
    options.page_kernel = page_kernel
    chosen = choose_variants(spec, [name for name in variants.split(",") if name])
    if plot is not None:
        _check_plot_target(plot)
    tell_unmodelled(spec, chosen, append, kernel)
    with Progress("booting", len(chosen)) as step:
        ladder, logs = ladder_of(spec, chosen, bool(variants), kernel, append, options, step)
    if as_json:
        from minikern.report.json_text import json_text

        click.echo(json_text(ladder))
    else:
        from minikern.report.startup import startup_sheets
        from minikern.report.tables import ladder_sheets

        show_sheets([*ladder_sheets(ladder), *startup_sheets(ladder.startup)], markdown)
    for rung in ladder.rungs if page_kernel is not None else ():
        if rung.page_kernel is not None:
            tell(f"{rung.variant}: {rung.page_kernel}")
    if plot is not None:
        from minikern.report.plot import plot_ladder

        plot_ladder(ladder, logs, plot)


def _two_boots(first: str, second: str, markdown: bool, as_json: bool) -> None:
    from minikern.lab.two_boots import compare_boots

    found = compare_boots(*read_two_boots(first, second))
    for note in found.notes:
        click.echo(f"minikern: {note}", err=True)
    if as_json:
        from minikern.report.json_text import json_text

        click.echo(json_text(found))
        return
    from minikern.report.two_boots import two_boots_sheets

    show_sheets(two_boots_sheets(found), markdown)


def _check_plot_target(path: Path) -> None:
    # Said before the boots, not after them.
    from minikern.report.plot import FORMATS

    if path.suffix.lower() not in FORMATS:
        raise InputError(f"--plot: {path}: expected a file ending in {', '.join(FORMATS)}")
    if not path.parent.is_dir():
        raise InputError(f"--plot: {path.parent} is no folder")
