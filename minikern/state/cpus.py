"""CpuMaps: the kernel's own books about its CPUs, from the first CPUID to the last hotplug state."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from hw.cpu import CPU
    from minikern.state.cpuinfo import CpuInfo
    from minikern.state.microcode import AmdPatch, IntelUpdate, Signature

BAD_APICID = -1


class CpuId(NamedTuple):
    """Where a CPU sits, decoded from its APIC id. ``die`` counts inside the package, ``core`` inside the die."""

    apic_id: int
    package: int
    die: int
    core: int
    thread: int


class CacheIds(NamedTuple):
    """Numbers of the last cache and of the second-level cache a CPU uses; CPUs that share one have it in common."""

    llc: int | None
    l2c: int | None


@dataclass
class Registry:
    """What the firmware's list of CPUs comes to under this kernel's limits."""

    limit: int = 1  # Linux's nr_cpu_ids while the list is read
    apic_ids: list[int] = field(default_factory=list)  # by logical number
    disabled: list[int] = field(default_factory=list)  # slots that may be filled later
    rejected: int = 0
    duplicates: int = 0  # enabled entries whose APIC id had one before
    boot_listed: bool = False


class TscAdjust(NamedTuple):
    """IA32_TSC_ADJUST of one CPU: as firmware left it, and as the kernel keeps it (signed cycles)."""

    bootval: int
    adjusted: int


@dataclass
class TscState:
    """What the kernel knows of the time-stamp counter. Frequencies in kHz, 0 while unknown."""

    tsc_khz: int = 0
    cpu_khz: int = 0
    known_freq: bool = False
    reliable: bool = False
    unstable: str = ""  # why it is unusable; empty while it is fine
    lpj_fine: int = 0
    lapic_timer_period: int = 0  # crystal ticks per jiffy, 0: must be calibrated
    adjust: dict[int, TscAdjust] = field(default_factory=dict)
    adjust_reported: bool = False
    hpet_enabled: bool = False


@dataclass
class EarlyMicrocode:
    """What early loading found in the initial RAM disk and did.

    The revisions are the boot CPU's; the new one is 0 if none was loaded.
    """

    disabled: bool = False
    old_revision: int = 0
    new_revision: int = 0
    revision: int = 0
    blob_address: int = 0
    updates: list[IntelUpdate] = field(default_factory=list)
    signature: Signature | None = None  # the boot CPU's, which every CPU has
    update: IntelUpdate | None = None  # what every Intel CPU is brought to
    patch: AmdPatch | None = None
    told: bool = False


@dataclass
class Asked:
    """What the command line says of the number of CPUs; None: nothing."""

    max_cpus: int | None = None
    nr_cpus: int | None = None
    possible_cpus: int | None = None


class IntrMode(StrEnum):
    """How interrupts are to be routed, in the words of the log. Source: arch/x86/kernel/apic/apic.c @ v6.12"""

    PIC = "Keep in PIC mode(8259)"
    VIRTUAL_WIRE = "Switch to virtual wire mode setup"
    VIRTUAL_WIRE_NO_CONFIG = "Switch to virtual wire mode setup with no configuration"
    SYMMETRIC_IO = "Switch to symmetric I/O mode setup"
    SYMMETRIC_IO_NO_ROUTING = "Switch to symmetric I/O mode setup in no SMP routine"


@dataclass
class ApicState:
    """What is known of local and I/O APICs, and how interrupts are routed."""

    disabled: bool = False  # no use is made of local APICs
    ioapic_disabled: bool = False  # ... of I/O APICs
    verbosity: str = ""  # quiet, or what the command line says
    smp_found_config: bool = False  # firmware describes local and I/O APICs
    mp_pointer: int = 0  # address of the MultiProcessor table's floating pointer, 0 if there is none
    intr_mode: IntrMode | None = None
    driver: str = ""  # how destinations are addressed; empty: as the kernel starts out
    nox2apic: bool = False
    x2apic_phys: bool = False  # x2APIC mode without interrupt remapping: physical destinations only
    no_timer_check: bool = False  # the timer interrupt is believed to arrive


@dataclass
class SmtState:
    """Sibling threads: whether they may run, and what has been said of them."""

    disabled: bool = False
    present: bool = False  # Linux's sched_smt_present: a core has two threads online
    messages_done: bool = False


@dataclass
class Topology:
    """Packages, cores, threads and caches of the CPUs that have started."""

    core_mask: dict[int, list[int]] = field(default_factory=dict)  # package -> CPUs that have started
    smt_mask: dict[tuple[int, int, int], list[int]] = field(default_factory=dict)  # core -> threads that have started
    logical_packages: dict[int, int] = field(default_factory=dict)
    logical_dies: dict[tuple[int, int], int] = field(default_factory=dict)
    threads_per_core: int = 1
    several_per_package: bool = False  # a package has room for more CPUs than one
    caches: dict[int, CacheIds] = field(default_factory=dict)  # of the CPUs that have started
    # CPUs by kind and number of a cache, and there by package and node
    sharers: dict[tuple[str, int], dict[tuple[int, int], set[int]]] = field(default_factory=dict)
    siblings_warned: bool = False  # that nodes and shared caches disagree has been said
    max_packages: int = 1
    max_logical_packages: int = 1


class Cpuhp(StrEnum):
    """Hotplug states that a boot passes through. Source: include/linux/cpuhotplug.h @ v6.12"""

    OFFLINE = "OFFLINE"
    CREATE_THREADS = "CREATE_THREADS"
    PERF_PREPARE = "PERF_PREPARE"
    RANDOM_PREPARE = "RANDOM_PREPARE"
    WORKQUEUE_PREP = "WORKQUEUE_PREP"
    HRTIMERS_PREPARE = "HRTIMERS_PREPARE"
    X2APIC_PREPARE = "X2APIC_PREPARE"
    SMPCFD_PREPARE = "SMPCFD_PREPARE"
    RELAY_PREPARE = "RELAY_PREPARE"
    RCUTREE_PREP = "RCUTREE_PREP"
    TRACE_RB_PREPARE = "TRACE_RB_PREPARE"
    TIMERS_PREPARE = "TIMERS_PREPARE"
    AP_ONLINE_IDLE = "AP_ONLINE_IDLE"
    AP_SMPBOOT_THREADS = "AP_SMPBOOT_THREADS"
    AP_IRQ_AFFINITY_ONLINE = "AP_IRQ_AFFINITY_ONLINE"
    AP_PERF_ONLINE = "AP_PERF_ONLINE"
    AP_WATCHDOG_ONLINE = "AP_WATCHDOG_ONLINE"
    AP_WORKQUEUE_ONLINE = "AP_WORKQUEUE_ONLINE"
    AP_RANDOM_ONLINE = "AP_RANDOM_ONLINE"
    AP_RCUTREE_ONLINE = "AP_RCUTREE_ONLINE"
    AP_BASE_CACHEINFO_ONLINE = "AP_BASE_CACHEINFO_ONLINE"
    AP_ONLINE_DYN = "AP_ONLINE_DYN"
    AP_ACTIVE = "AP_ACTIVE"
    ONLINE = "ONLINE"
    BP_PREPARE_DYN = "BP_PREPARE_DYN"
    BRINGUP_CPU = "BRINGUP_CPU"
    AP_IDLE_DEAD = "AP_IDLE_DEAD"
    AP_OFFLINE = "AP_OFFLINE"
    AP_SCHED_STARTING = "AP_SCHED_STARTING"
    AP_PERF_X86_STARTING = "AP_PERF_X86_STARTING"
    AP_ONLINE = "AP_ONLINE"
    TEARDOWN_CPU = "TEARDOWN_CPU"
    TMIGR_PREPARE = "TMIGR_PREPARE"
    BP_KICK_AP = "BP_KICK_AP"
    AP_CACHECTRL_STARTING = "AP_CACHECTRL_STARTING"
    AP_HRTIMERS_DYING = "AP_HRTIMERS_DYING"


@dataclass
class CpuMaps:
    """Masks and per-CPU facts. Logical CPU numbers throughout; CPU 0 is the boot CPU."""

    boot: CpuInfo
    possible: list[int] = field(default_factory=lambda: [0])
    present: list[int] = field(default_factory=lambda: [0])
    online: list[int] = field(default_factory=lambda: [0])
    booted_once: set[int] = field(default_factory=lambda: {0})
    nr_cpu_ids: int = 1
    total_cpus: int = 1
    disabled_cpus: int = 0  # listed by the firmware and not taken up, as older kernels count
    setup_max_cpus: int = 1
    apic: ApicState = field(default_factory=ApicState)
    smt: SmtState = field(default_factory=SmtState)
    topo: Topology = field(default_factory=Topology)
    asked: Asked = field(default_factory=Asked)
    registry: Registry | None = None  # what the firmware's list came to, once it was read
    apic_id: dict[int, int] = field(default_factory=dict)
    ids: dict[int, CpuId] = field(default_factory=dict)
    node: dict[int, int] = field(default_factory=dict)
    detected_node: dict[int, int] = field(default_factory=dict)  # of those that started
    state: dict[int, Cpuhp] = field(default_factory=dict)
    lpj: dict[int, int] = field(default_factory=dict)
    hardware: dict[int, CPU] = field(default_factory=dict)  # the CPU that runs as this number, once it is up
    delay_printed: bool = False
    boot_listed: bool = True  # the firmware lists the boot CPU
    microcode: EarlyMicrocode = field(default_factory=EarlyMicrocode)
    _by_apic: dict[int, int] = field(default_factory=dict)
    tsc: TscState = field(default_factory=TscState)

    def is_primary_thread(self, cpu: int) -> bool:
        """True for the first thread of a core. Source: arch/x86/kernel/smpboot.c:topology_is_primary_thread()"""
        return self.ids[cpu].thread == 0

    def same_core(self, cpu: int, other: int) -> bool:
        """True if two CPUs are threads of one core."""
        a, b = self.ids[cpu], self.ids[other]
        return (a.package, a.die, a.core) == (b.package, b.die, b.core)

    def cpu_of_apic(self, apic_id: int) -> int | None:
        """Logical number by a linear search of the APIC id array, None if no CPU has it.

        Source: arch/x86/kernel/head_64.S:secondary_startup_64 @ v6.5
        """
        if len(self._by_apic) != len(self.apic_id):  # the search's outcome, kept
            self._by_apic = {known: cpu for cpu, known in self.apic_id.items()}
        return self._by_apic.get(apic_id)

    def set_cpu_sibling_map(self, cpu: int) -> None:
        """Enter ``cpu`` into its package's and its core's mask. Source: arch/x86/kernel/smpboot.c @ v6.12"""
        place = self.ids[cpu]
        insort(self.topo.core_mask.setdefault(place.package, []), cpu)
        insort(self.topo.smt_mask.setdefault((place.package, place.die, place.core), []), cpu)

    def remove_siblinginfo(self, cpu: int) -> None:
        """Take ``cpu`` out of those masks again."""
        place = self.ids[cpu]
        self.topo.core_mask[place.package].remove(cpu)
        self.topo.smt_mask[(place.package, place.die, place.core)].remove(cpu)
        self.topo.caches.pop(cpu, None)

    def any_sibling(self, cpu: int) -> int | None:
        """Another started CPU of the same package, the lowest; None if there is none."""
        return next((other for other in self.topo.core_mask.get(self.ids[cpu].package, []) if other != cpu), None)

    def node_cpus(self) -> dict[int, list[int]]:
        """Online CPUs by node. Source: include/linux/topology.h:cpumask_of_node()"""
        nodes: dict[int, list[int]] = {}
        for cpu in self.online:
            nodes.setdefault(self.node[cpu], []).append(cpu)
        return nodes

    def cores(self, cpus: Iterable[int]) -> int:
        """How many cores some CPUs are threads of."""
        places = (self.ids[cpu] for cpu in cpus)
        return len({(place.package, place.die, place.core) for place in places})

    def check(self) -> None:
        """Raise ValueError if the masks contradict each other."""
        if not set(self.online) <= set(self.present) <= set(self.possible):
            raise ValueError(f"online {self.online} within present {self.present} within possible {self.possible}")
        if len(set(self.apic_id.values())) != len(self.apic_id):
            raise ValueError("two CPUs share an APIC id")
        for cpu in self.online:
            if self.state.get(cpu) is not Cpuhp.ONLINE or self.lpj.get(cpu, 0) <= 0:
                raise ValueError(f"CPU {cpu} is online in state {self.state.get(cpu)} with lpj {self.lpj.get(cpu)}")


