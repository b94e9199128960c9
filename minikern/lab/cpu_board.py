"""CPUs, timers, bus and clock without firmware, memory or devices: enough machine to bring up CPUs, and quickly.

For questions about bring-up alone: exploring orders, sweeping faults, benchmarks. The kernel side is the real one.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec

from hw.apic_bus import ApicBus
from hw.bus import Bus
from hw.clock import Clock
from hw.cpu import CPU, CodeStore, Entry
from hw.cpuid import CpuidTable
from hw.faults import FaultSpec, check_faults, cpu_faults, madt_places
from hw.machine import Machine, cpuid_tables, make_cpus
from hw.memory import PhysicalMemory
from hw.microcode_update import NAMES, update_for
from hw.spec import CpuSpec
from hw.timers import Pit, PmTimer
from minikern.core.cmdline import CommandLine
from minikern.core.cost_table import default_costs
from minikern.core.costs import Cost
from minikern.core.experiment import Experiment
from minikern.core.forks import changed
from minikern.core.kernel import BootOptions, Kernel
from minikern.core.release import Release, load_release
from minikern.init import params
from minikern.mm.page.mmzone import Pglist
from minikern.smp import calibrate, cpuinfo, microcode, smpboot, topology, tsc
from minikern.smp.microcode_amd import lowest_revision
from minikern.state.acpi import AcpiState, LapicEntry
from minikern.state.numa import Numa

PM_TIMER_PORT = 0x608
TRAMPOLINE = 0x99000
INITRD = 0x4000_0000
MAX_JITTER = 4.0  # an explored step takes up to so many times its unit cost


class CpuBoard:
    """The machine's side: what ``hw.machine.Machine`` has, less everything that is not about CPUs."""

    def __init__(
        self, spec: CpuSpec, faults: FaultSpec | None = None, tables: list[tuple[int, CpuidTable]] | None = None
    ) -> None:
        faults = faults or FaultSpec()
        check_faults(faults, spec, captured_tables=False)
        self.spec = spec
        self.clock = Clock()
        self.bus = Bus(PhysicalMemory())
        code = CodeStore()
        self.code = code
        states = cpu_faults(faults, spec.count)
        self.cpus: list[CPU] = make_cpus(spec, states, self.clock, self.bus, ApicBus(), code, tables)
        self.listed = madt_places(faults, spec.topology())
        self.initrd = self._initrd()
        Pit(self.clock).attach(self.bus)
        PmTimer(self.clock).attach(self.bus, PM_TIMER_PORT)

    def _initrd(self) -> tuple[int, int]:
        """An initial RAM disk that holds a microcode update and nothing else: address and bytes."""
        if self.spec.vendor not in NAMES:
            return 0, 0
        archive = update_for(self.boot_cpu, self.spec.vendor, self._newer_microcode(), "2024-01-01")
        self.bus.memory.write(INITRD, archive)
        return INITRD, len(archive)

    def _newer_microcode(self) -> int:
        # From Zen on a revision begins with the CPU's own signature.
        signature = self.boot_cpu.cpuid(1).eax
        zen = self.spec.vendor == "AuthenticAMD" and self.spec.family >= 0x17
        return self.spec.microcode + 1 + (lowest_revision(signature) if zen and not self.spec.microcode else 0)

    @property
    def boot_cpu(self) -> CPU:
        """The first one."""
        return self.cpus[0]

    def install_code(self, phys_addr: int, entry: Entry) -> None:
        """As the machine does."""
        self.code.install(phys_addr, entry)


class JitteredKernel(Kernel):
    """A kernel whose every step takes a random time, none to MAX_JITTER times its cost: any order that can happen."""

    jitter: random.Random | None = None

    def _cost_ns(self, cpu: int, kind: str, count: int) -> int:
        total = super()._cost_ns(cpu, kind, count)
        if self.jitter is None or kind in ("udelay_us", "tsc_sync_ms"):
            return total  # these are what they say
        return int(total * self.jitter.random() ** 2 * MAX_JITTER)


class CpuLab:
    """Kernels on boards of one CPU kind; what does not change from one to the next is made once."""

    def __init__(
        self,
        spec: CpuSpec,
        release: str | Release = "debian-6.12",
        behaviour: Mapping[str, Any] | None = None,
        costs: Mapping[str, Cost] | None = None,
        experiment: Experiment | None = None,
    ) -> None:
        self.spec = spec
        chosen = load_release(release) if isinstance(release, str) else release
        self.release = msgspec.structs.replace(chosen, behaviour=changed(chosen.behaviour, behaviour or {}))
        self.experiment = experiment
        self.costs = {**default_costs(), **(costs or {})}
        self._tables = cpuid_tables(spec)

    def kernel(
        self,
        append: str = "",
        faults: FaultSpec | None = None,
        jitter: random.Random | None = None,
        record: bool = False,
    ) -> Kernel:
        """A kernel that stands before its first look at the CPUs."""
        board = CpuBoard(self.spec, faults, self._tables)
        k = JitteredKernel(
            cast(Machine, board), self.release, None, self.costs, [], BootOptions(record=record), self.experiment
        )
        k.jitter = jitter
        k.cmdline = CommandLine(append)
        k.real_mode_base = TRAMPOLINE
        k.boot_params.ramdisk = board.initrd
        k.acpi = AcpiState()
        k.acpi.lapics = [LapicEntry(place.apic_id, uid, True, True) for uid, place in enumerate(board.listed)]
        k.numa = Numa(apicid_to_node={place.apic_id: place.package for place in self.spec.topology()})
        k.nodes = [Pglist(nid, 0, 0, []) for nid in range(self.spec.sockets)]
        return k

    def boot(self, **how: Any) -> Kernel:
        """kernel() and bring_up()."""
        return bring_up(self.kernel(**how))


def bring_up(k: Kernel) -> Kernel:
    """The part of start_kernel() that concerns CPUs and their clocks."""
    cpuinfo.early_cpu_init(k)
    microcode.load_ucode_bsp(k)
    params.parse_early_param(k)
    tsc.tsc_early_init(k)
    topology.topology_init(k)
    params.parse_args(k)
    tsc.tsc_init(k)
    calibrate.calibrate_delay(k)
    smpboot.smp_prepare_cpus(k)
    smpboot.smp_init(k)
    return k


def cpu_state(k: Kernel) -> dict[str, Any]:
    """The kernel's and the hardware's whole state of CPUs, less everything that is a time or an order of events."""
    maps = k.cpus
    cpus: Sequence[CPU] = k.machine.cpus
    return {
        "masks": (maps.possible, maps.present, maps.online, sorted(maps.booted_once)),
        "numbers": (maps.nr_cpu_ids, maps.total_cpus, maps.topo.threads_per_core, maps.topo.max_packages),
        "smt": (maps.smt.present, maps.smt.messages_done, maps.smt.disabled),
        "state": dict(sorted(maps.state.items())),
        "apic_id": maps.apic_id,
        "places": maps.ids,
        "node": maps.node,
        "core_mask": dict(sorted(maps.topo.core_mask.items())),
        "smt_mask": dict(sorted(maps.topo.smt_mask.items())),
        "lpj": sorted(maps.lpj),
        "hardware": {nr: cpu.index for nr, cpu in sorted(maps.hardware.items())},
        "adjust": dict(sorted(maps.tsc.adjust.items())),
        "unstable": maps.tsc.unstable,
        "lines": sorted(line.text for line in k.log.lines if not line.text.startswith((".... node", " "))),
        "cpus": [
            (cpu.apic.apic_id, cpu.state.value, cpu.microcode.revision, cpu.apic.software_enabled, cpu.apic.x2apic_mode)
            for cpu in cpus
        ],
    }
