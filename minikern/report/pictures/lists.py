"""Free lists by order, and the memory map of a huge page with its tails folded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hw.errors import InputError
from hw.units import MIB, PAGE_SIZE
from minikern.lab.run import Boot
from minikern.mm.page.mmzone import MAX_PAGE_ORDER
from minikern.report.pictures.canvas import BLUE, CYAN, GREEN, GREY, PURPLE, WHEEL, Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAGES_PER_MAP_PAGE = 64  # struct pages of 64 bytes in 4 KiB
SHOWN_ENTRIES = 8
HUGE_ORDERS = (18, 9)
LONG_COUNT = 999  # blocks from which their number would run into its neighbour


def draw_free_lists(boot: Boot, look: Look) -> Figure:
    """How much memory is free in blocks of each order, by zone; the number of blocks stands above."""
    from matplotlib import pyplot

    rows = boot.kernel.page_alloc.buddyinfo()
    figure, axis = pyplot.subplots(figsize=(10.0, 4.4))
    width = 0.8 / max(len(rows), 1)
    for at, (nid, zone, counts) in enumerate(rows):
        left = [order + (at - (len(rows) - 1) / 2) * width for order in range(len(counts))]
        sizes = [(count << order) * PAGE_SIZE / MIB for order, count in enumerate(counts)]
        axis.bar(left, sizes, width * 0.94, color=WHEEL[at % len(WHEEL)], label=f"node {nid}, zone {zone}")
        for place, size, count in zip(left, sizes, counts, strict=True):
            if count:
                turned = 90 if count > LONG_COUNT else 0
                axis.annotate(f"{count:,}", (place, size), (0, 2), textcoords="offset points", ha="center", fontsize=7,
                              rotation=turned)  # fmt: skip
    axis.set_yscale("log")
    axis.set_ylim(PAGE_SIZE / MIB / 2, 8 * max(axis.get_ylim()[1], 1.0))
    names = [f"{order}\n{_block(order)}" for order in range(MAX_PAGE_ORDER + 1)]
    axis.set_xticks(range(MAX_PAGE_ORDER + 1), names)
    axis.set_xlabel("order, and the size of its blocks")
    axis.set_ylabel("MiB free in such blocks")
    axis.grid(axis="y", linewidth=0.4, color=look.line)
    axis.set_axisbelow(True)
    axis.legend(loc="upper left", fontsize=8)
    axis.set_title(f"{boot.spec.name}, {boot.name}: free lists at /init; above each bar its number of blocks")
    figure.tight_layout()
    return figure


def _block(order: int) -> str:
    kib = 4 << order
    return f"{kib} K" if kib < 1024 else f"{kib >> 10} M"


def draw_memory_map(boot: Boot, look: Look) -> Figure:
    """The page tables of one huge page's memory map, as it was made and as it is now.

    InputError: the boot has no huge page.
    """
    from matplotlib import pyplot

    hugetlb = boot.kernel.hugetlb
    folios = sorted(hugetlb.folios(), key=lambda one: HUGE_ORDERS.index(one[1]))
    if not folios:
        raise InputError("nothing to draw: this boot has no huge page (--append hugepages=8)")
    folded = [one for one in folios if one[0] in hugetlb.optimized]
    head, order = (folded or folios)[0]
    entries = (1 << order) // PAGES_PER_MAP_PAGE
    table = hugetlb.page_table
    now = [int(frame) for frame in table.frames(head, head + (1 << order))] if table is not None else []
    figure, (before, after) = pyplot.subplots(1, 2, figsize=(11.0, 5.2), sharey=True)
    shown = min(entries, SHOWN_ENTRIES)
    _draw_entries(before, [None] * shown, entries, look, "as it was made: every entry has its own frame")
    given = entries - len(set(now)) if now else 0
    title = f"now: {given:,} of {entries:,} frames given back" if given else "now: the same, nothing is folded"
    distinct = {frame: at for at, frame in enumerate(dict.fromkeys(now[:shown]))}
    _draw_entries(after, [distinct[frame] for frame in now[:shown]] or [None] * shown, entries, look, title)
    size = "1 GiB" if order == HUGE_ORDERS[0] else "2 MiB"
    where = f"memory map of the {size} page at {head * PAGE_SIZE:#x}"
    figure.suptitle(f"{boot.spec.name}: {where}, {entries:,} pages of it", fontsize=11)
    figure.tight_layout()
    return figure


def _draw_entries(axis: Axes, frames: list[int | None], entries: int, look: Look, title: str) -> None:
    # frames: which frame each entry maps, None for one of its own.
    from matplotlib.patches import FancyArrowPatch, Rectangle

    used = {at if frame is None else frame for at, frame in enumerate(frames)}
    for at in range(len(frames)):
        axis.add_patch(Rectangle((0, -at - 0.36), 1.9, 0.72, color=PURPLE if at == 0 else BLUE))
        says = "head and first tails" if at == 0 else f"tails {at * PAGES_PER_MAP_PAGE}..."
        axis.text(0.95, -at, says, color="#ffffff", ha="center", va="center", fontsize=8)
        there = at in used
        box = Rectangle((4.0, -at - 0.36), 1.3, 0.72, facecolor=GREEN if there else "none", edgecolor=GREY,
                        linestyle="-" if there else "--")  # fmt: skip
        axis.add_patch(box)
        axis.text(4.65, -at, "frame" if there else "given back", ha="center", va="center", fontsize=8,
                  color="#ffffff" if there else look.ink)  # fmt: skip
        target = at if frames[at] is None else frames[at]
        assert target is not None
        arrow = FancyArrowPatch((1.95, -at), (3.97, -target), arrowstyle="-|>", mutation_scale=9, shrinkA=0, shrinkB=0,
                                color=CYAN if target != at else look.ink, linewidth=1.0)  # fmt: skip
        axis.add_patch(arrow)
    if entries > len(frames):
        axis.text(2.6, -len(frames), f"... and so on, {entries:,} in all", ha="center", va="center", fontsize=9)
    axis.text(0.95, 0.75, "page table entries", ha="center", fontsize=9)
    axis.text(4.65, 0.75, "page frames", ha="center", fontsize=9)
    axis.set_xlim(-0.2, 5.5)
    axis.set_ylim(-len(frames) - 0.6, 1.2)
    axis.set_title(title, fontsize=10)
    axis.axis("off")
