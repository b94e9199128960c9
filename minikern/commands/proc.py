"""``minikern proc``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from minikern.commands.common import (
    OUTPUT,
    load_machine_fields,
    machine_options,
    reported,
    tell_unmodelled,
    variant_of,
)

VIEW_NAMES = ("buddyinfo", "zoneinfo", "meminfo", "pagetypeinfo", "kpageflags")


@click.command()
@click.argument("view", type=click.Choice(VIEW_NAMES))
@machine_options
@click.option("--variant", default="", metavar="NAME|FILE", help="Boot as this rung; a log's machine with its change.")
@click.option("--output", "-o", type=OUTPUT, help="File to write; needed for kpageflags.")
@reported
def proc(view: str, variant: str, output: Path | None, append: str, kernel: str, **machine: Any) -> None:
    """Print what /proc/VIEW says about memory after one boot.

    kpageflags is the binary file that page-types reads with -F.

    \b
    Example:
      minikern proc buddyinfo tiny
      minikern proc kpageflags tiny -o flags.bin && page-types -F flags.bin
    """
    from hw.errors import InputError
    from minikern.host.output import output_file, write_file
    from minikern.lab.run import boot
    from minikern.report.proc import VIEWS, write_kpageflags

    if view == "kpageflags" and output is None:
        raise InputError("kpageflags is binary: expected -o FILE")
    spec, options = load_machine_fields(machine)
    chosen = variant_of(spec, kernel, variant)
    tell_unmodelled(spec, [chosen], append, kernel)
    done = boot(spec, chosen, kernel, append, options)
    if view == "kpageflags" and output is not None:
        with output_file(output) as file:
            size = write_kpageflags(done.kernel, file)
        click.echo(f"minikern: {output}: {size} bytes", err=True)
        return
    text = VIEWS[view](done.kernel)
    if output is None:
        click.echo(text, nl=False)
        return
    write_file(output, text)
