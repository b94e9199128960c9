"""Memory nodes of this computer: pages belong to the node whose CPU touches them first.

Source: Documentation/ABI/stable/sysfs-devices-node, Documentation/admin-guide/mm/numaperf.rst @ v6.12
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

SYSFS = Path("/sys/devices/system/node")
STRETCH_SHIFT = 18  # rows of one stretch: 16 MiB of memory map, many host pages
MAX_CPU = 1 << 16


def usable_cpus() -> frozenset[int]:
    """CPUs of this computer that we may use."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def host_nodes(folder: Path = SYSFS, usable: frozenset[int] | None = None) -> list[frozenset[int]]:
    """The usable CPUs of each node that has some; all of them as one node where nothing is known of nodes."""
    usable = usable_cpus() if usable is None else usable
    found = []
    for path in sorted(folder.glob("node[0-9]*/cpulist")):
        try:
            cpus = parse_cpulist(path.read_text()) & usable
        except (OSError, ValueError):
            continue
        if cpus:
            found.append(cpus)
    rest = usable.difference(*found)
    return found if found and not rest else [*found, rest] if found else [usable]


def parse_cpulist(text: str) -> frozenset[int]:
    """CPUs of a list such as ``0-3,8``. ValueError for anything else."""
    cpus: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        low, high = int(first), int(last or first)
        if not 0 <= low <= high < MAX_CPU:
            raise ValueError(f"{part!r}: expected CPU numbers below {MAX_CPU}")
        cpus |= set(range(low, high + 1))
    return frozenset(cpus)


def node_of(slot: int, nodes: Sequence[frozenset[int]]) -> int:
    """Which node's threads write row ``slot`` of the map: stretches take turns, always the same way."""
    return (slot >> STRETCH_SHIFT) % len(nodes)


def bind(cpus: frozenset[int]) -> None:
    """Keep the calling thread on these CPUs, where the host can do that."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cpus)
