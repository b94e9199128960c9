"""``minikern blame``."""

from __future__ import annotations

from typing import Any

import click

from minikern.commands.common import (
    fit_options,
    load_machine_fields,
    machine_options,
    reported,
    show_sheets,
    tell_unmodelled,
    variant_of,
)


@click.command()
@machine_options
@fit_options
@click.option("--variant", default="", metavar="NAME|FILE", help="Boot as this rung; a log's machine with its change.")
@click.option("--markdown", is_flag=True, help="Print a Markdown table.")
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON.")
@reported
def blame(variant: str, markdown: bool, as_json: bool, append: str, kernel: str, **machine: Any) -> None:
    """Print where the simulated time of one boot went, largest first.

    \b
    Example:
      minikern blame lpc2023 --variant parallel-smp | head -20
    """
    from minikern.core.cost_table import times_of
    from minikern.lab.run import boot as run
    from minikern.report import tables

    spec, options = load_machine_fields(machine)
    chosen = variant_of(spec, kernel, variant)
    tell_unmodelled(spec, [chosen], append, kernel)
    done = run(spec, chosen, kernel, append, options)
    rows = tables.blame(done.kernel.ledger.entries())
    if as_json:
        from minikern.report.json_text import json_text

        body: dict[str, Any] = {"machine": spec.name, "variant": done.name, "clock": "simulated"}
        body |= {"times": times_of(spec.costs), "total_ns": done.total_ns}
        body["entries"] = [row._asdict() for row in rows]
        click.echo(json_text(body))
        return
    title = f"{spec.name}, {done.name}: {done.total_ns / 1e6:.1f} simulated ms to /init"
    show_sheets([tables.blame_sheet(rows, done.total_ns, title)], markdown)
