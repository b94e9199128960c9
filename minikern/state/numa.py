"""Nodes as the kernel knows them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from minikern.mm.page.mmzone import LOCAL_DISTANCE, REMOTE_DISTANCE

if TYPE_CHECKING:
    pass

NUMA_NO_NODE = -1


class Memblk(NamedTuple):
    """[start, end) bytes on node ``nid``."""

    start: int
    end: int
    nid: int



@dataclass
class Numa:
    """What the kernel knows about nodes."""

    memblks: list[Memblk] = field(default_factory=list)
    pxm_to_node: dict[int, int] = field(default_factory=dict)
    apicid_to_node: dict[int, int] = field(default_factory=dict)
    parsed: set[int] = field(default_factory=set)  # nodes named by the tables, with memory or not
    phys_nodes: set[int] = field(default_factory=set)  # nodes of the CPUs in the tables, before any pretending
    distance: list[list[int]] = field(default_factory=list)
    hotplug: list[tuple[int, int]] = field(default_factory=list)
    max_possible_pfn: int = 0
    cpu_nodes: set[int] = field(default_factory=set)  # pretended nodes whose real node has CPUs
    distance_place: tuple[int, int] | None = None  # (address, bytes) of the distance table

    def apic_to_node(self, apic_id: int) -> int:
        """Node of a CPU by its APIC id, -1 if the tables do not say."""
        return self.apicid_to_node.get(apic_id, NUMA_NO_NODE)

    def node_distance(self, a: int, b: int) -> int:
        """Distance in SLIT units. Source: arch/x86/mm/numa.c:__node_distance()"""
        if a < len(self.distance) and b < len(self.distance):
            return self.distance[a][b]
        return LOCAL_DISTANCE if a == b else REMOTE_DISTANCE

    def nr_node_ids(self) -> int:
        """Highest node number plus one."""
        return max(self.parsed, default=0) + 1

