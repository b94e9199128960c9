"""``minikern pci``."""

from __future__ import annotations

from typing import Any

import click

from minikern.commands.common import load_machine_fields, machine_options, reported, tell_unmodelled, variant_of


@click.command()
@machine_options
@click.option("--variant", default="", metavar="NAME|FILE", help="Boot as this rung; a log's machine with its change.")
@click.option("--needed", default="", metavar="WORD,...", help="Mark what a boot needs: disk, nvme, 8086:1533.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@reported
def pci(variant: str, needed: str, as_json: bool, append: str, kernel: str, **machine: Any) -> None:
    """The PCI tree after one boot: functions, windows, sizes, IOMMU groups, and what each one costs.

    --needed keeps the functions of the classes (disk, network, display, sound, serial, usb), drivers (nvme, ahci,
    xhci_hcd, serial8250, virtio), ids or places it names, and the bridges before them; the rest is listed with what
    would be lost, and the words that skip it.

    \b
    Example:
      minikern pci lpc2023 --needed disk,network
    """
    import json

    from minikern.lab.pci_tree import pci_tree
    from minikern.lab.run import boot
    from minikern.report.pci import tree_json, tree_lines

    spec, options = load_machine_fields(machine)
    chosen = variant_of(spec, kernel, variant)
    tell_unmodelled(spec, [chosen], append, kernel)
    roots = pci_tree(boot(spec, chosen, kernel, append, options), needed)
    if as_json:
        click.echo(json.dumps(tree_json(roots), indent=2))
    else:
        click.echo("".join(f"{line}\n" for line in tree_lines(roots, bool(needed))), nl=False)
