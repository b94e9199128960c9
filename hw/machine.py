"""Machine: the parts, powered on from a description. Nothing else joins them."""

from __future__ import annotations

from dataclasses import dataclass

from hw import firmware
from hw.apic_bus import ApicBus
from hw.bus import Bus
from hw.clock import Clock
from hw.cpu import CPU, CodeStore, Entry
from hw.cpuid import DEFAULT_FEATURES, CpuDescription, CpuidTable, build_cpuid
from hw.embedded_controller import EmbeddedController
from hw.errors import BusError, InputError
from hw.faults import CpuFaults, cpu_faults
from hw.ioapic import IoApic
from hw.memmap import complete_memory
from hw.memory import PhysicalMemory
from hw.microcode import Microcode
from hw.microcode_update import prepend_update
from hw.msr import default_msrs
from hw.pci.host import PciTopology, attach_pci, attach_vmd
from hw.spec import CpuSpec, MachineSpec, check_spec
from hw.timers import Hpet, Pit, PmTimer
from hw.uart import Uart16550
from hw.wakeup_mailbox import park_processors


@dataclass
class Machine:
    """A running machine: clock, bus with its memory and devices, CPUs in firmware order."""

    spec: MachineSpec
    clock: Clock
    bus: Bus
    cpus: list[CPU]
    code: CodeStore
    topology: PciTopology

    @property
    def boot_cpu(self) -> CPU:
        """The processor that came out of reset; its RSI holds the zero page's address."""
        return self.cpus[0]

    def install_code(self, phys_addr: int, entry: Entry) -> None:
        """Put code at a physical address, for a CPU that is started there."""
        self.code.install(phys_addr, entry)

    @classmethod
    def power_on(cls, spec: MachineSpec, append: str = "") -> Machine:
        """Join the parts, run the firmware, and stand at the kernel's entry.

        ``append`` is added to the machine's own command line. InputError: a description no machine can have.
        """
        check_spec(spec)
        complete_memory(spec)
        check_spec(spec)
        clock = Clock()
        bus = Bus(PhysicalMemory())
        apic_bus = ApicBus()
        code = CodeStore()
        cpus = make_cpus(spec.cpus, cpu_faults(spec.faults, spec.cpus.count), clock, bus, apic_bus, code)
        guest = bool(cpus[0].cpuid(1).ecx >> 31 & 1)  # the bit of hypervisors
        try:
            _attach_board(spec, clock, bus, apic_bus)
            _attach_uarts(spec, clock, bus, guest)
        except BusError as error:
            raise InputError(f"{spec.name}: two devices of the board want one place: {error}") from error
        park_processors(spec, clock, bus, code, cpus)
        topology = attach_pci(bus, spec.pci)
        apic_bus.reports_unaccepted = not guest
        prepend_update(bus.memory, spec, cpus[0])
        command_line = " ".join(part for part in (spec.append, append) if part)
        cpus[0].rsi = firmware.post(bus, spec, topology, command_line)
        attach_vmd(bus, spec.pci, topology)
        return cls(spec, clock, bus, cpus, code, topology)


def _attach_board(spec: MachineSpec, clock: Clock, bus: Bus, apic_bus: ApicBus) -> None:
    Pit(clock).attach(bus)
    PmTimer(clock).attach(bus, spec.acpi.pm_timer_port)
    if spec.acpi.hpet_address:
        Hpet(clock, spec.acpi.hpet_period_fs).attach(bus, spec.acpi.hpet_address)
    if spec.acpi.ec is not None:
        EmbeddedController(clock, spec.acpi.ec.byte_ns).attach(bus, spec.acpi.ec.data_port, spec.acpi.ec.command_port)
    for ioapic in spec.acpi.ioapics:
        IoApic(apic_bus, ioapic.id, ioapic.pins, ioapic.version).attach(bus, ioapic.address)


def _attach_uarts(spec: MachineSpec, clock: Clock, bus: Bus, guest: bool) -> None:
    for uart in spec.uarts:
        Uart16550(clock, uart.clock_hz, uart.paced and not guest, uart.gap_ns).attach(bus, uart.port)


def make_cpus(
    spec: CpuSpec,
    faults: list[CpuFaults],
    clock: Clock,
    bus: Bus,
    apic_bus: ApicBus,
    code: CodeStore,
    tables: list[tuple[int, CpuidTable]] | None = None,
) -> list[CPU]:
    """All CPUs in firmware order, powered on; ``tables`` are those of cpuid_tables(), if they are at hand."""
    if tables is None:
        tables = cpuid_tables(spec)
    cores: dict[int, Microcode] = {}
    cpus: list[CPU] = []
    for index, (apic_id, leaves) in enumerate(tables):
        msrs = cpu_msrs(spec, index)
        fault = faults[index]
        microcode = Microcode.of_msrs(spec.vendor, msrs)
        if not fault.own_microcode:
            microcode = cores.setdefault(apic_id >> _smt_bits(leaves), microcode)
        cpus.append(
            CPU(
                index,
                apic_id,
                leaves,
                msrs,
                clock=clock,
                bus=bus,
                apic_bus=apic_bus,
                code_store=code,
                tsc_khz=spec.tsc_khz,
                is_bsp=index == 0,
                bsp_flag=spec.firmware_bsp,
                x2apic=spec.x2apic,
                microcode=microcode,
                dead=fault.dead,
                startup_delay_ns=fault.startup_delay_ns,
                tsc_offset=fault.tsc_offset,
                tsc_drift_ppb=fault.drift_ppb,
                like=cpus[0] if cpus else None,
            )
        )
    return cpus


def cpu_msrs(spec: CpuSpec, index: int) -> dict[int, int]:
    """Model-specific registers of one CPU at power-on: what firmware sets, and over it what was captured."""
    msrs = default_msrs(spec.vendor, spec.microcode, spec.tsc_khz)
    if index < len(spec.msrs):
        msrs |= {int(number, 16): value for number, value in spec.msrs[index].items()}
    return msrs


def _smt_bits(leaves: CpuidTable) -> int:
    # APIC id bits that tell a core's threads apart. Source: SDM vol. 2A "CPUID", leaf 0BH, subleaf 0
    eax, ebx, _, _ = leaves.get((0xB, 0), (0, 0, 0, 0))
    return eax & 0x1F if ebx & 0xFFFF else 0


def cpuid_tables(spec: CpuSpec) -> list[tuple[int, CpuidTable]]:
    """APIC id and CPUID leaves of every CPU in firmware order: captured where there are captures, else built."""
    if spec.cpuid:
        rows = [{(leaf, sub): (a, b, c, d) for leaf, sub, a, b, c, d in dump.rows} for dump in spec.cpuid]
        ids = spec.apic_ids or list(range(len(rows)))
        return list(zip(ids, rows, strict=False))
    features = tuple(spec.features) or DEFAULT_FEATURES
    if not spec.tsc_adjust:
        features = tuple(name for name in features if name != "tsc_adjust")
    description = CpuDescription(
        vendor=spec.vendor,
        family=spec.family,
        model=spec.model,
        stepping=spec.stepping,
        model_name=spec.model_name,
        features=features,
        cores=spec.cores_per_socket(),
        threads=spec.threads,
        dies=spec.dies,
        tsc_khz=spec.tsc_khz,
        crystal_hz=spec.crystal_hz,
        phys_bits=spec.phys_bits,
    )
    return [(place.apic_id, build_cpuid(description, place.apic_id)) for place in spec.topology()]
