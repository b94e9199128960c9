"""A small kernel on real chips: enough of the boot to bring up CPUs, no firmware and no memory management."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from hw.apic_bus import ApicBus
from hw.bus import Bus
from hw.clock import Clock
from hw.cpu import CPU, CodeStore
from hw.cpuid import AMD_VENDORS
from hw.machine import cpuid_tables
from hw.memory import PhysicalMemory
from hw.microcode import Microcode
from hw.microcode_update import NAMES, update_for
from hw.msr import default_msrs
from hw.spec import CpuSpec
from hw.timers import HPET_BASE, Hpet, Pit, PmTimer
from minikern.core.cmdline import CommandLine
from minikern.core.cost_table import default_costs
from minikern.core.costs import Cost
from minikern.core.forks import changed
from minikern.core.kernel import Kernel
from minikern.core.release import load_release
from minikern.describe.presets import load_preset
from minikern.init import params
from minikern.mm.page.mmzone import Pglist
from minikern.smp import calibrate, clocksource, cpuinfo, microcode, smpboot, topology, tsc
from minikern.state.acpi import AcpiState, Fadt, LapicEntry, Table
from minikern.state.numa import Numa

PM_TIMER_PORT = 0x608
INITRD = 0x4000_0000
LPC2023_COSTS = load_preset("lpc2023").costs


class Board:
    """CPUs, timers, bus and clock, without firmware."""

    def __init__(self, spec: CpuSpec, *, pit: bool = True, hpet: bool = False, **cpu: Mapping[int, Any]) -> None:
        self.clock = Clock()
        self.bus = Bus(PhysicalMemory())
        self.code = CodeStore()
        self.apic_bus = ApicBus()
        self.places = spec.topology()
        options: dict[str, Any] = dict(cpu)
        cores: dict[int, Microcode] = {}
        smt_bits = (spec.threads - 1).bit_length()
        shared = [cores.setdefault(p.apic_id >> smt_bits, Microcode()) for p in self.places]
        options["microcode"] = dict(enumerate(shared))
        self.tables = cpuid_tables(spec)
        self.cpus = [self._cpu(spec, index, options) for index in range(len(self.places))]
        if pit:
            Pit(self.clock).attach(self.bus)
        if hpet:
            Hpet(self.clock).attach(self.bus)
        PmTimer(self.clock).attach(self.bus, PM_TIMER_PORT)

    def _cpu(self, spec: CpuSpec, index: int, options: dict[str, Mapping[int, Any]]) -> CPU:
        apic_id, leaves = self.tables[index]
        vendor_amd = spec.vendor in AMD_VENDORS
        options["microcode"][index].amd = vendor_amd
        chosen = {name: values[index] for name, values in options.items() if index in values and name != "adjust"}
        msrs = default_msrs(spec.vendor, tsc_khz=spec.tsc_khz) | {0x3B: options.get("adjust", {}).get(index, 0)}
        return CPU(
            index,
            apic_id,
            leaves,
            msrs,
            clock=self.clock,
            bus=self.bus,
            apic_bus=self.apic_bus,
            code_store=self.code,
            tsc_khz=spec.tsc_khz,
            is_bsp=index == 0,
            x2apic=spec.x2apic,
            **chosen,
        )

    @property
    def boot_cpu(self) -> CPU:
        """The first one."""
        return self.cpus[0]

    def install_code(self, phys_addr: int, entry: Any) -> None:
        """As the machine does."""
        self.code.install(phys_addr, entry)


def fadt_bytes(revision: int, minor: int) -> bytes:
    """A FADT of which only the version matters."""
    table = bytearray(276)
    table[8], table[131] = revision, minor
    return bytes(table)


def make_kernel(
    spec: CpuSpec,
    append: str = "",
    release: str = "debian-6.12",
    behaviour: Mapping[str, Any] | None = None,
    costs: Mapping[str, Cost] | None = None,
    lapics: list[LapicEntry] | None = None,
    board: Board | None = None,
) -> Kernel:
    """A kernel on a board of that CPU kind, one node a socket, stopped before its first look at the CPUs."""
    board = board or Board(spec)
    machine: Any = board
    chosen = load_release(release)
    chosen = msgspec.structs.replace(chosen, behaviour=changed(chosen.behaviour, behaviour or {}))
    k = Kernel(machine, chosen, None, {**default_costs(), **(costs or {})}, [])
    k.cmdline = CommandLine(append)
    k.real_mode_base = 0x99000
    if spec.vendor in NAMES:
        archive = update_for(board.boot_cpu, spec.vendor, 1, "2024-01-01")
        board.bus.memory.write(INITRD, archive)
        k.boot_params.ramdisk = INITRD, len(archive)
    places = board.places
    if lapics is None:
        lapics = [LapicEntry(place.apic_id, n, True, True) for n, place in enumerate(places)]
    hpet = HPET_BASE if board.bus.read(HPET_BASE, 4) not in (0, 0xFFFFFFFF) else 0
    k.acpi = AcpiState(
        lapics=lapics,
        hpet_address=hpet,
        fadt=Fadt(6, 0, 0, 9, PM_TIMER_PORT, 0, 0, 0, 0, 0, 0, 0),
        tables=[Table("FACP", 0, len(fadt_bytes(6, 4)), fadt_bytes(6, 4))],
    )
    k.numa = Numa(apicid_to_node={place.apic_id: place.package for place in places})
    k.nodes = [Pglist(nid, 0, 0, []) for nid in range(spec.sockets)]
    cpuinfo.early_cpu_init(k)
    return k


def boot(k: Kernel) -> Kernel:
    """The part of start_kernel() that concerns CPUs and time."""
    microcode.load_ucode_bsp(k)
    params.parse_early_param(k)
    tsc.tsc_early_init(k)
    topology.topology_init(k)
    params.parse_args(k)
    clocksource.hpet_enable(k)
    tsc.tsc_init(k)
    calibrate.calibrate_delay(k)
    smpboot.smp_prepare_cpus(k)
    smpboot.smp_init(k)
    k.cpus.check()
    return k


def run(spec: CpuSpec, append: str = "", **options: Any) -> Kernel:
    """make_kernel() and boot()."""
    return boot(make_kernel(spec, append, **options))


def texts(k: Kernel) -> list[str]:
    """All log lines."""
    return [line.text for line in k.log.lines]


def smp_ms(k: Kernel) -> float:
    """Simulated ms from the first to the last line of smp_init()."""
    first, last = k.log.find("smp: Bringing up"), k.log.find("smp: Brought up")
    assert first is not None and last is not None
    return (last.at_ns - first.at_ns) / 1e6


def final_state(k: Kernel) -> dict[str, Any]:
    """What must not depend on the order in which CPUs were started."""
    maps = k.cpus
    return {
        "masks": (maps.possible, maps.present, maps.online),
        "state": maps.state,
        "places": maps.ids,
        "node": maps.node,
        "core": {key: sorted(value) for key, value in maps.topo.core_mask.items()},
        "smt": {key: sorted(value) for key, value in maps.topo.smt_mask.items()},
        "hardware": {nr: cpu.index for nr, cpu in maps.hardware.items()},
        "run": {nr: cpu.state for nr, cpu in maps.hardware.items()},
        "adjust": maps.tsc.adjust,
    }
