"""``minikern downtime``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hw.errors import InputError, MachineStopped
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
from minikern.commands.numbers import Count, Real

if TYPE_CHECKING:
    from minikern.core.kernel import BootOptions
    from minikern.core.variant import Variant
    from minikern.describe.case import Case
    from minikern.lab.downtime import Guests, Link

PACKERS = ["gzip", "xz", "zstd", "lz4"]


@click.command()
@machine_options
@fit_options
@click.option("--vm", "vm", multiple=True, metavar="[Nx]SIZE[,...]|FILE",
              help="Guests with memory of their own, e.g. 4x16G,vcpus=8,vfio=1,nics=1,disks=2,pages=2M.")  # fmt: skip
@click.option("--disk-image", is_flag=True, help="With --vm: also the way over a disk.")
@click.option("--vms", type=Count(1, 4096), default=8, show_default=True, metavar="N", help="Guests on the host.")
@click.option("--vm-memory", default="", metavar="SIZE", help="Memory of a guest; 16G, or a share of 3/4 of RAM.")
@click.option("--vcpus", type=Count(1, 4096), default=4, show_default=True, metavar="N", help="CPUs of a guest.")
@click.option(
    "--at-once", type=Count(1, 4096), default=8, show_default=True, metavar="N", help="Saved or restored side by side."
)
@click.option(
    "--packet-us", type=Count(10, 10_000_000), default=1000, show_default=True, metavar="N",
    help="A guest sends a packet every N us.",
)
@click.option("--packer", type=click.Choice(PACKERS), default="zstd", show_default=True, help="Kernel compression.")
@click.option(
    "--bandwidth", type=Real(0.001, 1e6), default=25.0, show_default=True, metavar="GBIT",
    help="Of a migration's link, Gbit/s.",
)
@click.option("--dirty-rate", default="512M", show_default=True, metavar="SIZE", help="What a guest dirties a second.")
@click.option("--variants", default="", metavar="A,B,...", help="Rungs, or files of them, instead of the ladder.")
@click.option("--plot", type=OUTPUT, metavar="FILE.svg|png", help="Draw the parts of each variant.")
@click.option("--markdown", is_flag=True, help="Print Markdown tables.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@reported
def downtime(
    vm: tuple[str, ...],
    disk_image: bool,
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

    With --vm the guests have memory on the host, and every way to keep it is tried for them.

    \b
    Example:
      minikern downtime lpc2023 --vms 32 --vm-memory 8G --variants baseline,parallel-smp
      minikern downtime lpc2023 --vm 20x16G,vcpus=8 --vm 2x64G,vfio=1,pages=4K
    """
    from hw.units import GIB, parse_size
    from minikern.lab.downtime import Guests, Link
    from minikern.lab.vms import ram_bytes

    if plot is not None:
        from minikern.report.lanes import check_plot_path

        check_plot_path(plot)
    spec, options = load_machine_fields(machine)
    names = [name for name in variants.split(",") if name]
    if vm:
        if plot is not None:
            raise InputError("--plot: expected no --vm: the page of ways is text")
        link = Link(bandwidth * 1e9 / 8, 0.0)
        _ways(spec, vm, names, link, disk_image, packer, at_once, kernel, append, options, as_json, markdown)
        return
    share = min(16 * GIB, ram_bytes(spec) * 3 // 4 // max(1, vms))
    memory = parse_size(vm_memory, "--vm-memory") if vm_memory else share
    guests = Guests(vms, vcpus, memory, packet_us * 1000, at_once)
    guests.check()
    link = Link(bandwidth * 1e9 / 8, float(parse_size(dirty_rate, "--dirty-rate")))
    _alike(spec, guests, link, _rungs(spec, names, kernel, append), packer, kernel, append, options,
           plot, as_json, markdown)  # fmt: skip


def _rungs(spec: Case, names: Sequence[str], kernel: str, append: str) -> list[Variant]:
    """The variants asked for, or the ladder and every way to check the image; of a log its own boot with one change."""
    from minikern.lab.compare import choose_variants, own_offers
    from minikern.lab.own import is_own, on_machine, own_boot

    chosen = choose_variants(spec, names)
    if is_own(spec, kernel):
        chosen = [own_boot(), *own_offers(spec, chosen if names else [], append).to_boot]
    return chosen if names else [*chosen, *(on_machine(spec, kernel, one) for one in _purgatories(chosen))]


def _purgatories(chosen: Sequence[Variant]) -> list[Variant]:
    """Variants that check the image otherwise and are not among ``chosen``."""
    from minikern.core.variant import load_variants

    there = {one.name for one in chosen}
    others = (one for one in load_variants().values() if one.name not in there)
    return [one for one in others if one.experiment.purgatory_digest != "generic"]


def _alike(
    spec: Case, guests: Guests, link: Link, chosen: Sequence[Variant], packer: str, kernel: str, append: str,
    options: BootOptions | None, plot: Path | None, as_json: bool, markdown: bool,
) -> None:  # fmt: skip
    """Guests that are all alike and whose memory somebody else keeps: the host's parts of the silence."""
    from minikern.lab.downtime import measure, migrate, published
    from minikern.report.downtime import downtime_json, downtime_sheets

    moved = migrate(spec, guests, link)
    rows, refused = [], []
    tell_unmodelled(spec, chosen, append, kernel)
    with Progress("updating", len(chosen)) as step:
        for variant in chosen:
            step(variant.name)
            try:
                rows.append(measure(spec, variant, guests, packer, kernel, append, options))
            except (InputError, MachineStopped) as error:
                refused.append((variant.name, str(error)))
    if not rows:
        raise InputError(refused[0][1])
    if plot is not None:
        from minikern.report.downtime_plot import plot_downtime

        plot_downtime(spec.name, rows, moved, plot)
    if as_json:
        click.echo(downtime_json(spec.name, rows, moved, refused))
    else:
        show_sheets(downtime_sheets(spec.name, rows, moved, published(spec), refused), markdown)


LIVE_UPDATES = ("parallel-smp", "kexec-7.3", "kexec-7.3-async", "live-update-6.18", "live-update-7.2",
                "live-update-7.3", "live-update-async")  # fmt: skip


def _ways(
    spec: Case, texts: Sequence[str], names: Sequence[str], link: Link, disk: bool, packer: str, at_once: int,
    kernel: str, append: str, options: BootOptions | None, as_json: bool, markdown: bool,
) -> None:  # fmt: skip
    from minikern.core.variant import load_variant
    from minikern.lab.guest_costs import guest_costs
    from minikern.lab.live_update import live_update, way_of
    from minikern.lab.migration import migrate_all
    from minikern.lab.vms import parse_vm
    from minikern.report.live_update import Page, live_update_json, live_update_sheets

    groups = [group for text in texts for group in parse_vm(text)]
    moved = migrate_all(spec, groups, link)
    passed_through = any(group.vfio for group in groups)
    asked = names or (*LIVE_UPDATES, *(("live-update-iommu",) if passed_through else ()))
    tries = [(one, way_of(one)) for one in map(load_variant, asked)]
    if disk:
        tries.append((tries[0][0], "file"))
    tell_unmodelled(spec, [one for one, _ in tries], append, kernel)
    rows, refused = [], []
    with Progress("updating", len(tries)) as step:
        for variant, way in tries:
            step(variant.name)
            try:
                rows.append(live_update(spec, variant, groups, way, packer, at_once, kernel, append, options))
            except (InputError, MachineStopped) as error:
                refused.append((variant.name, str(error)))
    if not rows:
        raise InputError(refused[0][1])
    for name, line in ((row.variant, line) for row in rows for line in row.warnings):
        click.echo(f"minikern: {name}: the kernel says: {line}", err=True)
    page = Page(spec.name, groups, rows, refused, moved, guest_costs(spec, groups))
    if as_json:
        click.echo(live_update_json(page))
    else:
        show_sheets(live_update_sheets(page), markdown)
