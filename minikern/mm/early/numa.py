"""Nodes: from SRAT and SLIT (or a made-up node) to memblock ranges with owners.

Source: arch/x86/mm/numa.c, arch/x86/mm/srat.c, drivers/acpi/numa/srat.c, mm/numa_memblks.c @ v6.1, v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hw.errors import MachineStopped
from hw.units import PAGE_SIZE, SMP_CACHE_BYTES
from minikern.acpi.srat import SratCpu, SratMemory, parse_slit, parse_srat
from minikern.core.moduleparam import Parameter, Words, early_param, needs_value
from minikern.core.printk import Level
from minikern.mm.buddy import zones
from minikern.mm.early.numa_emulation import Block, emulated_distances, split_nodes
from minikern.mm.page.mmzone import LOCAL_DISTANCE, REMOTE_DISTANCE
from minikern.state.numa import NUMA_NO_NODE, Memblk, Numa

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

COVERAGE_SLACK_BYTES = 1 << 20  # Source: arch/x86/mm/numa.c:numa_meminfo_cover_memory()
NODE_MIN_SIZE = 4 << 20  # Source: arch/x86/include/asm/numa.h @ v6.1
ULLONG_MAX = 2**64 - 1


class SratError(Exception):
    """The tables do not make sense; the next method of finding nodes is tried."""


def numa_init(k: Kernel) -> None:
    """Find the nodes by the first method that works: ACPI, then one made-up node.

    Source: arch/x86/mm/numa.c:x86_numa_init() @ v6.12
    """
    if not k.config.get("CONFIG_NUMA", True):
        _flat(k)
        return
    off = any(value.startswith("off") for value in k.cmdline.getall("numa"))
    if not off:
        try:
            _from_acpi(k)
        except SratError:
            pass
        else:
            return
    possible, phys_nodes = (k.numa.max_possible_pfn, k.numa.phys_nodes) if not off else (0, set())
    if not off:
        _reset_distance(k)
        k.memblock.clear_hotplug(0, 2**64 - 1)
    k.numa = Numa(max_possible_pfn=possible, phys_nodes=phys_nodes | {0})
    k.memblock.bottom_up = False
    k.printk("NUMA turned off" if off else "No NUMA configuration found")
    k.printk(f"Faking a node at [mem {0:#018x}-{(k.totals.max_pfn << 12) - 1:#018x}]")
    k.numa.parsed.add(0)
    k.numa.memblks.append(Memblk(0, k.totals.max_pfn << 12, 0))
    try:
        _cleanup_and_register(k)
    except SratError:  # the kernel goes on without a node, and has no memory then
        raise MachineStopped("a megabyte or more of memory lies beyond the map, and no node has it") from None


def _flat(k: Kernel) -> None:
    # A kernel without NUMA has one node, in its image, and says nothing. Source: arch/x86/mm/init_64.c:initmem_init()
    k.numa = Numa(parsed={0})
    k.memblock.set_node(0, 2**64 - 1, 0)


def init_cpu_to_node(k: Kernel) -> None:
    """Set up the nodes of CPUs that have no memory, where the release has not done so with the others.

    Source: arch/x86/mm/numa.c:init_cpu_to_node() @ v5.10
    """
    if k.behaviour.memoryless != "late":
        return
    for cpu in k.cpus.possible:
        node = k.numa.apic_to_node(k.cpus.apic_id.get(cpu, -1))
        if node != NUMA_NO_NODE and node not in {pglist.nid for pglist in k.nodes}:
            alloc_node_data(k, node)
            zones.init_memory_less_node(k, node)


def _from_acpi(k: Kernel) -> None:
    k.numa = Numa()
    disabled = any(value.startswith("noacpi") for value in k.cmdline.getall("numa"))
    srat = k.acpi.table("SRAT") if not disabled else None
    if srat is None:
        raise SratError
    _parse_cpus_and_memory(k, srat)
    _parse_slit(k)
    if not k.numa.memblks:
        raise SratError
    k.memblock.bottom_up = False  # from here on it is known what can be unplugged
    _cleanup_and_register(k)


def _parse_cpus_and_memory(k: Kernel, srat: bytes) -> None:
    entries = parse_srat(srat)
    for entry in entries:
        if isinstance(entry, SratCpu) and entry.enabled:
            _cpu_affinity(k, entry)
    for entry in entries:
        if isinstance(entry, SratMemory) and entry.enabled:
            _memory_affinity(k, entry)


def _setup_node(k: Kernel, pxm: int) -> int:
    # Proximity domains get node numbers in the order they are first seen.
    # Source: drivers/acpi/numa/srat.c:acpi_map_pxm_to_node()
    node = k.numa.pxm_to_node.setdefault(pxm, len(k.numa.pxm_to_node))
    if node >= 1 << k.config.number("CONFIG_NODES_SHIFT"):
        k.printk(f"SRAT: Too many proximity domains {pxm:x}", Level.ERR)
        _bad_srat(k)
    return node


def _bad_srat(k: Kernel) -> None:
    k.printk("SRAT: SRAT not used.", Level.ERR)
    raise SratError


def _cpu_affinity(k: Kernel, cpu: SratCpu) -> None:
    node = _setup_node(k, cpu.pxm)
    k.numa.apicid_to_node[cpu.apic_id] = node
    k.numa.parsed.add(node)
    k.numa.phys_nodes.add(node)
    if k.behaviour.srat_cpu_lines:
        width = 4 if cpu.x2apic else 2
        k.printk(f"SRAT: PXM {cpu.pxm} -> APIC 0x{cpu.apic_id:0{width}x} -> Node {node}")


def _memory_affinity(k: Kernel, memory: SratMemory) -> None:
    start, end = memory.base, memory.base + memory.length
    node = _setup_node(k, memory.pxm)
    if end > ULLONG_MAX:
        end &= ULLONG_MAX
        text = f"Warning: invalid memblk node {node} [mem {start:#010x}-{end - 1 & ULLONG_MAX:#010x}]"
        k.printk(k.behaviour.numa_warning_prefix + text, Level.WARNING)
    elif start < end:
        k.numa.memblks.append(Memblk(start, end, node))
    k.numa.parsed.add(node)
    flags = (" hotplug" if memory.hotplug else "") + (" non-volatile" if memory.non_volatile else "")
    k.printk(f"ACPI: SRAT: Node {node} PXM {memory.pxm} [mem {start:#010x}-{end - 1 & ULLONG_MAX:#010x}]{flags}")
    if memory.hotplug:
        k.numa.hotplug.append((start, end))
        k.memblock.mark_hotplug(start, max(0, end - start))
    k.numa.max_possible_pfn = max(k.numa.max_possible_pfn, -(-(end - 1 & ULLONG_MAX) // PAGE_SIZE))


def _parse_slit(k: Kernel) -> None:
    slit = k.acpi.table("SLIT")
    if slit is None:
        return
    matrix = parse_slit(slit)
    if matrix is None or not slit_valid(matrix):
        k.printk("ACPI: SLIT table looks invalid. Not used.")
        return
    count = max(k.numa.parsed, default=-1) + 1
    if not any(pxm < len(matrix) for pxm in k.numa.pxm_to_node):
        return  # no distance is ever set, so no table is made
    _alloc_distance(k, count)
    distance = [[LOCAL_DISTANCE if a == b else REMOTE_DISTANCE for b in range(count)] for a in range(count)]
    for pxm_a, node_a in k.numa.pxm_to_node.items():
        for pxm_b, node_b in k.numa.pxm_to_node.items():
            if max(pxm_a, pxm_b) < len(matrix) and max(node_a, node_b) < count:
                distance[node_a][node_b] = matrix[pxm_a][pxm_b]
    k.numa.distance = distance


def _alloc_distance(k: Kernel, count: int) -> None:
    # Source: mm/numa_memblks.c:numa_alloc_distance() @ v6.12
    size = count * count
    place = k.memblock.phys_alloc_range(size, PAGE_SIZE, 0, k.totals.max_pfn << 12)
    k.numa.distance_place = None if place is None else (place, size)
    if k.behaviour.numa_distance_line:
        k.printk(f"NUMA: Initialized distance table, cnt={count}", Level.DEBUG)


def _reset_distance(k: Kernel) -> None:
    # Source: mm/numa_memblks.c:numa_reset_distance() @ v6.12
    if k.numa.distance_place is not None:
        k.memblock.phys_free(*k.numa.distance_place)
    k.numa.distance, k.numa.distance_place = [], None


def slit_valid(matrix: list[list[int]]) -> bool:
    """True if every diagonal is local distance and every other entry larger.

    Source: drivers/acpi/numa/srat.c:slit_valid() @ v6.12
    """
    return all(
        value == LOCAL_DISTANCE if row == column else value > LOCAL_DISTANCE
        for row, values in enumerate(matrix)
        for column, value in enumerate(values)
    )


def _cleanup_and_register(k: Kernel) -> None:
    k.numa.memblks = _cleaned_meminfo(k, k.numa.memblks)
    _emulate(k)
    _register_memblks(k)


def _cleaned_meminfo(k: Kernel, memblks: list[Memblk]) -> list[Memblk]:
    """Cut ranges to existing memory, refuse overlaps between nodes, join what is adjacent on one node.

    Source: arch/x86/mm/numa.c:numa_cleanup_meminfo() @ v6.1, mm/numa_memblks.c @ v6.12
    """
    low = k.memblock.start_of_dram() if k.behaviour.numa_low == "dram" else 0
    high = k.memblock.end_of_dram() if k.behaviour.numa_low == "dram" else k.totals.max_pfn << 12
    blocks = []
    for block in memblks:
        start, end = max(block.start, low), min(block.end, high)
        if start < end and k.memblock.memory.overlaps(start, end):
            blocks.append(Memblk(start, end, block.nid))
    return _join(k, blocks)


def _join(k: Kernel, blocks: list[Memblk]) -> list[Memblk]:
    i = 0
    while i < len(blocks):
        j = i + 1
        while j < len(blocks):
            if not _join_pair(k, blocks, i, j):
                j += 1
        i += 1
    return blocks


def _join_pair(k: Kernel, blocks: list[Memblk], i: int, j: int) -> bool:
    a, b = blocks[i], blocks[j]
    if b.end > a.start and b.start < a.end:
        where = f"[mem {a.start:#010x}-{a.end - 1:#010x}] overlaps with"
        prefix = k.behaviour.numa_warning_prefix
        if a.nid != b.nid:
            k.printk(f"{prefix}node {a.nid} {where} node {b.nid} [mem {b.start:#010x}-{b.end - 1:#010x}]", Level.ERR)
            raise SratError
        k.printk(
            f"{prefix}Warning: node {a.nid} {where} itself [mem {b.start:#010x}-{b.end - 1:#010x}]", Level.WARNING
        )
    if a.nid != b.nid:
        return False
    start, end = min(a.start, b.start), max(a.end, b.end)
    others = (block for index, block in enumerate(blocks) if index not in (i, j) and block.nid != a.nid)
    if any(start < block.end and end > block.start for block in others):
        return False
    k.printk(
        f"NUMA: Node {a.nid} [mem {a.start:#010x}-{a.end - 1:#010x}] + [mem {b.start:#010x}-{b.end - 1:#010x}]"
        f" -> [mem {start:#010x}-{end - 1:#010x}]"
    )
    blocks[i] = Memblk(start, end, a.nid)
    del blocks[j]
    return True


def _register_memblks(k: Kernel) -> None:
    """Give memblock's ranges their nodes, check that nearly all RAM is covered, allocate node data.

    Source: arch/x86/mm/numa.c:numa_register_memblks() @ v6.1
    """
    for block in k.numa.memblks:
        k.memblock.set_node(block.start, block.end - block.start, block.nid)
    _clear_kernel_node_hotplug(k)
    _check_coverage(k)
    for nid in sorted({block.nid for block in k.numa.memblks}):
        start = min(block.start for block in k.numa.memblks if block.nid == nid)
        end = max(block.end for block in k.numa.memblks if block.nid == nid)
        if k.behaviour.numa_min_size and start < end and end - start < NODE_MIN_SIZE:
            continue
        alloc_node_data(k, nid)


def _clear_kernel_node_hotplug(k: Kernel) -> None:
    """A node that already holds something of the kernel's cannot be unplugged.

    Source: mm/numa_memblks.c:numa_clear_kernel_node_hotplug() @ v6.12
    """
    for block in k.numa.memblks:
        k.memblock.set_reserved_node(block.start, block.end - block.start, block.nid)
    held = {block.nid for block in k.numa.memblks if k.memblock.reserved.overlaps(block.start, block.end)}
    for block in k.numa.memblks:
        if block.nid in held:
            k.memblock.clear_hotplug(block.start, block.end - block.start)


def _check_coverage(k: Kernel) -> None:
    total = k.memblock.phys_mem_size()
    bare = sum(region.size for region in k.memblock.memory_regions() if region.nid == NUMA_NO_NODE)
    if bare < COVERAGE_SLACK_BYTES or (bare == COVERAGE_SLACK_BYTES and k.behaviour.numa_uncovered != "e820"):
        return
    if k.behaviour.numa_uncovered == "e820":
        covered = (total - bare) >> 20
        k.printk(f"NUMA: nodes only cover {covered}MB of your {total >> 20}MB e820 RAM. Not used.", Level.ERR)
    else:
        k.printk(f"NUMA: no nodes coverage for {bare >> 20}MB of {total >> 20}MB RAM", Level.ERR)
    k.memblock.set_node(0, 2**64 - 1, NUMA_NO_NODE)
    raise SratError


def alloc_node_data(k: Kernel, nid: int) -> None:
    """Place the node's ``pg_data_t`` on the node. Source: arch/x86/mm/numa.c:alloc_node_data() @ v6.1"""
    size = k.release.image.node_data_bytes
    place = k.memblock.alloc(size, SMP_CACHE_BYTES, nid)
    if place is None:
        k.printk(f"NUMA: Cannot find {size} bytes in any node (initial node: {nid})", Level.ERR)
        return
    k.printk(f"NODE_DATA({nid}) allocated [mem {place:#010x}-{place + size - 1:#010x}]")
    owner = next((r.nid for r in k.memblock.memory_regions() if r.base <= place < r.end), nid)
    if owner != nid:
        k.printk(f"    NODE_DATA({nid}) on node {owner}")


def _emulate(k: Kernel) -> None:
    """``numa=fake=``: cut the memory into pretended nodes; CPUs follow the first one of their real node.

    Source: mm/numa_emulation.c:numa_emulation() @ v6.12
    """
    words = [value for value in k.cmdline.getall("numa") if value.startswith("fake=")]
    if not words:
        return
    found = split_nodes(k, words[-1].removeprefix("fake="), [Block(*block) for block in k.numa.memblks])
    if found is None:
        return
    blocks, phys_of, given = found
    try:
        memblks = _cleaned_meminfo(k, [Memblk(*block) for block in blocks])
    except SratError:
        k.printk("NUMA: Warning: constructed meminfo invalid, disabling emulation", Level.WARNING)
        return
    distance = emulated_distances(k, phys_of, given)
    _replace_distance(k, len(distance))
    k.numa.distance = distance
    with_cpus = set(k.numa.apicid_to_node.values())
    k.numa.cpu_nodes = {nid for nid, phys in phys_of.items() if phys in with_cpus}
    first = {phys: nid for nid, phys in sorted(phys_of.items(), reverse=True)}
    k.numa.apicid_to_node = {apic_id: first.get(phys, 0) for apic_id, phys in k.numa.apicid_to_node.items()}
    k.numa.memblks = memblks
    k.numa.parsed = {block.nid for block in memblks}


def _replace_distance(k: Kernel, count: int) -> None:
    # The old table is kept as a copy until the new one is filled in.
    copy = None
    if k.numa.distance_place is not None:
        size = k.numa.distance_place[1]
        copy = k.memblock.phys_alloc_range(size, PAGE_SIZE, 0, k.totals.max_pfn << 12)
    _reset_distance(k)
    _alloc_distance(k, count)
    if copy is not None:
        k.memblock.phys_free(copy, size)


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    early_param("numa", needs_value, read_by=numa_init, words=Words(("off*", "noacpi*", "fake=*"), ("nohmat*",), "")),
)
