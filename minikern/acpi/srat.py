"""SRAT and SLIT: reading only; what the entries mean for nodes is the memory side's business."""

from __future__ import annotations

from typing import NamedTuple

from hw.acpi import layout

AFFINITY_ENABLED = 1 << 0
MEMORY_HOTPLUG, MEMORY_NON_VOLATILE = 1 << 1, 1 << 2  # Source: ACPI 6.5 table 5.62
MAX_LOCALITIES = 1024
CPU, MEMORY, X2APIC = 0, 1, 2


class SratCpu(NamedTuple):
    """Affinity of one processor."""

    pxm: int
    apic_id: int
    enabled: bool
    x2apic: bool


class SratMemory(NamedTuple):
    """Affinity of one memory range; addresses and lengths in bytes."""

    pxm: int
    base: int
    length: int
    enabled: bool
    hotplug: bool
    non_volatile: bool


def parse_srat(table: bytes) -> list[SratCpu | SratMemory]:
    """Entries in table order; an entry of length zero, too short for its kind or cut off ends the list.

    Source: drivers/acpi/numa/srat.c:acpi_numa_init(), arch/x86/mm/srat.c @ v6.12
    """
    out: list[SratCpu | SratMemory] = []
    wide = len(table) > 8 and table[8] >= 2  # revision 1 has proximity domains of one byte
    offset = layout.SRAT.size
    while offset + 2 <= len(table):
        kind, length = table[offset], table[offset + 1]
        entry = table[offset : offset + length]
        shape = {CPU: layout.SRAT_CPU, MEMORY: layout.SRAT_MEMORY, X2APIC: layout.SRAT_X2APIC}.get(kind)
        if length < 2 or (shape is not None and len(entry) < shape.size):
            break
        if kind == CPU:
            out.append(_cpu(entry, wide))
        elif kind == MEMORY:
            out.append(_memory(entry, wide))
        elif kind == X2APIC:
            out.append(_x2apic(entry))
        offset += length
    return out


def _cpu(entry: bytes, wide: bool) -> SratCpu:
    shape = layout.SRAT_CPU
    pxm = shape.get(entry, "pxm_lo") | (shape.get(entry, "pxm_hi") << 8 if wide else 0)
    return SratCpu(pxm, shape.get(entry, "apic_id"), bool(shape.get(entry, "flags") & AFFINITY_ENABLED), False)


def _x2apic(entry: bytes) -> SratCpu:
    shape = layout.SRAT_X2APIC
    enabled = bool(shape.get(entry, "flags") & AFFINITY_ENABLED)
    return SratCpu(shape.get(entry, "pxm"), shape.get(entry, "apic_id"), enabled, True)


def _memory(entry: bytes, wide: bool) -> SratMemory:
    shape = layout.SRAT_MEMORY
    flags = shape.get(entry, "flags")
    return SratMemory(
        shape.get(entry, "pxm") & (0xFFFF_FFFF if wide else 0xFF),
        shape.get(entry, "base"),
        shape.get(entry, "bytes"),
        bool(flags & AFFINITY_ENABLED),
        bool(flags & MEMORY_HOTPLUG),
        bool(flags & MEMORY_NON_VOLATILE),
    )


def parse_slit(table: bytes) -> list[list[int]] | None:
    """The distance matrix, None when the table is too short for the count it names.

    Source: drivers/acpi/numa/srat.c:acpi_parse_slit() @ v6.12
    """
    if len(table) < layout.SLIT.size:
        return None
    count = layout.SLIT.get(table, "localities")
    start = layout.SLIT.size
    if not 0 < count <= MAX_LOCALITIES or len(table) < start + count * count:
        return None
    return [list(table[start + row * count : start + (row + 1) * count]) for row in range(count)]
