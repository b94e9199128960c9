"""What a boot log says of memory affinity: SRAT lines, distances, and the nodes of the CPUs."""

from __future__ import annotations

import re
from collections import Counter

from hw.spec import MAX_CPUS, NodeMemory, NodeSpec
from minikern.describe.case import Case
from minikern.describe.dmesg_bringup import boot_cpu_node, bringup
from minikern.describe.dmesg_log import RANGE, Log
from minikern.describe.dmesg_tables import Affinity, Firmware

MAX_NUMNODES = 1024

_SRAT_CPU = re.compile(r"^SRAT: PXM (\d+) -> APIC 0x([0-9a-f]+) -> Node (\d+)")
_SRAT_MEMORY = re.compile(rf"^(?:ACPI: )?SRAT: Node (\d+) PXM (\d+) {RANGE}(.*)$")
_NODE_RANGE = re.compile(rf"^\s*node\s+(\d+): {RANGE}$")
_FALLBACK = re.compile(r"^Fallback order for Node (\d+): ([\d ]+)$")


def affinity(log: Log) -> tuple[list[Affinity], list[tuple[int, int, bool]]]:
    memory = []
    for match in log.all(_SRAT_MEMORY):
        start, end = int(match[3], 16), int(match[4], 16) + 1
        if start < end <= 1 << 63:
            tail = match[5]
            area = Affinity(int(match[2]) & 0xFFFF_FFFF, start, end - start, "hotplug" in tail, "non-volatile" in tail)
            memory.append(area)
    cpus = []
    for match in log.all(_SRAT_CPU)[:MAX_CPUS]:
        apic_id = int(match[2], 16)
        cpus.append((apic_id & 0xFFFF_FFFF, int(match[1]) & 0xFFFF_FFFF, len(match[2]) > 2))
    if memory or cpus:
        log.read.append(f"{len(memory)} memory and {len(cpus)} processor entries of the SRAT")
        return memory, cpus
    nodes = [(int(match[1]), int(match[2], 16), int(match[3], 16) + 1) for match in log.all(_NODE_RANGE)]
    nodes = [node for node in nodes if node[0] < MAX_NUMNODES]
    if len({nid for nid, _, _ in nodes}) > 1:
        log.assumed.append("memory affinity after the 'Early memory node ranges' lines")
        return [Affinity(nid, start, end - start) for nid, start, end in nodes if start < end], []
    return [], []


def distances(log: Log) -> list[list[int]]:
    """Distances by proximity domain that give the logged fallback orders; empty for the usual 10 and 20."""
    orders = {int(match[1]): [int(word) for word in match[2].split()] for match in log.all(_FALLBACK)}
    count = max(orders, default=-1) + 1
    if not 2 < count <= 64 or any(nid >= count for order in orders.values() for nid in order):
        return []
    step = min(10, 230 // count)
    table = [[10 if a == b else 254 for b in range(count)] for a in range(count)]
    for nid, order in orders.items():
        for rank, other in enumerate(order):
            if other != nid:
                table[nid][other] = 20 + step * (rank - 1 if order[0] == nid else rank)
    log.assumed.append("node distances that give the logged fallback orders")
    return table


def bringup_order(log: Log, cpu_pxm: list[tuple[int, int, bool]]) -> list[int]:
    """APIC ids of the SRAT in the order in which the kernel numbered the CPUs.

    The SRAT's order is kept within a node; across nodes the bring-up lines decide, where they fit.
    """
    ids = [apic_id for apic_id, _, _ in cpu_pxm]
    nodes = bringup(log).nodes
    domains = list(dict.fromkeys(pxm for _, pxm, _ in cpu_pxm))
    queues = {node: [a for a, p, _ in cpu_pxm if p == pxm] for node, pxm in enumerate(domains)}
    counts = Counter(nodes.values())
    short = [node for node, queue in queues.items() if len(queue) == counts[node] + 1]
    if len(short) != 1 or len(nodes) != len(ids) - 1 or sorted(nodes) != list(range(1, len(ids))):
        return ids
    nodes[0] = short[0]
    return [queues[nodes[cpu]].pop(0) for cpu in range(len(ids))]


def cpu_nodes(log: Log, firmware: Firmware) -> list[tuple[int, int, bool]]:
    """Which CPU is on which node, by the bring-up lines; else in equal shares over the domains with memory."""
    found = bringup(log)
    nodes = found.nodes
    domains = _domains(log, firmware, nodes)
    count = len(firmware.cpus)
    if len(nodes) >= count - 1 and all(nid < len(domains) for nid in nodes.values()):
        nodes.setdefault(0, boot_cpu_node(found, len(domains)))
        log.read.append("the nodes of the CPUs from their bring-up")
    else:
        nodes = {cpu: cpu * len(domains) // count for cpu in range(count)}
        log.assumed.append("CPUs spread evenly over the nodes")
    # Domains become nodes in the order in which the table's processors name them.
    placed = sorted(enumerate(firmware.cpus), key=lambda item: nodes.get(item[0], 0))
    return [(apic_id, domains[nodes.get(cpu, 0)], apic_id >= 0xFF) for cpu, apic_id in placed]


def _domains(log: Log, firmware: Firmware, nodes: dict[int, int]) -> list[int]:
    """The proximity domain of each node, as logged; nodes without memory get domains of their own."""
    told = {int(match[1]): int(match[2]) & 0xFFFF_FFFF for match in log.all(_SRAT_MEMORY)}
    told = told or dict(enumerate(dict.fromkeys(area.pxm for area in firmware.memory)))
    count = max(*told, *nodes.values()) + 1 if nodes else max(told) + 1
    if count > MAX_NUMNODES:
        return list(dict.fromkeys(area.pxm for area in firmware.memory))
    spare = (pxm for pxm in range(2 * MAX_NUMNODES) if pxm not in told.values())
    return [told[nid] if nid in told else next(spare) for nid in range(count)]


def plain_nodes(spec: Case, firmware: Firmware) -> None:
    domains = list(dict.fromkeys([pxm for _, pxm, _ in firmware.cpu_pxm] + [area.pxm for area in firmware.memory]))
    position = {apic_id: index for index, apic_id in enumerate(firmware.cpus)}
    spec.nodes = [
        NodeSpec(
            memory=[NodeMemory(a.base, a.length, a.hotplug) for a in firmware.memory if a.pxm == pxm],
            cpus=",".join(str(position[a]) for a, p, _ in firmware.cpu_pxm if p == pxm and a in position),
            pxm=pxm,
        )
        for pxm in domains
    ]
    spec.nodes = [node for node in spec.nodes if node.memory or node.cpus]
    if not any(node.memory for node in spec.nodes):
        spec.nodes = []
    spec.cpus.cpuid, spec.cpus.apic_ids = [], []
