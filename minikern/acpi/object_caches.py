"""ACPICA's caches of small objects, and what aligning them to cache lines would spare.

An object that begins anywhere lies in more lines than one that begins with a line. A patch of August 2024 aligned them
(one flag in drivers/acpi/osl.c:acpi_os_create_cache(), "ACPI: align slab for improved memory performance", Message-ID
20240808222138.51-1-colin.king@intel.com); no release has it. Its author measured 35 ms less in acpi_init on a desktop,
the mean of 100 boots; on a laptop of another it was 20 ms more, in two.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from minikern.core.costs import Cost

LINE = 64
NODE, OPERAND, PARSE, STATE = 48, 72, 56, 80
"""Bytes of an object of each cache with 64-bit pointers. Source: drivers/acpi/acpica/{aclocal,acobject}.h @ v6.12, as
/proc/slabinfo shows them"""
ALLOCATED: dict[str, tuple[int, ...]] = {
    "aml_term": (PARSE,),
    "aml_object_create": (NODE, OPERAND),
    "aml_opcode": (PARSE, OPERAND, STATE),
}
"""Objects taken from the caches for a piece of work. Source: drivers/acpi/acpica/{psargs,nsalloc,dswstate}.c @ v6.12"""
LINE_COST = "acpi_cache_line"


def lines_touched(size: int, slot: int) -> float:
    """Mean number of lines an object of ``size`` bytes lies in, slots of ``slot`` bytes side by side from a line on."""
    places = [at * slot % LINE for at in range(LINE)]
    return sum(-(-(place + size) // LINE) for place in places) / len(places)


def lines_spared(kind: str) -> float:
    """Lines that alignment spares in one piece of work."""
    return sum(lines_touched(size, size) - lines_touched(size, -(-size // LINE) * LINE) for size in ALLOCATED[kind])


def aligned_costs(costs: Mapping[str, Cost]) -> dict[str, Cost]:
    """Unit costs with aligned caches: each line that is not touched is one look into the next cache less."""
    line_ns = costs[LINE_COST].ns
    changed = dict(costs)
    for kind in ALLOCATED:
        spared = lines_spared(kind) * line_ns
        source = f"{costs[kind].source}; less {lines_spared(kind):.2f} cache lines of {line_ns:g} ns: aligned objects"
        changed[kind] = msgspec.structs.replace(
            costs[kind], ns=max(0.0, costs[kind].ns - spared), source=source, low=None, high=None
        )
    return changed
