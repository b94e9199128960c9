"""Trees: ACPI's namespace and PCI's buses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from hw.errors import InputError
from minikern.lab.acpi_source import Opened
from minikern.lab.acpi_tree import rows
from minikern.lab.run import Boot
from minikern.report.pictures.canvas import BLUE, GREY, WHEEL, Look

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from minikern.state.pci import PciBus

MOST_ROWS = 70
DEVICES = ("Device", "Processor", "Thermal", "Scope", "Power")


class Row(NamedTuple):
    """One line of a tree: how deep, what it says, in which colour."""

    depth: int
    text: str
    colour: str


def draw_tree(found: list[Row], title: str, look: Look) -> Figure:
    """Lines from parent to child, text beside; a long tree ends with how many more there are."""
    from matplotlib import pyplot

    shown = found[:MOST_ROWS]
    if len(found) > MOST_ROWS:
        shown.append(Row(0, f"... and {len(found) - MOST_ROWS} more", GREY))
    figure, axis = pyplot.subplots(figsize=(10.0, 0.9 + 0.21 * len(shown)))
    above: dict[int, int] = {}
    for at, row in enumerate(shown):
        if row.depth and row.depth - 1 in above:
            parent = above[row.depth - 1]
            axis.plot([row.depth - 1, row.depth - 1, row.depth], [-parent, -at, -at], color=look.line, linewidth=0.9,
                      zorder=1)  # fmt: skip
        above[row.depth] = at
        axis.plot(row.depth, -at, "s", color=row.colour, markersize=5, zorder=2)
        axis.text(row.depth + 0.25, -at, row.text, va="center", fontsize=8, family="monospace")
    axis.set_xlim(-0.3, 14)
    axis.set_ylim(-len(shown) + 0.3, 0.7)
    axis.axis("off")
    axis.set_title(title, loc="left")
    figure.tight_layout()
    return figure


def draw_acpi(boot: Boot, look: Look) -> Figure:
    """The namespace, as far as it is devices. InputError: the machine booted without ACPI."""
    run = boot.kernel.acpi.interpreter
    if run is None:
        raise InputError("nothing to draw: this machine boots without ACPI")
    opened = Opened(boot.spec.name, boot.kernel, run, machine=True)  # type: ignore[arg-type]
    every = rows(opened)
    found = []
    for row in every:
        if row["type"] in DEVICES:
            path = str(row["path"])
            words = " ".join([*row.get("ids", []), row.get("driver", "")])
            colour = WHEEL[1] if row.get("driver") == "processor" else BLUE
            name = path.rpartition(".")[2].lstrip("\\")
            found.append(Row(path.count(".") + 1, f"{name:<6s}{words}", GREY if row["type"] == "Scope" else colour))
    total = len(every)
    title = f"{boot.spec.name}: ACPI namespace, {len(found)} devices and scopes of {total} names"
    return draw_tree([Row(0, "\\", GREY), *found], title, look)


def draw_pci(boot: Boot, look: Look) -> Figure:
    """Buses, bridges and devices, coloured by IOMMU group. InputError: the machine has no PCI."""
    found = [row for root in boot.kernel.pci.roots for row in _bus_rows(root, 0)]
    if not boot.kernel.pci.devices:
        raise InputError("nothing to draw: this boot has found no PCI function")
    devices = boot.kernel.pci.devices
    groups = len({dev.iommu_group for dev in devices} - {None})
    told = f", {groups} IOMMU groups by colour" if groups else ", no IOMMU"
    return draw_tree(found, f"{boot.spec.name}: PCI, {len(devices)} functions{told}", look)


def _bus_rows(bus: PciBus, depth: int) -> Iterator[Row]:
    yield Row(depth, f"bus {bus.name}", GREY)
    for dev in bus.devices:
        group = dev.iommu_group
        colour = BLUE if group is None else WHEEL[group % len(WHEEL)]
        told = "" if group is None else f"  group {group}"
        what = "bridge" if dev.is_bridge else f"class {dev.class_code:06x}"
        yield Row(depth + 1, f"{dev.name[5:]} [{dev.vendor:04x}:{dev.device:04x}] {what}{told}", colour)
        if dev.subordinate is not None:
            yield from _bus_rows(dev.subordinate, depth + 2)
