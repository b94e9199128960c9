"""A PC's memory map made up from a size: low memory, the ACPI area below the hole, the rest above 4 GiB.

    0x000000000 - 0x00009fc00  RAM
    0x00009fc00 - 0x000100000  EBDA, ROM
    0x000100000 - low end      RAM, its last MiB ACPI tables
    0x0e0000000 - 0x0f0000000  PCI configuration window
    0x100000000 - ...          the rest of RAM
"""

from __future__ import annotations

from hw.errors import InputError
from hw.spec import MachineSpec, MemoryRange, NodeMemory, NodeSpec
from hw.units import GIB, KIB, MIB

LOW_LIMIT = 2 * GIB
HIGH_START = 4 * GIB
CONVENTIONAL_END = 0x9FC00
ACPI_AREA = 1 * MIB
ECAM_WINDOW = (0xE000_0000, 0xF000_0000)
ECAM_BYTES = 256 * MIB  # of one segment with all its buses
MIN_MEMORY = 64 * MIB

RAM, RESERVED, ACPI = 1, 2, 3


def make_e820(total: int, where: str) -> list[MemoryRange]:
    """Map of a machine with ``total`` bytes of RAM; InputError if there is too little to boot."""
    if total < MIN_MEMORY:
        raise InputError(f"{where}: {total} bytes of memory: a kernel needs at least {MIN_MEMORY // MIB} MiB here")
    if total % (64 * KIB):
        raise InputError(f"{where}: {total} bytes of memory: expected a multiple of 64 KiB")
    low = min(total, LOW_LIMIT)
    ranges = [
        MemoryRange(0, CONVENTIONAL_END, RAM),
        MemoryRange(CONVENTIONAL_END, 0xA0000, RESERVED),
        MemoryRange(0xF0000, 0x100000, RESERVED),
        MemoryRange(0x100000, low - ACPI_AREA, RAM),
        MemoryRange(low - ACPI_AREA, low, ACPI),
        MemoryRange(*ECAM_WINDOW, RESERVED),
        MemoryRange(0xFED1C000, 0xFED20000, RESERVED),
        MemoryRange(0xFFFC0000, 0x100000000, RESERVED),
    ]
    if total > low:
        ranges.append(MemoryRange(HIGH_START, HIGH_START + total - low, RAM))
    return ranges


def place_nodes(sizes: list[int], cpus: list[str], where: str) -> list[NodeSpec]:
    """Nodes with the given sizes, one after the other through the map of :func:`make_e820`.

    A size of 0 makes a memoryless node, empty ``cpus`` one without CPUs; InputError if all are 0.
    """
    if not any(sizes):
        raise InputError(f"{where}: no node has memory")
    nodes: list[NodeSpec] = []
    offset = 0
    for size, cpulist in zip(sizes, cpus, strict=True):
        nodes.append(NodeSpec(memory=_pieces(offset, offset + size), cpus=cpulist))
        offset += size
    return nodes


def _pieces(start: int, end: int) -> list[NodeMemory]:
    # Installed bytes [start, end) as addresses: what does not fit below the hole goes above 4 GiB.
    pieces = []
    if start < min(end, LOW_LIMIT):
        pieces.append(NodeMemory(start, min(end, LOW_LIMIT) - start))
    if end > max(start, LOW_LIMIT):
        base = max(start, LOW_LIMIT)
        pieces.append(NodeMemory(HIGH_START + base - LOW_LIMIT, end - base))
    return pieces


def complete_memory(spec: MachineSpec) -> None:
    """Fill in the map, the ACPI area and the configuration window of a machine that gives only a size."""
    if not spec.e820:
        spec.e820 = make_e820(spec.memory_bytes(), f"{spec.name}: memory")
        if spec.pci.ecam_base is None and (spec.pci.functions or spec.pci.places):
            spec.pci.ecam_base = ECAM_WINDOW[0]
        _place_segments(spec)


def _place_segments(spec: MachineSpec) -> None:
    """Give configuration windows without a place one behind all memory."""
    free = max(HIGH_START, *(entry.end for entry in spec.e820), *(window.base for window in spec.pci.segments), 0)
    for window in spec.pci.segments:
        if not window.base:
            window.base = free = -(-free // ECAM_BYTES) * ECAM_BYTES
            free += ECAM_BYTES
            spec.e820.append(MemoryRange(window.base, free, RESERVED))
