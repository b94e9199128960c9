"""One logical CPU: CPUID, MSRs, run state, interrupts, and its own view of memory and ports.

Source: SDM vol. 2A "CPUID", vol. 3A "Multiple-Processor Management" (INIT, SIPI, wait-for-SIPI), vol. 4 for MSRs.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from enum import Enum
from functools import lru_cache
from typing import Any, NamedTuple

import simpy

from hw import msr as m
from hw.apic import LocalApic
from hw.apic_bus import ApicBus
from hw.apic_registers import DEFAULT_VERSION
from hw.bus import Bus
from hw.clock import Clock
from hw.errors import BusError, MachineStopped
from hw.errors import GeneralProtection as GeneralProtection
from hw.microcode import Microcode
from hw.overlay import Overlay
from hw.tsc import Tsc

RESET_VECTOR = 0xFFFF_FFF0
"""Where the boot CPU goes after INIT. Source: SDM vol. 3A, "First Instruction Executed"."""
NMI_VECTOR = 2
DEFAULT_BUS_KHZ = 100_000
"""APIC timer input where CPUID leaf 0x15 names no crystal: the 100 MHz bus clock of Intel's current platforms."""
SUBLEAVES = frozenset({4, 7, 0xB, 0xD, 0xF, 0x10, 0x12, 0x14, 0x17, 0x18, 0x1A, 0x1D, 0x1F, 0x20, 0x23})
"""Basic leaves that look at ECX. Source: SDM vol. 2A, CPUID."""
EXTENDED_SUBLEAVES = frozenset({0x8000_001D, 0x8000_0020, 0x8000_0026})
"""AMD's. Source: AMD64 APM vol. 3, appendix E."""
TOPOLOGY_LEAVES = (0xB, 0x1F)

Entry = Callable[["CPU"], Generator[simpy.Event, Any, Any]]


class RunState(Enum):
    """What a CPU is doing."""

    RUNNING = "running"
    WAIT_FOR_SIPI = "wait for SIPI"
    HALTED = "halted"
    SHUTDOWN = "shutdown"  # started at an address that holds no code
    DEAD = "dead"  # broken: ignores everything


class CpuidResult(NamedTuple):
    """The four registers CPUID fills."""

    eax: int
    ebx: int
    ecx: int
    edx: int


NO_LEAF = CpuidResult(0, 0, 0, 0)


@lru_cache(maxsize=4096)
def _result(eax: int, ebx: int, ecx: int, edx: int) -> CpuidResult:
    """CPUs of one kind share most of their leaves."""
    return CpuidResult(eax, ebx, ecx, edx)


class CodeStore:
    """Code by physical address: what a CPU finds when it is started there."""

    def __init__(self) -> None:
        self._entries: dict[int, Entry] = {}

    def install(self, phys_addr: int, entry: Entry) -> None:
        """Put `entry` at `phys_addr`, replacing what was there."""
        self._entries[phys_addr] = entry

    def remove(self, phys_addr: int) -> None:
        """Take the code away; nothing there is fine."""
        self._entries.pop(phys_addr, None)

    def get(self, phys_addr: int) -> Entry | None:
        """What was installed at `phys_addr`."""
        return self._entries.get(phys_addr)


class CPU:
    """One logical processor and its local APIC and TSC.

    `cpuid` maps (leaf, subleaf) to the four registers; `msrs` gives plain registers and the start values of TSC_ADJUST
    and the microcode revision. `tsc_offset` is the counter at power-on in cycles, `bus_khz` the APIC timer's input
    (None: the crystal of leaf 0x15, else DEFAULT_BUS_KHZ), `x2apic` says that firmware hands the CPU over in x2APIC
    mode, `dead` that the CPU answers nobody. `microcode` is shared by the threads of a core (None: the CPU's own),
    `startup_delay_ns` passes between a SIPI and the first instruction. What a CPU has in common with `like` the two
    hold once.
    """

    __slots__ = (
        *("apic", "bus", "clock", "code_store", "index", "interrupts_enabled", "is_bsp", "microcode", "rsi"),
        *("startup_delay_ns", "state", "tsc"),
        *("_cpuid", "_gates", "_max_basic", "_msrs", "_process", "_wake"),
    )
    apic: LocalApic
    microcode: Microcode
    tsc: Tsc
    _cpuid: Overlay[tuple[int, int], CpuidResult]
    _msrs: Overlay[int, int]

    def __init__(
        self,
        index: int,
        apic_id: int,
        cpuid: Mapping[tuple[int, int], tuple[int, int, int, int]],
        msrs: Mapping[int, int],
        *,
        clock: Clock,
        bus: Bus,
        apic_bus: ApicBus,
        code_store: CodeStore,
        tsc_khz: int,
        tsc_offset: int = 0,
        tsc_drift_ppb: int = 0,
        microcode: Microcode | None = None,
        startup_delay_ns: int = 0,
        bus_khz: int | None = None,
        is_bsp: bool = False,
        bsp_flag: bool = True,
        x2apic: bool = False,
        dead: bool = False,
        apic_version: int = DEFAULT_VERSION,
        like: CPU | None = None,
    ) -> None:
        self.index = index
        self.rsi = 0
        self.clock = clock
        self.bus = bus
        self.code_store = code_store
        self.is_bsp = is_bsp
        leaves = {key: _result(*registers) for key, registers in cpuid.items()}
        self._cpuid = Overlay(leaves, like._cpuid if like else None)
        self._max_basic = leaves.get((0, 0), NO_LEAF).eax
        features = leaves.get((1, 0), NO_LEAF)
        has_adjust = self._max_basic >= 7 and bool(leaves.get((7, 0), NO_LEAF).ebx >> 1 & 1)
        adjust = msrs.get(m.IA32_TSC_ADJUST, 0) if has_adjust else None
        self.tsc = Tsc(clock, tsc_khz, tsc_offset, adjust, tsc_drift_ppb)
        self.microcode = microcode or Microcode.of_msrs(self._vendor(), msrs)
        self.startup_delay_ns = startup_delay_ns
        self.state = RunState.DEAD if dead else RunState.RUNNING if is_bsp else RunState.WAIT_FOR_SIPI
        self.interrupts_enabled = False
        self._gates: dict[int, Callable[[CPU], None]] = {}
        self._wake: simpy.Event | None = None
        self._process: simpy.Process | None = None
        self.apic = LocalApic(
            apic_id,
            self,
            clock=clock,
            apic_bus=apic_bus,
            tsc=self.tsc,
            bus_khz=bus_khz or self._crystal_khz() or DEFAULT_BUS_KHZ,
            is_bsp=is_bsp and bsp_flag,
            has_x2apic=bool(features.ecx >> 21 & 1),
            has_tsc_deadline=bool(features.ecx >> 24 & 1),
            x2apic=x2apic,
            phys_bits=leaves.get((0x8000_0008, 0), NO_LEAF).eax & 0xFF or 36,
            version=apic_version,
        )
        plain = {n: value for n, value in msrs.items() if n not in _READS and not m.X2APIC_FIRST <= n <= m.X2APIC_LAST}
        self._msrs = Overlay(plain, like._msrs if like else None)

    def _vendor(self) -> str:
        leaf = self._leaf(0)
        words = (leaf.ebx, leaf.edx, leaf.ecx)
        return b"".join(word.to_bytes(4, "little") for word in words).decode("latin-1")

    def _crystal_khz(self) -> int:
        return self._leaf(0x15).ecx // 1000 if self._max_basic >= 0x15 else 0

    def _leaf(self, leaf: int) -> CpuidResult:
        return self._cpuid.get((leaf, 0)) or NO_LEAF

    # -- identification -----------------------------------------------------------------------------------------------

    def cpuid(self, leaf: int, subleaf: int = 0) -> CpuidResult:
        """The CPUID instruction. Leaves and subleaves the CPU does not have read as zeros."""
        if leaf < 0x4000_0000 and leaf > self._max_basic:
            return NO_LEAF
        found = self._cpuid.get((leaf, subleaf))
        if found is None:
            found = self._missing_subleaf(leaf, subleaf)
        if leaf == 1 and not self.apic.enabled:
            return found._replace(edx=found.edx & ~(1 << 9))  # the APIC flag follows IA32_APIC_BASE
        return found

    def _missing_subleaf(self, leaf: int, subleaf: int) -> CpuidResult:
        """Leaves that ignore ECX answer as for 0; past the last topology level the level and the APIC id still show."""
        first = self._leaf(leaf)
        if leaf in TOPOLOGY_LEAVES and first != NO_LEAF:
            return CpuidResult(0, 0, subleaf & 0xFF, first.edx)
        return NO_LEAF if leaf in SUBLEAVES or leaf in EXTENDED_SUBLEAVES else first

    # -- model-specific registers -------------------------------------------------------------------------------------

    def rdmsr(self, msr: int) -> int:
        """The RDMSR instruction. Raises GeneralProtection for a register this CPU does not have."""
        reader = _READS.get(msr)
        if reader is not None:
            return reader(self)
        if m.X2APIC_FIRST <= msr <= m.X2APIC_LAST:
            return self.apic.rdmsr(msr)
        value = self._msrs.get(msr)
        if value is None:
            raise GeneralProtection(f"RDMSR {msr:#x}: CPU {self.index} has no such register")
        return value

    def wrmsr(self, msr: int, value: int) -> None:
        """The WRMSR instruction. Raises GeneralProtection for an unknown or read-only register, or reserved bits."""
        if not 0 <= value < 1 << 64:
            raise ValueError(f"WRMSR {msr:#x}: {value:#x} is not a 64-bit value")
        writer = _WRITES.get(msr)
        if writer is not None:
            writer(self, value)
        elif msr == self.microcode.trigger:
            self._load_microcode(value)
        elif m.X2APIC_FIRST <= msr <= m.X2APIC_LAST:
            self.apic.wrmsr(msr, value)
        elif msr in self._msrs and msr not in m.READ_ONLY:
            self._msrs[msr] = value
        else:
            raise GeneralProtection(f"WRMSR {msr:#x}: CPU {self.index} has no such writable register")

    def _load_microcode(self, address: int) -> None:
        """The update trigger: microcode at `address`, behind its header, is loaded for the core."""
        self.microcode.load(self.bus, address)

    def rdtsc(self) -> int:
        """The RDTSC instruction, cycles."""
        return self.tsc.read()

    # -- memory and ports ---------------------------------------------------------------------------------------------

    def read(self, addr: int, size: int) -> int:
        """Load 1, 2, 4 or 8 bytes; this CPU's own APIC answers for its page. Raises BusError as `Bus.read()`."""
        if addr >> 12 == self.apic.mmio_page:
            return self.apic.mmio_read(addr & 0xFFF, size, self)
        return self.bus.read(addr, size, self)

    def write(self, addr: int, size: int, value: int) -> None:
        """Store 1, 2, 4 or 8 bytes. Raises BusError as `Bus.write()`."""
        if addr >> 12 == self.apic.mmio_page:
            self.apic.mmio_write(addr & 0xFFF, size, value & ((1 << 8 * size) - 1), self)
        else:
            self.bus.write(addr, size, value, self)

    def inb(self, port: int) -> int:
        """Read a byte from a port."""
        return self.bus.port_in(port, 1)

    def inw(self, port: int) -> int:
        """Read two bytes from a port."""
        return self.bus.port_in(port, 2)

    def inl(self, port: int) -> int:
        """Read four bytes from a port."""
        return self.bus.port_in(port, 4)

    def outb(self, port: int, value: int) -> None:
        """Write a byte to a port."""
        self.bus.port_out(port, 1, value)

    def outw(self, port: int, value: int) -> None:
        """Write two bytes to a port."""
        self.bus.port_out(port, 2, value)

    def outl(self, port: int, value: int) -> None:
        """Write four bytes to a port."""
        self.bus.port_out(port, 4, value)

    # -- run state: INIT and STARTUP ----------------------------------------------------------------------------------

    def init_reset(self) -> None:
        """INIT: drop what the CPU was running; then wait for SIPI, or (boot CPU) go to the reset vector.

        MSRs, caches and the TSC keep their contents. Raises MachineStopped when that was the straight-line boot code.
        """
        if self.state is RunState.DEAD:
            return
        if self.is_bsp and self._process is None and self.state is RunState.RUNNING:
            raise MachineStopped(f"CPU {self.index} was reset by INIT at {self.clock.now} ns")
        self._drop_process()
        self._wake = None
        self.interrupts_enabled = False
        self._gates.clear()
        self.apic.reset()
        self.state = RunState.WAIT_FOR_SIPI
        if self.is_bsp:
            self._start_at(RESET_VECTOR)

    def startup(self, vector: int) -> None:
        """SIPI: start at `vector` << 12 if the CPU waits for one; otherwise the message is lost."""
        if self.state is RunState.WAIT_FOR_SIPI:
            self._start_at(vector << 12)

    def run(self, code: Entry) -> None:
        """Let firmware's own code have a CPU that waits for SIPI."""
        self.state = RunState.RUNNING
        self._process = self.clock.process(self._run(code, 0))

    def _start_at(self, phys_addr: int) -> None:
        entry = self.code_store.get(phys_addr)
        if entry is None:
            self.state = RunState.SHUTDOWN  # zeros or garbage: faults with no IDT, up to the triple fault
            return
        self.state = RunState.RUNNING
        self._process = self.clock.process(self._run(entry, self.startup_delay_ns))

    def _run(self, entry: Entry, delay_ns: int) -> Generator[simpy.Event, Any, None]:
        """Run code until it ends (the CPU then sits in HLT with interrupts off) or INIT takes the CPU away."""
        own = self.clock.env.active_process
        if self._process is not own:
            return  # INIT came before the first instruction
        try:
            if delay_ns:
                yield self.clock.timeout(delay_ns)
            yield from entry(self)
        except simpy.Interrupt as interrupt:
            if interrupt.cause is not self:
                raise
        except (GeneralProtection, BusError) as fault:
            raise MachineStopped(f"CPU {self.index}: fault nobody handles: {fault}") from fault
        if self._process is own:
            self._process = None
            self.interrupts_enabled = False
            self.state = RunState.HALTED

    def _drop_process(self) -> None:
        """Stop the running code at its next (or present) yield."""
        process, self._process = self._process, None
        if process is None or not process.is_alive:
            return
        if process is not self.clock.env.active_process:
            process.interrupt(self)
            return
        later = self.clock.event()  # a CPU that sends INIT to itself is stopped once it yields
        later.callbacks.append(lambda _event: process.interrupt(self) if process.is_alive else None)
        later.succeed()

    # -- interrupts ---------------------------------------------------------------------------------------------------

    def set_gate(self, vector: int, handler: Callable[[CPU], None]) -> None:
        """Fill an IDT entry. A handler runs at once, in no simulated time; it must not wait, it may start processes."""
        self._gates[vector] = handler

    def sti(self) -> None:
        """Allow interrupts; those pending are taken now."""
        self.interrupts_enabled = True
        self.poll_interrupts()

    def cli(self) -> None:
        """Hold interrupts back; they stay pending in the local APIC."""
        self.interrupts_enabled = False

    def hlt(self) -> simpy.Event:
        """The HLT instruction: an event that happens at the next interrupt or NMI. Yield it or wait for it."""
        self.state = RunState.HALTED
        self._wake = self.clock.event()
        return self._wake

    def nmi(self) -> None:
        """A non-maskable interrupt."""
        if self.state in (RunState.RUNNING, RunState.HALTED):
            self._take(NMI_VECTOR)

    def poll_interrupts(self) -> None:
        """Take every pending interrupt that is allowed now."""
        while self.interrupts_enabled and self.state in (RunState.RUNNING, RunState.HALTED):
            vector = self.apic.acknowledge()
            if vector is None:
                return
            self.interrupts_enabled = False  # an interrupt gate clears IF; returning from the handler sets it again
            self._take(vector)
            self.interrupts_enabled = self.state is RunState.RUNNING  # not if INIT came in between

    def _take(self, vector: int) -> None:
        handler = self._gates.get(vector)
        if handler is None:
            raise MachineStopped(f"CPU {self.index}: interrupt vector {vector:#x} has no handler")
        if self.state is RunState.HALTED:
            self.state = RunState.RUNNING
            if self._wake is not None:
                self._wake.succeed()
                self._wake = None
        handler(self)


# Registers that are more than a stored value. Software writes 0 to the revision and runs CPUID to have it put back; it
# never goes away here. The microcode's trigger differs between vendors.
_READS: Mapping[int, Callable[[CPU], int]] = {
    m.IA32_TIME_STAMP_COUNTER: lambda cpu: cpu.tsc.read(),
    m.IA32_TSC_ADJUST: lambda cpu: cpu.tsc.read_adjust(),
    m.IA32_APIC_BASE: lambda cpu: cpu.apic.read_base(),
    m.IA32_BIOS_SIGN_ID: lambda cpu: cpu.microcode.sign_id(),
    m.IA32_TSC_DEADLINE: lambda cpu: cpu.apic.read_tsc_deadline(),
}
_WRITES: Mapping[int, Callable[[CPU, int], None]] = {
    m.IA32_TIME_STAMP_COUNTER: lambda cpu, value: cpu.tsc.write(value),
    m.IA32_TSC_ADJUST: lambda cpu, value: cpu.tsc.write_adjust(value),
    m.IA32_APIC_BASE: lambda cpu, value: cpu.apic.write_base(value),
    m.IA32_BIOS_SIGN_ID: lambda _cpu, _value: None,
    m.IA32_TSC_DEADLINE: lambda cpu, value: cpu.apic.write_tsc_deadline(value),
}
