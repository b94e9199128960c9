"""A kernel with just the parts that the struct-page rooms need, on memory given as ranges."""

from __future__ import annotations

import struct
from collections import Counter
from types import SimpleNamespace
from typing import Any

import simpy

from hw.clock import Clock
from minikern.core.cmdline import CommandLine
from minikern.core.config import Config
from minikern.core.costs import Cost
from minikern.core.kernel import BootOptions, Kernel
from minikern.core.release import load_release
from minikern.mm.hugetlb.hugetlb import hugetlb_cmdline, hugetlb_early_reserve
from minikern.mm.map.hugetlb_preinit import hugetlb_vmemmap_init_late
from minikern.mm.map.page_init import memmap_init
from minikern.mm.map.sparse import sparse_init, vmemmap_init
from minikern.mm.page.mmzone import MAX_DMA32_PFN, MAX_DMA_PFN, Pglist, Zone
from minikern.state.cpuinfo import CpuInfo
from minikern.state.cpus import CpuId, CpuMaps
from minikern.state.memblock import Memblock
from minikern.state.numa import Numa
from tests.support import behaviour_of

MIB = 1 << 20
GIB = 1 << 30

COSTS = {
    "vmemmap_section_map": 250.0,
    "struct_page_init": 6.68,
    "struct_page_free": 6.8,
    "reserved_page_init": 8.9,
    "reserved_page_set": 6.7,
    "bootmem_info_page": 34.0,
    "deferred_page_init": 13.5,
    "deferred_page_init_sibling": 22.1,
    "node_store_per_page": 1.31,
    "compound_head_prep": 100.0,
    "compound_tail_prep": 9.8,
    "compound_tail_init_prep": 9.8,
    "hugetlb_page_alloc": 500.0,
    "hugetlb_pool_add": 800.0,
    "hvo_remap_page": 165.3,
    "vmemmap_pte_set": 12.0,
    "hvo_restore_page": 400.0,
    "tlb_flush_cpu": 40.0,
}
CONFIG: dict[str, bool | int | str] = {
    "CONFIG_HZ": 250,
    "CONFIG_NR_CPUS": 240,
    "CONFIG_NODES_SHIFT": 6,
    "CONFIG_DEFERRED_STRUCT_PAGE_INIT": True,
    "CONFIG_HAVE_BOOTMEM_INFO_NODE": True,
    "CONFIG_NUMA_BALANCING": True,
    "CONFIG_ZONE_DMA": True,
    "CONFIG_ZONE_DMA32": True,
    "CONFIG_ZONE_DEVICE": True,
    "CONFIG_HUGETLB_PAGE_OPTIMIZE_VMEMMAP": True,
    "CONFIG_CONTIG_ALLOC": True,
}


class FakeKernel(Kernel):
    """A kernel on a board of memory and one CPU, with its work counted by kind."""

    def __init__(self, machine: Any, options: BootOptions) -> None:
        costs = {kind: Cost(ns, "made up for tests") for kind, ns in COSTS.items()}
        super().__init__(machine, load_release("lpc2023"), None, costs, [], options)
        self.charges: Counter[str] = Counter()
        self.worked: Counter[int] = Counter()  # ns by CPU, of work beside the boot CPU's own

    @property
    def lines(self) -> list[str]:
        return [line.text for line in self.log.lines]

    def wait(self, event: Any) -> Any:
        return self.machine.clock.wait(event)

    def charge(self, kind: str, count: int = 1) -> None:
        self.charges[kind] += count
        super().charge(kind, count)

    def charge_on(self, cpu: int, kind: str, count: int = 1) -> simpy.Timeout:
        self.charges[kind] += count
        self.worked[cpu] += round(count * COSTS[kind])
        return super().charge_on(cpu, kind, count)

    def book_span(self, cpu: int, kind: str, count: int, start_ns: int, total_ns: int) -> None:
        self.charges[kind] += count
        super().book_span(cpu, kind, count, start_ns, total_ns)

    def pgtable_l5_enabled(self) -> bool:
        return False


def fake_kernel(
    memory: list[tuple[int, int, int]],
    reserved: list[tuple[int, int]] = [],  # noqa: B006 - never changed
    append: str = "",
    vmemmap: str = "full",
    kernel: str = "",
    cpus_per_node: int = 4,
    threads: int = 1,
    config: dict[str, bool | int | str] | None = None,
    behaviour: dict[str, Any] | None = None,
    pdpe1gb: bool = True,
    movable_from: int = 1 << 62,
) -> FakeKernel:
    """A kernel whose memory is ``(base, end, nid)`` ranges in bytes, up to and with the memory map's backing."""
    memblock = Memblock()
    for base, end, nid in memory:
        memblock.add(base, end - base)
        memblock.set_node(base, end - base, nid)
    for base, end in reserved:
        memblock.reserve(base, end - base)
    cpu = SimpleNamespace(cpuid=lambda leaf, subleaf=0: SimpleNamespace(edx=int(pdpe1gb) << 26 | 1 << 3))
    k = FakeKernel(SimpleNamespace(clock=Clock(), boot_cpu=cpu), BootOptions(vmemmap=vmemmap, kernel=kernel))
    k.config = Config({**CONFIG, **(config or {})})
    k.behaviour = behaviour_of("lpc2023", **(behaviour or {}))
    k.cmdline = CommandLine(append)
    k.memblock = memblock
    nids = sorted({nid for _, _, nid in memory})
    count = cpus_per_node * len(nids)
    k.cpus = CpuMaps(
        boot=CpuInfo("GenuineIntel", 6, 0x6A, 6, "", 0, 0, frozenset()),
        possible=list(range(count)),
        online=list(range(count)),
        ids={cpu: CpuId(cpu, 0, 0, cpu // threads, cpu % threads) for cpu in range(count)},
        node={cpu: nids[cpu // cpus_per_node] for cpu in range(count)},
    )
    k.numa = Numa(parsed=set(nids))
    k.fallback = {nid: sorted(nids, key=lambda other: (other != nid, other < nid, other)) for nid in nids}
    k.nodes = [node_of(memblock, nid, movable_from >> 12) for nid in nids]
    hugetlb_cmdline(k)
    nodes, k.nodes = k.nodes, []  # zones come after what is taken early
    hugetlb_early_reserve(k)
    memmaps = sparse_init(k)
    k.nodes = nodes
    hugetlb_vmemmap_init_late(k, memmaps)
    vmemmap_init(k, memmaps)
    return k


def booted(k: FakeKernel) -> FakeKernel:
    """``k`` after memmap_init()."""
    memmap_init(k)
    return k


def node_of(memblock: Memblock, nid: int, movable_pfn: int = 1 << 52) -> Pglist:
    """Node and zones as free_area_init() finds them, with a movable zone from ``movable_pfn`` on."""
    ranges = [(r.base >> 12, r.end >> 12) for r in memblock.memory_regions() if r.nid == nid]
    start, end = ranges[0][0], ranges[-1][1]
    bounds = [(0, MAX_DMA_PFN), (MAX_DMA_PFN, MAX_DMA32_PFN), (MAX_DMA32_PFN, movable_pfn), (movable_pfn, 1 << 52)]
    zones = []
    for index in range(5):
        low, high = bounds[index] if index < 4 else (0, 0)
        low, high = max(low, start), max(min(high, end), max(low, start))
        present = sum(max(0, min(e, high) - max(s, low)) for s, e in ranges)
        zones.append(Zone(index, nid, low if present else 0, high - low if present else 0, present))
    return Pglist(nid, start, end, zones, has_cpu=True)


def pack_page(flags: int, nxt: int, prev: int, mapping: int, index: int, private: int, count: int, ref: int) -> bytes:
    """The 64 bytes of a struct page, field by field."""
    return struct.pack("<QQQQQQiiQ", flags, nxt, prev, mapping, index, private, count, ref, 0)


def map_frame(k: FakeKernel, section: int) -> int:
    """First frame of the memory that one section's map was given."""
    entry = next(m for m in k.vmemmap.memmaps if m.section <= section < m.section + m.sections)
    return (entry.phys >> 12) + (section - entry.section) * 512
