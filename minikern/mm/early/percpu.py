"""The first per-CPU chunk: embedded in memblock memory, one group a node.

Source: mm/percpu.c:pcpu_build_alloc_info(), pcpu_embed_first_chunk(), arch/x86/kernel/setup_percpu.c @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hw.units import PAGE_SIZE
from minikern.core.printk import Level
from minikern.mm.early import early_allocs

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

PMD_SIZE = 2 << 20
MAX_DMA_ADDRESS = 16 << 20
PERCPU_MODULE_RESERVE = 8 << 10  # Source: include/linux/percpu.h
PERCPU_DYNAMIC_RESERVE = 28 << 10  # same, 64 bit
PCPU_MIN_UNIT_SIZE = 32 << 10
SMALL_ALIGN = 64


class AllocInfo(NamedTuple):
    """Sizes in bytes; ``groups`` lists the CPUs of each group."""

    static: int
    reserved: int
    dynamic: int
    unit: int
    alloc: int
    groups: list[list[int]]

    @property
    def used(self) -> int:
        """Bytes of a unit that are kept."""
        return self.static + self.reserved + self.dynamic

    @property
    def units_per_alloc(self) -> int:
        """Units in one allocation."""
        return self.alloc // self.unit


def build_alloc_info(
    static: int, groups: list[list[int]], atom: int = PMD_SIZE, reserved: int = PERCPU_MODULE_RESERVE
) -> AllocInfo:
    """Choose unit and allocation size: few allocations, little waste.

    Source: mm/percpu.c:pcpu_build_alloc_info() @ v6.12
    """
    total = static + reserved + PERCPU_DYNAMIC_RESERVE
    total = -(-total // PAGE_SIZE) * PAGE_SIZE
    dynamic = total - static - reserved
    alloc = -(-max(total, PCPU_MIN_UNIT_SIZE) // atom) * atom
    upa = max_upa = alloc // max(total, PCPU_MIN_UNIT_SIZE)
    while alloc % upa or (alloc // upa) % PAGE_SIZE:
        upa = max_upa = upa - 1
    possible = sum(len(group) for group in groups)
    best, last_allocs = 1, 1 << 62
    for candidate in range(max_upa, 0, -1):
        if alloc % candidate or (alloc // candidate) % PAGE_SIZE:
            continue
        allocs = sum(-(-len(group) // candidate) for group in groups)
        wasted = allocs * candidate - possible
        if wasted > possible // 3:
            continue  # too much of the chunk would be empty
        if allocs > last_allocs:
            break
        last_allocs, best = allocs, candidate
    return AllocInfo(static, reserved, dynamic, alloc // best, alloc, groups)


def cpu_groups(k: Kernel) -> list[list[int]]:
    """Possible CPUs grouped by node.

    Source: mm/percpu.c:pcpu_build_alloc_info(), arch/x86/kernel/setup_percpu.c:pcpu_cpu_distance() @ v6.12
    """
    groups: list[list[int]] = []
    for cpu in k.cpus.possible:
        node = early_cpu_to_node(k, cpu)
        for group in groups:
            if node == early_cpu_to_node(k, group[0]):
                group.append(cpu)
                break
        else:
            groups.append([cpu])
    return groups


def early_cpu_to_node(k: Kernel, cpu: int) -> int:
    """Node of a possible CPU; those the tables leave out were dealt to the nodes in turn.

    Source: arch/x86/mm/numa.c:numa_init_array(), init_cpu_to_node() @ v6.12
    """
    apic_id = k.cpus.apic_id.get(cpu)
    node = -1 if apic_id is None else k.numa.apic_to_node(apic_id)
    if node >= 0:
        return node
    online = [pglist.nid for pglist in k.nodes if pglist.present_pages]
    return online[cpu % len(online)] if online else 0


def setup_per_cpu_areas(k: Kernel) -> None:
    """Lay out and allocate every CPU's area. Source: arch/x86/kernel/setup_percpu.c:setup_per_cpu_areas() @ v6.12"""
    nr_cpu_ids = k.cpus.nr_cpu_ids
    nr_cpus = k.config.number("CONFIG_NR_CPUS")
    whole = k.behaviour.cpumask_bits == "storage" and not k.config.get("CONFIG_CPUMASK_OFFSTACK", True)
    k.printk(
        f"setup_percpu: NR_CPUS:{nr_cpus} nr_cpumask_bits:{nr_cpus if whole else nr_cpu_ids} nr_cpu_ids:{nr_cpu_ids}"
        f" nr_node_ids:{k.numa.nr_node_ids()}"
    )
    reserved = PERCPU_MODULE_RESERVE if k.config.get("CONFIG_MODULES", True) else 0
    info = build_alloc_info(k.release.image.percpu_static_bytes, cpu_groups(k), reserved=reserved)
    _embed_first_chunk(k, info)
    pages = info.used // PAGE_SIZE
    k.printk(
        f"percpu: Embedded {pages} pages/cpu s{info.static} r{info.reserved} d{info.dynamic} u{info.unit}"
    )
    k.charge("percpu_static_page", pages * len(k.cpus.possible))
    _dump_alloc_info(k, info)
    early_allocs.setup_cpu_masks(k)


def _embed_first_chunk(k: Kernel, info: AllocInfo) -> None:
    # Bookkeeping that lives only during set-up is allocated and given back, so later allocations reuse its place.
    scratch = [k.memblock.alloc(PAGE_SIZE, align) for align in (PAGE_SIZE, SMALL_ALIGN)]
    for group in info.groups:
        node = early_cpu_to_node(k, group[0])
        units = -(-len(group) // info.units_per_alloc) * info.units_per_alloc
        base = k.memblock.alloc(units * info.unit, PMD_SIZE, node, MAX_DMA_ADDRESS)
        if base is None:
            continue
        for unit in range(units):
            kept = info.used if unit < len(group) else 0
            start = base + unit * info.unit
            k.memblock.phys_free(start + kept, info.unit - kept)
    early_allocs.pcpu_setup_first_chunk(k, info)
    for address in scratch:
        if address is not None:
            k.memblock.phys_free(address, PAGE_SIZE)


def _dump_alloc_info(k: Kernel, info: AllocInfo) -> None:
    k.printk(
        f"pcpu-alloc: s{info.static} r{info.reserved} d{info.dynamic} u{info.unit}"
        f" alloc={info.alloc // PMD_SIZE}*{PMD_SIZE}",
        Level.DEBUG,
    )
    cells = [row for group in enumerate(info.groups) for row in _group_cells(group, info.units_per_alloc)]
    width = len(str(max(cpu for group in info.groups for cpu in group)))
    group_width = len(str(len(info.groups) - 1))
    line = ""
    for index, row in cells:
        text = f"[{index:0{group_width}d}] " + "".join("-" * width + " " if c < 0 else f"{c:0{width}d} " for c in row)
        if line and len(line) + len(text) > 75:
            k.printk("pcpu-alloc: " + line, Level.DEBUG)
            line = ""
        line += text
    k.printk("pcpu-alloc: " + line, Level.DEBUG)


def _group_cells(group: tuple[int, list[int]], upa: int) -> list[tuple[int, list[int]]]:
    index, cpus = group
    padded = cpus + [-1] * (-len(cpus) % upa)
    return [(index, padded[i : i + upa]) for i in range(0, len(padded), upa)]
