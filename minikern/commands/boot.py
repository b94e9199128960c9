"""``minikern boot``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

import click

from minikern.commands.common import (
    EXIT_FAILED,
    OUTPUT,
    fit_options,
    load_machine_fields,
    machine_options,
    reported,
    tell,
    tell_differences,
    tell_skipped,
    tell_unmodelled,
    variant_of,
)
from minikern.commands.page_kernel import guarded, limits_of, page_kernel_options
from minikern.commands.waiting import Waiting


class Asked(NamedTuple):
    """How to boot, and what to make of it."""

    variant: str
    check: bool
    as_json: bool
    explain: bool
    trace: Path | None
    plot: Path | None
    append: str
    kernel: str


@click.command()
@machine_options
@fit_options
@click.option("--variant", default="", metavar="NAME|FILE", help="Boot as this rung; a log's machine with its change.")
@click.option("--check", is_flag=True, help="Verify the whole memory map after the boot.")
@page_kernel_options
@click.option("--json", "as_json", is_flag=True, help="Lines with their times, phases and the ledger as JSON.")
@click.option("--explain", is_flag=True, help="Say under the lines what they mean and what prints them.")
@click.option("--trace", type=OUTPUT, metavar="FILE.json", help="Write a trace for Perfetto.")
@click.option("--plot", type=OUTPUT, metavar="FILE.svg|png", help="Draw the CPUs' bring-up.")
@reported
def boot(
    variant: str,
    check: bool,
    as_json: bool,
    explain: bool,
    trace: Path | None,
    plot: Path | None,
    append: str,
    kernel: str,
    page_kernel: str,
    timeout: float,
    memory_limit: str,
    **machine: Any,
) -> None:
    """Print the dmesg of one boot.

    With --page-kernel every page that your function writes is compared with what it must be, and so is the whole memory
    map afterwards; its time on this computer is told. Simulated time stays as counted.

    \b
    Example:
      minikern boot lpc2023 --variant hvo-skip | grep HugeTLB
      minikern boot laptop --plot cpus.png --trace boot.json --fault dead=3
      minikern boot lpc2023 --page-kernel my_algorithm.py > /dev/null
    """
    asked = Asked(variant, check, as_json, explain, trace, plot, append, kernel)
    limits = limits_of(timeout, memory_limit)
    guarded(page_kernel, lambda own: _boot(own, asked, machine), machine["vmemmap"], limits)


def _boot(own: Any, asked: Asked, machine: dict[str, Any]) -> None:
    from minikern.lab.run import BootStopped
    from minikern.lab.run import boot as run
    from minikern.report.dmesg import format_dmesg

    variant, check, as_json, explain, trace, plot, append, kernel = asked
    spec, options = load_machine_fields(machine)
    options.record, options.page_kernel, options.looked_at = bool(trace or plot or explain), own, check
    if plot is not None:
        from minikern.report.lanes import check_plot_path

        check_plot_path(plot)
    chosen = variant_of(spec, kernel, variant)
    tell_unmodelled(spec, [chosen], append, kernel)
    try:
        with Waiting(f"booting {spec.name}") as waiting:
            options.on_phase = waiting.phase
            done = run(spec, chosen, kernel, append, options)
    except BootStopped as error:
        if not as_json:
            click.echo(format_dmesg(error.kernel), nl=False)
            click.echo(f"Kernel panic - not syncing: {error}")
        raise
    if as_json:
        from minikern.report.boot_json import boot_json

        click.echo(boot_json(done))
    else:
        click.echo(_explained(done) if explain else format_dmesg(done.kernel), nl=False)
    tell_skipped([done])
    tell_differences(done)
    if trace is not None:
        from minikern.report.trace import write_trace

        write_trace(done, trace)
    if plot is not None:
        from minikern.report.lanes import plot_lanes

        plot_lanes(done, plot)
    if own is not None:
        tell(own.taken())
    if check or own is not None:
        _check(done)
    if not (as_json or trace or plot or check or own is not None):
        _further_boots(machine, variant, kernel, append, explain)


def _further_boots(machine: dict[str, Any], variant: str, kernel: str, append: str, explain: bool) -> None:
    """A log of several boots is booted as often as the machine was, each kernel on what its own part tells."""
    from minikern.describe.presets import further_boots
    from minikern.lab.run import boot as run
    from minikern.report.dmesg import format_dmesg

    for name in further_boots(machine["machine"]):
        spec, options = load_machine_fields({**machine, "machine": name})
        done = run(spec, variant_of(spec, kernel, variant), kernel, append, options)
        click.echo(_explained(done) if explain else format_dmesg(done.kernel), nl=False)
        tell_differences(done)


def _explained(done: Any) -> str:
    from minikern.lab.handover_price import handover_price, told
    from minikern.report.explain import explained_dmesg

    price = handover_price(done.kernel, done.spec)
    return explained_dmesg(done.kernel, {"Memory: ": list(told(price))} if price else {})


def _check(done: Any) -> None:
    from minikern.verify.page_check import check_memmap

    result = check_memmap(done.kernel)
    click.echo(f"minikern: {result}", err=True)
    if not result.ok:
        sys.exit(EXIT_FAILED)
