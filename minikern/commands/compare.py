"""``minikern compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hw.errors import InputError
from minikern.commands.common import (
    Progress,
    fit_options,
    load_machine_fields,
    machine_options,
    reported,
    show_sheets,
    tell_unmodelled,
)


@click.command()
@machine_options
@fit_options
@click.option("--variants", default="", metavar="A,B,...", help="Rungs, or files of them, instead of the ladder.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE.svg|png", help="Draw one bar a log line.")
@click.option("--markdown", is_flag=True, help="Print Markdown tables.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@reported
def compare(
    variants: str, plot: Path | None, markdown: bool, as_json: bool, append: str, kernel: str, **machine: Any
) -> None:
    """Boot the ladder of variants and print phases and totals side by side.

    \b
    Example:
      minikern compare lpc2023 --variants deferred,parallel-smp --plot ladder.svg
    """
    from minikern.lab.compare import choose_variants, run_ladder, run_own_ladder

    spec, options = load_machine_fields(machine)
    chosen = choose_variants(spec, [name for name in variants.split(",") if name])
    if plot is not None:
        _check_plot_target(plot)
    tell_unmodelled(spec, chosen, append, kernel)
    own = bool(spec.banner and not kernel)
    with Progress("booting", len(chosen)) as step:
        if own:  # a real boot: what each change would do to it
            ladder, logs = run_own_ladder(spec, chosen if variants else [], append, options, step)
        else:
            ladder, logs = run_ladder(spec, chosen, kernel, append, options, step)
    if as_json:
        import msgspec

        click.echo(msgspec.json.format(msgspec.json.encode(ladder), indent=2).decode())
    else:
        from minikern.report.tables import ladder_sheets

        show_sheets(ladder_sheets(ladder), markdown)
    if plot is not None:
        from minikern.report.plot import plot_ladder

        plot_ladder(ladder, logs, plot)


def _check_plot_target(path: Path) -> None:
    # Said before the boots, not after them.
    from minikern.report.plot import FORMATS

    if path.suffix.lower() not in FORMATS:
        raise InputError(f"--plot: {path}: expected a file ending in {', '.join(FORMATS)}")
    if not path.parent.is_dir():
        raise InputError(f"--plot: {path.parent} is no folder")
