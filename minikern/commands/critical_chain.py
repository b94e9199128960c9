"""``minikern critical-chain``."""

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


@click.command("critical-chain")
@machine_options
@fit_options
@click.option("--variant", default="", metavar="NAME|FILE", help="Boot as this rung; a log's machine with its change.")
@click.option("--markdown", is_flag=True, help="Print a Markdown table.")
@click.option("--json", "as_json", is_flag=True, help="Print every stretch as JSON.")
@reported
def critical_chain(variant: str, markdown: bool, as_json: bool, append: str, kernel: str, **machine: Any) -> None:
    """Print what waited for what on the way to /init.

    The boot CPU's stretches in the order of time, with the largest pieces of its own work, and the work on other CPUs
    that it waited for.

    \b
    Example:
      minikern critical-chain laptop
    """
    from minikern.lab.critical_chain import critical_chain as chain_of
    from minikern.lab.run import boot as run
    from minikern.report.critical_chain import chain_sheet
    from minikern.report.json_text import json_text
    from minikern.report.trace import recorder_of

    spec, options = load_machine_fields(machine)
    options.record = True
    chosen = variant_of(spec, kernel, variant)
    tell_unmodelled(spec, [chosen], append, kernel)
    done = run(spec, chosen, kernel, append, options)
    chain = chain_of(done, recorder_of(done))
    if as_json:
        click.echo(json_text(chain))
    else:
        show_sheets([chain_sheet(chain)], markdown)
