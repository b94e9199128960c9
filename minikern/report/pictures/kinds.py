"""The pictures by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from minikern.lab.run import Boot
from minikern.report.pictures.bringup import draw_bringup
from minikern.report.pictures.canvas import Look
from minikern.report.pictures.lists import draw_free_lists, draw_memory_map
from minikern.report.pictures.memory import draw_memory
from minikern.report.pictures.trees import draw_acpi, draw_pci

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OF_A_BOOT: dict[str, Callable[[Boot, Look], Figure]] = {
    "memory": draw_memory,
    "memory-map": draw_memory_map,
    "free-lists": draw_free_lists,
    "bringup": draw_bringup,
    "acpi": draw_acpi,
    "pci": draw_pci,
}
OF_AN_IMAGE, OF_A_LADDER = "kexec", "ladder"
KINDS = {
    "memory": "physical memory: firmware's map, memblock, zones, who holds it",
    "memory-map": "the page tables of a huge page's struct pages, folded or not",
    "free-lists": "free memory by the order of its blocks",
    "bringup": "the states of each CPU while it comes up, over time",
    "acpi": "the devices of ACPI's namespace, as a tree",
    "pci": "buses, bridges and devices, as a tree, with IOMMU groups",
    OF_AN_IMAGE: "a kexec image before and after relocation",
    OF_A_LADDER: "the ladder, a bar a rung, cut by phase",
}
