"""Which started CPUs share a core or a cache, and whether the nodes the firmware gave them agree with that.

Source: arch/x86/kernel/smpboot.c:set_cpu_sibling_map(), arch/x86/kernel/cpu/cacheinfo.c @ v6.1, v6.12
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from minikern.core.printk import Level
from minikern.smp.cpuinfo import decode_signature
from minikern.smp.topology import AMD_VENDORS, get_count_order, has_topoext, physical_die
from minikern.state.cpus import CacheIds, CpuMaps
from minikern.state.memblock import NUMA_NO_NODE

if TYPE_CHECKING:
    from hw.cpu import CPU
    from minikern.core.kernel import Kernel

MAX_CACHE_LEAVES = 16
CACHE_LEVEL_2, CACHE_LEVEL_3 = 2, 3
LEAF_CACHES, LEAF_AMD_CACHES = 4, 0x8000001D
ZEN_FAMILY, LAST_CCX_MODEL = 0x17, 0x1F
FAM10H_NODE_ID, NODEID_MSR_BIT = 0xC001100C, 19
# Processors whose last-level cache a node does not split: Haswell-EP's and Broadwell-EP's Cluster-on-Die.
COD_MODELS = (0x3F, 0x4F)


def set_cpu_sibling_map(k: Kernel, nr: int, cpu: CPU) -> None:
    """Enter a starting CPU into the masks; the first two CPUs that share something across nodes are named, once.

    Source: arch/x86/kernel/smpboot.c:set_cpu_sibling_map(), topology_sane() @ v6.12
    """
    maps = k.cpus
    maps.set_cpu_sibling_map(nr)
    maps.topo.caches[nr] = _cache_ids(k, nr, cpu)
    if maps.topo.siblings_warned or not maps.topo.several_per_package:
        return
    maps.detected_node[nr] = srat_detect_node(k, nr)
    topoext, snc = has_topoext(cpu), _is_snc(maps)
    for other in _elsewhere(maps, nr, snc):
        name = next(_shared(maps, nr, other, topoext, snc), "")
        if name:
            _warn(k, nr, name, other)
            return


def srat_detect_node(k: Kernel, nr: int) -> int:
    """The node of a CPU that has started: AMD's without affinity take their last cache's number for it.

    Source: arch/x86/kernel/cpu/amd.c:srat_detect_node(), nearby_node(), intel.c:srat_detect_node() @ v6.12
    """
    maps = k.cpus
    llc = maps.topo.caches[nr].llc
    known = k.numa.apic_to_node(maps.ids[nr].apic_id) != NUMA_NO_NODE
    if known or maps.boot.vendor not in ("AuthenticAMD", "HygonGenuine") or llc is None:
        return maps.node[nr]
    online = {node.nid for node in k.nodes} or {0}
    return llc if llc in online else min(online)


def _elsewhere(maps: CpuMaps, nr: int, snc: bool) -> list[int]:
    """Started CPUs of other nodes that have a core or a cache in common with this one, which is entered there too.

    Those of a package that may have several nodes with one last cache are left out: their caches are no contradiction.
    """
    place, own, node = maps.ids[nr], maps.topo.caches[nr], maps.detected_node
    found = set(maps.topo.smt_mask[(place.package, place.die, place.core)])
    for kind, number in (("llc", own.llc), ("l2c", own.l2c)):
        if number is not None:
            sharers = maps.topo.sharers.setdefault((kind, number), {})
            for (package, their_node), cpus in sharers.items():
                if their_node != node[nr] and not (kind == "llc" and snc and package == place.package):
                    found.update(cpus)
            sharers.setdefault((place.package, node[nr]), set()).add(nr)
    return sorted(cpu for cpu in found if cpu in maps.topo.caches and node.get(cpu) != node[nr])


def _shared(maps: CpuMaps, nr: int, other: int, topoext: bool, snc: bool) -> Iterator[str]:
    """What two CPUs of different nodes share, as Linux looks at it: threads of a core, last cache, second cache."""
    mine, its = maps.topo.caches[nr], maps.topo.caches[other]
    smt = maps.same_core(nr, other) and (not topoext or mine.llc == its.llc)
    if smt and maps.topo.threads_per_core > 1:
        yield "smt"
    same_package = maps.ids[nr].package == maps.ids[other].package
    if mine.llc is not None and mine.llc == its.llc and not (same_package and snc):
        yield "llc"
    if smt if mine.l2c is None else mine.l2c == its.l2c:
        yield "smt" if mine.l2c is None else "l2c"


def _is_snc(maps: CpuMaps) -> bool:
    """Intel's processors may split a package into nodes with one cache over all, but for Cluster-on-Die ones."""
    boot = maps.boot
    return boot.vendor == "GenuineIntel" and not (boot.family == 6 and boot.model in COD_MODELS)


def _warn(k: Kernel, nr: int, name: str, other: int) -> None:
    maps = k.cpus
    maps.topo.siblings_warned = True
    k.printk("------------[ cut here ]------------", Level.WARNING)
    k.printk(
        f"sched: CPU #{nr}'s {name}-sibling CPU #{other} is not on the same node! "
        f"[node: {maps.detected_node[nr]} != {maps.detected_node[other]}]. Ignoring dependency.",
        Level.WARNING,
    )
    k.printk("---[ end trace 0000000000000000 ]---", Level.WARNING)


def _cache_ids(k: Kernel, nr: int, cpu: CPU) -> CacheIds:
    maps = k.cpus
    apic_id = maps.ids[nr].apic_id
    if cpu.cpuid(0).ebx in AMD_VENDORS:
        return CacheIds(_amd_llc(k, nr, cpu, apic_id), None)
    if maps.boot.vendor not in ("GenuineIntel", "  Shanghai  ", "CentaurHauls"):
        return CacheIds(None, None)
    llc = l2c = None
    if maps.boot.max_leaf >= LEAF_CACHES:
        for eax in _cache_leaves(cpu, LEAF_CACHES):
            first = apic_id >> _sharing_bits(eax) << _sharing_bits(eax)
            if eax >> 5 & 7 == CACHE_LEVEL_2:
                l2c = first
                llc = first if llc is None else llc
            elif eax >> 5 & 7 == CACHE_LEVEL_3:
                llc = first
    return CacheIds(maps.ids[nr].package if llc is None else llc, l2c)


def _amd_llc(k: Kernel, nr: int, cpu: CPU, apic_id: int) -> int | None:
    """Source: arch/x86/kernel/cpu/cacheinfo.c:cacheinfo_amd_init_llc_id() @ v6.12"""
    place = k.cpus.ids[nr]
    if not has_topoext(cpu):
        if cpu.cpuid(0x80000000).eax >= 0x80000001 and cpu.cpuid(0x80000001).ecx >> NODEID_MSR_BIT & 1:
            return cpu.rdmsr(FAM10H_NODE_ID) & 7
        return place.package
    # Without a cache of the third level older kernels keep the package's number, newer ones none.
    fallback = None if k.behaviour.topology_parser == "common" else place.package
    if not cpu.cpuid(0x80000006).edx:
        return fallback
    family, model, _stepping = decode_signature(cpu.cpuid(1).eax)
    if family < ZEN_FAMILY:
        return physical_die(k, nr)
    if family == ZEN_FAMILY and model <= LAST_CCX_MODEL:
        return apic_id >> 3
    leaves = list(_cache_leaves(cpu, LEAF_AMD_CACHES))
    return apic_id >> _sharing_bits(leaves[-1]) if leaves else fallback


def _cache_leaves(cpu: CPU, leaf: int) -> Iterator[int]:
    """EAX of each subleaf up to the first that describes no cache."""
    for subleaf in range(MAX_CACHE_LEAVES):
        eax = cpu.cpuid(leaf, subleaf).eax
        if not eax & 0x1F:
            return
        yield eax


def _sharing_bits(eax: int) -> int:
    """How many low bits of an APIC id the CPUs that share this cache differ in."""
    return get_count_order((eax >> 14 & 0xFFF) + 1)
