"""Physical memory as ribbons: what firmware says, what memblock holds, nodes and zones, who holds it in the end."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from hw.units import PAGE_SIZE
from minikern.lab.run import Boot
from minikern.mm.early.e820 import type_name
from minikern.report.pictures.canvas import BLUE, CYAN, GREEN, GREY, PURPLE, RED, YELLOW, Look, size_text
from minikern.state.e820 import Type

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from minikern.core.kernel import Kernel

WIDEST_HOLE = 0.03  # of all memory: what is longer is drawn that long, with a cut
SEEN_FROM = 0.0012  # of the width: what is shorter is drawn so long that it can be seen
LABELLED_FROM = 0.075
E820_COLOURS: dict[int, str] = {Type.RAM: GREEN, Type.RESERVED: GREY, Type.ACPI: YELLOW, Type.NVS: PURPLE}
ZONE_COLOURS = {"DMA": RED, "DMA32": YELLOW, "Normal": BLUE, "Movable": CYAN, "Device": GREY}
HOLDERS = {"free": GREEN, "memory map": PURPLE, "huge pages": CYAN, "kernel image": RED, "other, allocated": YELLOW}


class Stretch(NamedTuple):
    """[start, end) bytes, in a colour, with a word for it."""

    start: int
    end: int
    colour: str
    word: str = ""


class Ruler:
    """Addresses as places on the axis: ranges at their length, holes between them no longer than ``WIDEST_HOLE``."""

    def __init__(self, ranges: Iterable[tuple[int, int]]) -> None:
        merged: list[list[int]] = []
        for start, end in sorted(ranges):
            if merged and start <= merged[-1][1]:
                merged[-1][1] = max(merged[-1][1], end)
            else:
                merged.append([start, end])
        total = sum(end - start for start, end in merged)
        self._addresses: list[int] = []
        self._places: list[float] = []
        self.cuts: list[float] = []
        at, last = 0.0, 0
        for start, end in merged:
            hole = min(start - last, round(WIDEST_HOLE * total))
            if hole < start - last:
                self.cuts.append(at + hole / 2)
            at += hole
            for address, place in ((start, at), (end, at + end - start)):
                self._addresses.append(address)
                self._places.append(place)
            at, last = at + end - start, end
        self.length = at

    def place(self, address: int) -> float:
        """Where an address is; inside a hole in proportion."""
        index = bisect_right(self._addresses, address) - 1
        if index < 0:
            return 0.0
        if index + 1 == len(self._addresses):
            return self._places[-1]
        low, high = self._addresses[index], self._addresses[index + 1]
        share = (address - low) / (high - low) if high > low else 0.0
        return self._places[index] + share * (self._places[index + 1] - self._places[index])


def ribbons(k: Kernel) -> list[tuple[str, list[Stretch]]]:
    """The rows of the picture, each sorted as it is drawn."""
    firmware = [Stretch(e.addr, e.end, E820_COLOURS.get(e.type, GREY), type_name(e.type)) for e in k.e820.firmware]
    taken = [Stretch(r.base, r.end, RED, "reserved") for r in k.memblock.reserved_regions()]
    free = [Stretch(start, end, GREEN, "free") for start, end, _ in k.memblock.free_ranges()]
    zones = [
        Stretch(zone.start_pfn * PAGE_SIZE, zone.end_pfn * PAGE_SIZE, ZONE_COLOURS[zone.name],
                f"node {zone.nid} {zone.name}") for zone in k.zones
    ]  # fmt: skip
    return [("firmware's map\n(e820)", firmware), ("memblock\nat /init", joined(taken + free)), ("nodes, zones", zones),
            ("who holds it\nat /init", joined(holders(k)))]  # fmt: skip


def joined(stretches: list[Stretch]) -> list[Stretch]:
    """Stretches with those that touch and look alike made one; the order of drawing stays that of their first."""
    last: dict[tuple[str, str], int] = {}
    out: list[Stretch] = []
    for stretch in stretches:
        at = last.get((stretch.colour, stretch.word))
        if at is not None and out[at].end == stretch.start:
            out[at] = out[at]._replace(end=stretch.end)
        else:
            last[stretch.colour, stretch.word] = len(out)
            out.append(stretch)
    return out


def holders(k: Kernel) -> list[Stretch]:
    """Who holds memory when /init starts; what is drawn later covers what is drawn before."""
    out = [Stretch(r.base, r.end, HOLDERS["other, allocated"], "") for r in k.memblock.memory_regions()]
    for area in k.page_alloc.areas.values():
        for pfn, order, count in sorted(area.stretches()):
            out.append(Stretch(pfn * PAGE_SIZE, (pfn + (count << order)) * PAGE_SIZE, HOLDERS["free"], ""))
    for entry in k.vmemmap.memmaps:
        size = entry.sections * 512 * PAGE_SIZE
        out.append(Stretch(entry.phys, entry.phys + size, HOLDERS["memory map"], ""))
    for pfn, order in sorted(k.hugetlb.folios()):
        out.append(Stretch(pfn * PAGE_SIZE, (pfn + (1 << order)) * PAGE_SIZE, HOLDERS["huge pages"], ""))
    image = k.release.image
    out.append(Stretch(image.text_start, image.end, HOLDERS["kernel image"], ""))
    return out


def draw_memory(boot: Boot, look: Look) -> Figure:
    """The picture."""
    from matplotlib import pyplot

    k = boot.kernel
    rows = ribbons(k)
    shown = [(e.addr, e.end) for e in k.e820.firmware if e.type in (Type.RAM, Type.ACPI, Type.NVS)]
    ruler = Ruler(shown)
    figure, axis = pyplot.subplots(figsize=(11.0, 4.4))
    for number, (_, stretches) in enumerate(rows):
        for stretch in stretches:
            _draw_stretch(axis, ruler, number, stretch, look)
    axis.set_yticks(range(len(rows)), [name for name, _ in rows])
    axis.set_ylim(len(rows) - 0.45, -0.65)
    axis.set_xlim(-0.002 * ruler.length, 1.002 * ruler.length)
    _draw_ticks(axis, ruler, shown)
    for cut in ruler.cuts:
        axis.axvspan(cut - 0.004 * ruler.length, cut + 0.004 * ruler.length, color=look.paper, zorder=5)
        axis.text(cut, len(rows) - 0.56, "≈", ha="center", va="center", zorder=6, fontsize=12)
    axis.spines[["left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    _draw_legend(figure)
    memory = size_text(k.memblock.phys_mem_size())
    axis.set_title(f"{boot.spec.name}, {boot.name}: {memory} of memory, from the firmware's map to who holds it")
    figure.tight_layout(rect=(0, 0.1, 1, 1))
    return figure


def _draw_stretch(axis: Axes, ruler: Ruler, row: int, stretch: Stretch, look: Look) -> None:
    left, right = ruler.place(stretch.start), ruler.place(stretch.end)
    if right <= left and stretch.start >= ruler.length:
        return
    width = max(right - left, SEEN_FROM * ruler.length)
    bar = [(left, width)]
    axis.broken_barh(bar, (row - 0.32, 0.64), facecolors=stretch.colour, edgecolors=look.paper, linewidth=0.3)
    if stretch.word and width > LABELLED_FROM * ruler.length:
        dark = stretch.colour in (BLUE, PURPLE, GREEN)
        axis.text(left + width / 2, row, stretch.word, ha="center", va="center", fontsize=8, clip_on=True,
                  color="#ffffff" if dark else "#111111")  # fmt: skip


def _draw_ticks(axis: Axes, ruler: Ruler, ranges: list[tuple[int, int]]) -> None:
    places: list[tuple[float, str]] = []
    for address in sorted({border for pair in ranges for border in pair}):
        place = ruler.place(address)
        if not places or place - places[-1][0] > 0.07 * ruler.length:
            places.append((place, size_text(address) if address else "0"))
    axis.set_xticks([place for place, _ in places], [text for _, text in places], fontsize=8)


def _draw_legend(figure: Figure) -> None:
    from matplotlib.patches import Rectangle

    entries = {**HOLDERS, "firmware: reserved": GREY, "firmware: ACPI": YELLOW}
    handles = [Rectangle((0, 0), 1, 1, color=colour) for colour in entries.values()]
    figure.legend(handles, list(entries), loc="lower center", ncols=len(entries), fontsize=8)
