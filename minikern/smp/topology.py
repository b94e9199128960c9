"""CPU enumeration: from the MADT's local APICs to logical CPU numbers, places and masks.

CPU 0 is the boot CPU, the others follow in MADT order. Where a CPU sits follows from its APIC id and the field widths
that the boot CPU's CPUID gives. Source: arch/x86/kernel/cpu/topology.c @ v6.12; arch/x86/kernel/smpboot.c @ v6.1
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from minikern.core.printk import Level
from minikern.smp.apic import MSR_IA32_APICBASE, apic_id_valid, read_apic_id
from minikern.smp.cpuinfo import decode_signature
from minikern.smp.interrupt_mode import has_local_apic
from minikern.state.cpus import Cpuhp, CpuId, CpuMaps, Registry

if TYPE_CHECKING:
    from hw.cpu import CPU
    from minikern.core.kernel import Kernel

APICBASE_BSP = 1 << 8
LEVEL_SMT, LEVEL_CORE, LEVEL_DIE = 1, 2, 5  # CPUID leaf 0xB/0x1F ECX[15:8]
LEVEL_AMD_SOCKET = 4  # leaf 0x80000026, which Linux takes for the die
AMD_VENDORS = (0x68747541, 0x6F677948)  # first words of AuthenticAMD and HygonGenuine
TOPOEXT, ZEN_FAMILY = 22, 0x17
MAX_LEVELS = 8
FADT_REVISION, FADT_MINOR_VERSION = 8, 131  # offsets. Source: ACPI 6.5, table 5.9


class Shifts(NamedTuple):
    """How far to shift an APIC id right to drop threads, everything below a die, everything below a package."""

    smt: int
    die: int
    package: int

    def decode(self, apic_id: int) -> CpuId:
        """Place of the CPU with this APIC id."""
        core_bits, die_bits = self.die - self.smt, self.package - self.die
        return CpuId(
            apic_id=apic_id,
            package=apic_id >> self.package,
            die=apic_id >> self.die & ((1 << die_bits) - 1),
            core=apic_id >> self.smt & ((1 << core_bits) - 1),
            thread=apic_id & ((1 << self.smt) - 1),
        )


def detect_shifts(cpu: CPU, old: bool = False) -> Shifts:
    """Field widths of APIC ids from CPUID 0x1F, 0xB, AMD's 0x80000026, 0x80000008/0x8000001E, or leaves 4 and 1.

    ``old``: as kernels did before they read all makers' leaves the same way; AMD's must then announce topology
    extensions for more than cores to be believed.
    Source: arch/x86/kernel/cpu/topology_ext.c, topology_amd.c, topology_common.c @ v6.12; amd.c, topology.c @ v6.1
    """
    amd = cpu.cpuid(0).ebx in AMD_VENDORS
    if not (old and amd and not has_topoext(cpu)):
        for leaf in (0x1F, 0x80000026, 0xB):
            top = cpu.cpuid(leaf & 0x80000000).eax
            usable = top >= leaf and (leaf < 0x80000000 or (amd and not old))
            if usable and cpu.cpuid(leaf, 0).ebx & 0xFFFF:
                shifts = _extended_shifts(cpu, leaf)
                if shifts is not None:
                    return shifts
    return _amd_shifts(cpu, old) if amd else _legacy_shifts(cpu, cpu.cpuid(0).eax)


def has_topoext(cpu: CPU) -> bool:
    """AMD's topology extensions are announced."""
    return cpu.cpuid(0x80000000).eax >= 0x80000001 and bool(cpu.cpuid(0x80000001).ecx >> TOPOEXT & 1)


def physical_die(k: Kernel, nr: int) -> int:
    """Die number of a CPU as older kernels took it: for AMD's the node id, without topology extensions the package.

    Source: arch/x86/kernel/cpu/amd.c:amd_get_topology(), amd_detect_cmp() @ v6.1
    """
    maps = k.cpus
    place = maps.ids[nr]
    cpu = maps.hardware[nr]
    if cpu.cpuid(0).ebx not in AMD_VENDORS:
        return place.die
    return cpu.cpuid(0x8000001E).ecx & 0xFF if has_topoext(cpu) else place.package


def _extended_shifts(cpu: CPU, leaf: int) -> Shifts | None:
    smt = package = 0
    die: int | None = None
    below_die = 0
    for subleaf in range(MAX_LEVELS):
        level = cpu.cpuid(leaf, subleaf)
        kind = level.ecx >> 8 & 0xFF
        if kind == 0 or not level.ebx & 0xFFFF:
            break
        shift = level.eax & 0x1F
        if kind == LEVEL_SMT:
            # A level of two or more that takes no bits takes as many as it needs.
            smt = shift = shift or get_count_order(level.ebx & 0xFFFF)
        elif kind == (LEVEL_AMD_SOCKET if leaf == 0x80000026 else LEVEL_DIE):
            die = below_die
        elif subleaf == 0:
            return None
        below_die = package = shift
    return Shifts(smt, package if die is None else die, package)


def _amd_shifts(cpu: CPU, old: bool) -> Shifts:
    threads = 0
    package = 0
    if cpu.cpuid(0x80000000).eax >= 0x80000008:
        ecx = cpu.cpuid(0x80000008).ecx
        package = (ecx >> 12 & 0xF) or (ecx & 0xFF).bit_length()
    family = decode_signature(cpu.cpuid(1).eax)[0]
    if has_topoext(cpu) and (old or family >= ZEN_FAMILY) and cpu.cpuid(0x80000000).eax >= 0x8000001E:
        threads = (cpu.cpuid(0x8000001E).ebx >> 8 & 0xFF).bit_length()
    return Shifts(threads, max(package, threads), max(package, threads))


def _legacy_shifts(cpu: CPU, max_leaf: int) -> Shifts:
    leaf1 = cpu.cpuid(1)
    if not leaf1.edx >> 28 & 1:  # no HT: one logical CPU
        return Shifts(0, 0, 0)
    package = get_count_order(leaf1.ebx >> 16 & 0xFF)
    cores = 1
    if max_leaf >= 4:
        cores = (cpu.cpuid(4).eax >> 26) + 1
    return Shifts(max(0, package - get_count_order(cores)), package, package)


def get_count_order(count: int) -> int:
    """Smallest n with 2^n >= count. Source: include/linux/bitops.h:get_count_order()"""
    return max(0, count - 1).bit_length()


def topology_init(k: Kernel) -> CpuMaps:
    """Number the CPUs and decide how many may ever run; prints the topology lines. Sets ``k.cpus``.

    Source: arch/x86/kernel/cpu/topology.c:topology_init_possible_cpus() @ v6.12;
    arch/x86/kernel/smpboot.c:prefill_possible_map() @ v6.1
    """
    maps = k.cpus
    if maps.registry is None or not maps.registry.apic_ids:
        register_lapics(k)
    registry = maps.registry
    assert registry is not None
    shifts = detect_shifts(k.machine.boot_cpu, old=k.behaviour.topology_parser == "vendor")
    if new_possible_cpus(k):
        _possible_new(k, maps, registry, shifts)
    else:
        _possible_old(k, maps, registry)
    maps.ids = {cpu: shifts.decode(apic_id) for cpu, apic_id in maps.apic_id.items()}
    maps.topo.threads_per_core = 1 << shifts.smt
    maps.topo.several_per_package = shifts.package > 0
    maps.topo.max_packages = len({place.package for place in maps.ids.values()})
    maps.node = {cpu: _cpu_to_node(k, cpu, maps.apic_id.get(cpu)) for cpu in maps.possible}
    maps.state = dict.fromkeys(maps.possible, Cpuhp.OFFLINE)
    maps.state[0] = Cpuhp.ONLINE
    maps.hardware[0] = k.machine.boot_cpu
    return maps


def new_possible_cpus(k: Kernel) -> bool:
    """True if topology_init_possible_cpus() decides how many CPUs there may be."""
    return k.behaviour.possible_cpus == "topology_init_possible_cpus"


def apply_cmdline_limits_early(k: Kernel) -> Registry:
    """How many CPUs the command line allows, before the firmware's list is read; opens the registry.

    Source: arch/x86/kernel/cpu/topology.c:topology_apply_cmdline_limits_early() @ v6.12; kernel/smp.c:nrcpus()
    """
    maps = k.cpus
    configured = k.config.number("CONFIG_NR_CPUS")
    maps.setup_max_cpus = configured if maps.asked.max_cpus is None else maps.asked.max_cpus
    limit = maps.asked.nr_cpus or configured
    if new_possible_cpus(k):
        limit = _limit_possible(k, maps, limit)
    maps.registry = Registry(limit)
    return maps.registry


def register_lapics(k: Kernel) -> None:
    """Take up the CPUs the MADT lists, in its order. Source: arch/x86/kernel/acpi/boot.c:acpi_parse_lapic() @ v6.12"""
    maps = k.cpus
    registry = maps.registry or apply_cmdline_limits_early(k)
    _register(k, registry, read_apic_id(k.machine.boot_cpu))


def _cpu_to_node(k: Kernel, cpu: int, apic_id: int | None) -> int:
    # CPUs the SRAT does not name are dealt round-robin. Source: arch/x86/mm/numa.c:numa_init_array()
    node = -1 if apic_id is None else k.numa.apic_to_node(apic_id)
    if node >= 0:
        return node
    nodes = [item.nid for item in k.nodes] or [0]
    return nodes[cpu % len(nodes)]


def _register(k: Kernel, registry: Registry, boot_id: int) -> None:
    """Walk the MADT's entries in order."""
    new = new_possible_cpus(k)
    limit = registry.limit
    registry.apic_ids.append(boot_id)
    boot_seen = False
    seen = {boot_id}
    real_bsp = not k.behaviour.real_bsp_check
    for apic_id, _uid, enabled, online_capable in _lapics(k):
        if not enabled and not _may_come_online(k, online_capable):
            continue
        if not apic_id_valid(k.machine.boot_cpu, apic_id):
            if enabled:
                k.printk("ACPI: x2apic entry ignored", Level.WARNING)
            continue
        if not real_bsp:
            real_bsp = True
            if _check_for_real_bsp(k, boot_id, apic_id):
                continue
        if apic_id == boot_id:
            registry.duplicates += boot_seen and enabled
            boot_seen = registry.boot_listed = True
        elif apic_id in seen:
            registry.duplicates += enabled
        elif not enabled and not (new and len(registry.apic_ids) >= limit):
            registry.disabled.append(apic_id)
        elif len(registry.apic_ids) < limit:
            seen.add(apic_id)
            registry.apic_ids.append(apic_id)
        else:
            _reject(k, registry, limit, apic_id, new, boot_seen)


def _check_for_real_bsp(k: Kernel, boot_id: int, apic_id: int) -> bool:
    """Is the first CPU the firmware lists the one we run on? True: it is another that an INIT would reset; leave it.

    Source: arch/x86/kernel/cpu/topology.c:check_for_real_bsp() @ v6.12
    """
    if apic_id == boot_id:
        return False
    k.printk(
        f"CPU topo: Boot CPU APIC ID not the first enumerated APIC ID: {boot_id:x} != {apic_id:x}", Level.WARNING
    )
    if k.machine.boot_cpu.rdmsr(MSR_IA32_APICBASE) & APICBASE_BSP:
        k.printk("CPU topo: [Firmware Bug]: APIC enumeration order not specification compliant", Level.WARNING)
        return False
    k.printk("CPU topo: Crash kernel detected. Disabling real BSP to prevent machine INIT", Level.WARNING)
    return True


def _may_come_online(k: Kernel, online_capable: bool) -> bool:
    """A disabled entry is a hot-plug slot if its flag says so; before ACPI 6.3 had that flag, newer kernels believe it
    only in a guest, older ones always.

    Source: arch/x86/kernel/acpi/boot.c:acpi_is_processor_usable() @ v6.1, v6.12.117
    """
    fadt = k.acpi.table("FACP") or b""
    minor = fadt[FADT_MINOR_VERSION] & 0xF if len(fadt) > FADT_MINOR_VERSION else 0
    if fadt and (fadt[FADT_REVISION], minor) >= (6, 3):
        return online_capable
    return k.behaviour.offline_lapics == "always" or bool(k.cpus.boot.hypervisor)


def _lapics(k: Kernel) -> Sequence[tuple[int, int, bool, bool]]:
    return k.acpi.lapics if has_local_apic(k) else ()


def _reject(k: Kernel, registry: Registry, limit: int, apic_id: int, new: bool, boot_seen: bool) -> None:
    if new:
        if not registry.rejected:
            k.printk(f"CPU topo: CPU limit of {limit} reached. Ignoring further CPUs", Level.WARNING)
    else:
        number = limit + registry.rejected + len(registry.disabled) - (0 if boot_seen else 1)
        almost = "reached. " if boot_seen else "almost reached. Keeping one slot for boot cpu.  "
        k.printk(
            f"APIC: NR_CPUS/possible_cpus limit of {limit} {almost}Processor {number}/{apic_id:#x} ignored.",
            Level.WARNING,
        )
    registry.rejected += 1


def _possible_new(k: Kernel, maps: CpuMaps, registry: Registry, shifts: Shifts) -> None:
    limit = registry.limit
    assigned, total = len(registry.apic_ids), len(registry.apic_ids) + len(registry.disabled)
    allowed = 1 if maps.setup_max_cpus == 0 else min(total, limit)
    if total > allowed:
        k.printk(f"CPU topo: {total} possible CPUs exceed the limit of {allowed}", Level.WARNING)
    assigned = min(allowed, assigned)
    _set_masks(maps, registry.apic_ids[:assigned], allowed, allowed)
    _print_topology(k, maps, shifts, registry.apic_ids + registry.disabled)
    k.printk(f"CPU topo: Allowing {assigned} present CPUs plus {allowed - assigned} hotplug CPUs")
    if registry.rejected:
        k.printk(f"CPU topo: Rejected CPUs {registry.rejected}")


def _limit_possible(k: Kernel, maps: CpuMaps, limit: int) -> int:
    asked = maps.asked.possible_cpus
    up = maps.setup_max_cpus == 0 or maps.apic.disabled
    possible = min(1 if up else limit, (asked or limit) & 0xFFFF_FFFF)  # an unsigned number there: -1 limits nothing
    if possible < limit:
        k.printk(f"CPU topo: Limiting to {possible} possible CPUs")
    return possible


def _print_topology(k: Kernel, maps: CpuMaps, shifts: Shifts, apic_ids: list[int]) -> None:
    packages = {apic_id >> shifts.package for apic_id in apic_ids}
    dies = {apic_id >> shifts.die for apic_id in apic_ids}
    cores = {apic_id >> shifts.smt for apic_id in apic_ids}
    first = min(apic_ids) >> shifts.package
    dies_per_package = 1 << (get_count_order(len(dies)) - get_count_order(len(packages)))
    core_count = sum(core >> (shifts.package - shifts.smt) == first for core in cores)
    thread_count = sum(apic_id >> shifts.package == first for apic_id in set(apic_ids))
    maps.topo.max_logical_packages = len(packages)
    k.printk(f"CPU topo: Max. logical packages: {len(packages):3}")
    if k.behaviour.cpu_topo_nodes:
        nodes = max(1, len(k.numa.phys_nodes))
        k.printk(f"CPU topo: Max. logical nodes:    {nodes:3}")
        k.printk(f"CPU topo: Num. nodes per package:{-(-nodes // len(packages)):3}")
    k.printk(f"CPU topo: Max. logical dies:     {len(dies):3}")
    k.printk(f"CPU topo: Max. dies per package: {dies_per_package:3}")
    k.printk(f"CPU topo: Max. threads per core: {-(-len(set(apic_ids)) // len(cores)):3}")
    k.printk(f"CPU topo: Num. cores per package:   {core_count:3}")
    k.printk(f"CPU topo: Num. threads per package: {thread_count:3}")


def _possible_old(k: Kernel, maps: CpuMaps, registry: Registry) -> None:
    limit = registry.limit
    # Entries are counted as they come: one listed twice counts twice, a boot CPU that is not listed does not.
    listed = registry.boot_listed or not _lapics(k)
    maps.boot_listed = listed
    processors = len(registry.apic_ids) + registry.duplicates - (0 if listed else 1)
    disabled = maps.disabled_cpus = len(registry.disabled) + registry.rejected
    wanted = maps.asked.possible_cpus
    possible = processors + (disabled if maps.setup_max_cpus else 0) if wanted is None else wanted
    total = max(possible, processors + disabled)
    if possible > limit:
        k.printk(f"smpboot: {possible} Processors exceeds NR_CPUS limit of {limit}", Level.WARNING)
        possible = limit
    if not maps.setup_max_cpus and possible > 1:
        k.printk(
            f"smpboot: {possible} Processors exceeds max_cpus limit of {maps.setup_max_cpus}", Level.WARNING
        )
        possible = 1
    possible = max(1, possible)
    k.printk(f"smpboot: Allowing {possible} CPUs, {max(possible - processors, 0)} hotplug CPUs")
    _set_masks(maps, registry.apic_ids[:possible], possible, total)


def _set_masks(maps: CpuMaps, apic_ids: list[int], possible: int, total: int) -> None:
    maps.apic_id = dict(enumerate(apic_ids))
    maps.possible = list(range(possible))
    maps.present = list(range(len(apic_ids)))
    maps.online = [0]
    maps.nr_cpu_ids = possible
    maps.total_cpus = total
