"""``minikern downtime``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from minikern.commands.common import (
    OUTPUT,
    Progress,
    fit_options,
    load_machine_fields,
    machine_options,
    reported,
    show_sheets,
    tell_unmodelled,
)

PACKERS = ["gzip", "xz", "zstd", "lz4"]


@click.command()
@machine_options
@fit_options
@click.option("--vms", default=8, show_default=True, metavar="N", help="Guests on the host.")
@click.option("--vm-memory", default="16G", show_default=True, metavar="SIZE", help="Memory of a guest.")
@click.option("--vcpus", default=4, show_default=True, metavar="N", help="CPUs of a guest.")
@click.option("--at-once", default=8, show_default=True, metavar="N", help="Guests saved or restored side by side.")
@click.option("--packet-us", default=1000, show_default=True, metavar="N", help="A guest sends a packet every N us.")
@click.option("--packer", type=click.Choice(PACKERS), default="zstd", show_default=True, help="Kernel compression.")
@click.option("--bandwidth", default=25.0, show_default=True, metavar="GBIT", help="Of a migration's link, Gbit/s.")
@click.option("--dirty-rate", default="512M", show_default=True, metavar="SIZE", help="What a guest dirties a second.")
@click.option("--variants", default="", metavar="A,B,...", help="Rungs, or files of them, instead of the ladder.")
@click.option("--plot", type=OUTPUT, metavar="FILE.svg|png", help="Draw the parts of each variant.")
@click.option("--markdown", is_flag=True, help="Print Markdown tables.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@reported
def downtime(
    vms: int,
    vm_memory: str,
    vcpus: int,
    at_once: int,
    packet_us: int,
    packer: str,
    bandwidth: float,
    dirty_rate: str,
    variants: str,
    plot: Path | None,
    markdown: bool,
    as_json: bool,
    append: str,
    kernel: str,
    **machine: Any,
) -> None:
    """How long guests are silent while their host's kernel is replaced, and what takes how much of it.

    \b
    Example:
      minikern downtime lpc2023 --vms 32 --vm-memory 8G --variants baseline,parallel-smp
    """
    from hw.units import parse_size
    from minikern.core.variant import load_variants
    from minikern.lab.compare import choose_variants
    from minikern.lab.downtime import Guests, Link, measure, migrate, published
    from minikern.report.downtime import downtime_json, downtime_sheets

    if plot is not None:
        from minikern.report.downtime_plot import plot_downtime
        from minikern.report.lanes import check_plot_path

        check_plot_path(plot)
    spec, options = load_machine_fields(machine)
    chosen = choose_variants(spec, [name for name in variants.split(",") if name])
    if not variants:
        others = (one for one in load_variants().values() if one not in chosen)
        chosen += [one for one in others if one.experiment.purgatory_digest != "generic"]
    guests = Guests(vms, vcpus, parse_size(vm_memory, "--vm-memory"), packet_us * 1000, at_once)
    guests.check()
    link = Link(bandwidth * 1e9 / 8, float(parse_size(dirty_rate, "--dirty-rate")))
    moved = migrate(spec, guests, link)
    rows = []
    tell_unmodelled(spec, chosen, append, kernel)
    with Progress("updating", len(chosen)) as step:
        for variant in chosen:
            step(variant.name)
            rows.append(measure(spec, variant, guests, packer, kernel, append, options))
    if plot is not None:
        plot_downtime(spec.name, rows, moved, plot)
    if as_json:
        click.echo(downtime_json(spec.name, rows, moved))
    else:
        show_sheets(downtime_sheets(spec.name, rows, moved, published(spec)), markdown)
