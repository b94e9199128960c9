"""``minikern report``."""

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
    variant_of,
)
from minikern.commands.two_logs import read_two_boots, refuse_options

STEPS = 12  # about so many parts beside the rungs: the boot itself, and boots for the sliders


@click.command()
@machine_options
@click.argument("other", default="", metavar="[OTHER.log]")
@fit_options
@click.option("--variant", default="", metavar="NAME|FILE", help="The boot to show: a rung of the ladder.")
@click.option("--variants", default="", metavar="A,B,...", help="Rungs beside it, instead of the ladder.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, metavar="FILE.html", help="The page to write."
)
@click.option(
    "--sliders",
    type=click.Choice(["all", "costs"]),
    default="all",
    show_default=True,
    help="Of memory, CPUs and huge pages as well (a hundred boots more), or of unit costs only.",
)
@reported
def report(
    variant: str, variants: str, output: Path, sliders: str, append: str, kernel: str, other: str, **machine: Any
) -> None:
    """Write one page that shows a whole boot: what pays, every CPU over time, the log explained, the ledger, what if.

    The page is a single file and needs no network. With a second boot log nothing is booted: the page shows both boots
    side by side by their own stamps, phase by phase and line by line.

    \b
    Examples:
      minikern report lpc2023 --variant parallel-smp -o boot.html
      minikern report before.log after.log -o two.html
    """
    from minikern.host.output import check_place, write_file
    from minikern.lab.compare import choose_variants, ladder_of
    from minikern.lab.run import boot
    from minikern.lab.what_if import curves
    from minikern.lab.what_if_machine import machine_what_if

    if output.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"-o: {output}: expected a file ending in .html")
    check_place(output)
    if other:
        refuse_options("output")
        _two_boots(machine["machine"], other, output)
        return
    try:
        from minikern.report.page import boot_page
    except ImportError as error:
        raise InputError("report needs Bokeh and matplotlib: pip install 'minikern[report]'") from error
    named = machine["machine"]
    spec, options = load_machine_fields(machine)
    options.record = True
    rung = variant_of(spec, kernel, variant)
    chosen = choose_variants(spec, [name for name in variants.split(",") if name])
    with Progress("booting", len(chosen) + STEPS) as step:
        ladder, _ = ladder_of(spec, chosen, bool(variants), kernel, append, on_rung=step)
        step("the boot itself")
        done = boot(spec, rung, kernel, append, options)
        step("what if")
        fixed = "" if sliders == "all" else "the page was made with --sliders costs"
        whatif = machine_what_if(
            done, curves(done, kernel, append), kernel, append, lambda count: step(f"what if, {count} boots"), fixed
        )
    told = [f"machine: {named}", *(f"words added: {append}" for _ in [0] if append), *spec.notes]
    write_file(output, boot_page(done, ladder, whatif, told))


def _two_boots(first: str, second: str, output: Path) -> None:
    from minikern.host.output import write_file
    from minikern.lab.line_diff import line_diff
    from minikern.lab.two_boots import compare_boots
    from minikern.report.two_boots_page import two_boots_page

    boots = read_two_boots(first, second)
    write_file(output, two_boots_page(compare_boots(*boots), line_diff(*boots)))
