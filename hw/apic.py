"""The local APIC: one decoding of its registers for both the xAPIC page and the x2APIC MSRs.

Source: SDM vol. 3A, APIC chapter; "Multiple-Processor Management" for INIT and STARTUP.
"""

from __future__ import annotations

from array import array
from typing import Protocol

from hw import apic_registers as r
from hw.apic_bus import BROADCAST, BROADCAST_XAPIC, Delivery, Message, Shorthand
from hw.apic_bus import ApicBus as ApicBus
from hw.apic_registers import ApicBase, Dfr, Icr, LvtError, LvtTimer, Svr
from hw.apic_timer import ApicTimer, TimerMode
from hw.clock import Clock
from hw.errors import GeneralProtection
from hw.tsc import Tsc


class Core(Protocol):
    """What a local APIC asks of the CPU it sits in."""

    def init_reset(self) -> None: ...

    def startup(self, vector: int) -> None: ...

    def nmi(self) -> None: ...

    def poll_interrupts(self) -> None: ...


RESET = array("Q", [r.REGISTERS[at].reset if at in r.REGISTERS else 0 for at in range(0, r.END, 16)])
"""Every register after reset, by its place in the address map: offset / 16."""


class LocalApic:
    """Local APIC of one CPU.

    `core` takes INIT, STARTUP, NMI and interrupts; `bus_khz` is the timer's input; `x2apic` starts it in x2APIC mode,
    as firmware hands over machines with APIC ids of 255 and more.
    """

    __slots__ = (
        *("apic_bus", "apic_id", "core", "has_tsc_deadline", "has_x2apic", "mmio_page", "phys_bits", "timer"),
        *("version", "_base", "_errors", "_irr", "_isr", "_registers", "_tmr"),
    )

    def __init__(
        self,
        apic_id: int,
        core: Core,
        *,
        clock: Clock,
        apic_bus: ApicBus,
        tsc: Tsc,
        bus_khz: int,
        is_bsp: bool = False,
        has_x2apic: bool = True,
        has_tsc_deadline: bool = True,
        x2apic: bool = False,
        phys_bits: int = 46,
        version: int = r.DEFAULT_VERSION,
    ) -> None:
        self.apic_id = apic_id
        self.core = core
        self.apic_bus = apic_bus
        self.version = version
        self.has_x2apic = has_x2apic
        self.has_tsc_deadline = has_tsc_deadline
        self.phys_bits = phys_bits
        self.timer = ApicTimer(clock, tsc, bus_khz, self._timer_fired)
        self._base = ApicBase(r.APIC_DEFAULT_BASE).replace(bsp=is_bsp, enable=1, extd=x2apic)
        self.mmio_page = -1  # page frame of the register page; -1 when there is none
        self.reset()
        self._place()
        apic_bus.attach(self)

    def reset(self) -> None:
        """Registers as after power-on or INIT; id, base and mode stay. Source: "Local APIC State After ...INIT"."""
        self._registers = RESET[:]
        self._registers[r.ID >> 4] = self.apic_id << 24 & 0xFFFF_FFFF
        self._isr = self._irr = self._tmr = 0  # 256-bit sets, bit n for vector n
        self._errors = 0  # seen since ESR was last written
        self.timer.reset()

    # -- modes: IA32_APIC_BASE ----------------------------------------------------------------------------------------

    @property
    def enabled(self) -> bool:
        """Not switched off in IA32_APIC_BASE."""
        return bool(self._base.enable)

    @property
    def x2apic_mode(self) -> bool:
        """Registers are MSRs, not memory."""
        return bool(self._base.extd)

    def _place(self) -> None:
        self.mmio_page = self._base.base if self.enabled and not self.x2apic_mode else -1

    def read_base(self) -> int:
        """IA32_APIC_BASE."""
        return self._base.value

    def write_base(self, value: int) -> None:
        """Move or switch the APIC. Raises GeneralProtection for reserved bits and the mode changes that do not exist.

        x2APIC mode is entered from xAPIC mode only and left by disabling only. Source: "x2APIC State Transitions".
        """
        new = ApicBase(value)
        if value >> self.phys_bits or new.reserved or (new.extd and not self.has_x2apic):
            raise GeneralProtection(f"MSR 0x1b: reserved bits in {value:#x}")
        modes = (self._base.enable, self._base.extd), (new.enable, new.extd)
        if modes[1] == (0, 1) or modes in (((0, 0), (1, 1)), ((1, 1), (1, 0))):
            raise GeneralProtection(f"MSR 0x1b: no way from {self._base.value:#x} to {value:#x}")
        self._base = new
        if modes[0] != modes[1] and not new.enable:
            self.reset()
        self._place()

    # -- the two ways to the registers --------------------------------------------------------------------------------

    def mmio_read(self, offset: int, size: int, cpu: object = None) -> int:
        """xAPIC register page; registers are 4 bytes at multiples of 16, anything else is an illegal address (ESR)."""
        entry = r.REGISTERS.get(offset)
        if size != 4 or entry is None or not entry.access or not self._exists(offset):
            self._error(r.ERROR_ADDRESS)
            return 0
        if offset == r.EOI:
            return 0
        return self._read(offset) & 0xFFFF_FFFF

    def mmio_write(self, offset: int, size: int, value: int, cpu: object = None) -> None:
        """xAPIC register page; undefined bits and read-only registers keep their value."""
        entry = r.REGISTERS.get(offset)
        if size != 4 or entry is None or not entry.access or not self._exists(offset):
            self._error(r.ERROR_ADDRESS)
        elif "w" not in entry.access:
            return
        elif offset == r.ICR:
            destination = self._registers[r.ICR_HIGH >> 4] >> 24
            self._registers[r.ICR >> 4] = value & Icr.defined & 0xFFFF_FFFF
            self._send(Icr(value & Icr.defined).replace(destination=destination), BROADCAST_XAPIC)
        else:
            self._write(offset, value & entry.form.defined | entry.reset & ~entry.form.defined)

    def rdmsr(self, msr: int) -> int:
        """x2APIC register. Raises GeneralProtection outside x2APIC mode and where there is nothing to read."""
        offset = self._msr(msr, "r")
        if offset == r.ID:
            return self.apic_id
        if offset == r.LDR:
            return self._x2apic_ldr()
        return self._read(offset)

    def wrmsr(self, msr: int, value: int) -> None:
        """x2APIC register. Raises GeneralProtection as `rdmsr()`, and for reserved bits."""
        offset = self._msr(msr, "w")
        if value & ~r.REGISTERS[offset].form.defined or (offset in (r.EOI, r.ESR) and value):
            raise GeneralProtection(f"MSR {msr:#x}: reserved bits in {value:#x}")
        if offset == r.ICR:
            self._registers[r.ICR >> 4] = value
            self._send(Icr(value), BROADCAST)
        elif offset == r.SELF_IPI:
            self._send(Icr.of(vector=value, shorthand=Shorthand.SELF, asserted=1), BROADCAST)
        else:
            self._write(offset, value)

    def _msr(self, msr: int, access: str) -> int:
        offset = (msr - r.X2APIC_MSR) << 4
        entry = r.REGISTERS.get(offset)
        if not self.x2apic_mode or entry is None or access not in entry.x2apic or not self._exists(offset):
            raise GeneralProtection(f"MSR {msr:#x}: no such x2APIC register now")
        return offset

    def _exists(self, offset: int) -> bool:
        """The CMCI entry comes with a seventh LVT entry (VERSION bits 23:16 count from 0)."""
        return offset != r.LVT_CMCI or self.version >> 16 & 0xFF >= 6

    def _x2apic_ldr(self) -> int:
        """Cluster and member, derived from the id. Source: "Deriving Logical x2APIC ID from the Local x2APIC ID"."""
        return (self.apic_id >> 4 & 0xFFFF) << 16 | 1 << (self.apic_id & 0xF)

    # -- registers ----------------------------------------------------------------------------------------------------

    def _read(self, offset: int) -> int:
        if offset == r.VERSION:
            return self.version
        if offset == r.PPR:
            return self._ppr()
        if offset == r.CURRENT_COUNT:
            return self.timer.current_count()
        if r.ISR <= offset < r.ESR:
            bits = (self._isr, self._tmr, self._irr)[(offset - r.ISR) >> 7]
            return bits >> (2 * (offset & 0x70)) & 0xFFFF_FFFF
        return self._registers[offset >> 4]

    def _write(self, offset: int, value: int) -> None:
        if offset == r.EOI:
            self._end_of_interrupt()
        elif offset == r.ESR:
            self._registers[r.ESR >> 4], self._errors = self._errors, 0
        elif offset in r.LVTS:
            self._write_lvt(offset, value)
        elif offset == r.INITIAL_COUNT:
            self.timer.write_initial_count(value)
            self._registers[r.INITIAL_COUNT >> 4] = self.timer.initial_count
        elif offset == r.DIVIDE:
            self.timer.write_divide(value)
            self._registers[r.DIVIDE >> 4] = self.timer.divide_config
        else:
            self._registers[offset >> 4] = value
            if offset == r.SVR:
                for lvt in r.LVTS:
                    self._write_lvt(lvt, self._registers[lvt >> 4])
            elif offset == r.TPR:
                self.core.poll_interrupts()

    def _write_lvt(self, offset: int, value: int) -> None:
        """Store a local vector; while the APIC is disabled by software every entry stays masked."""
        if not self.software_enabled:
            value |= LvtTimer.mask.mask
        if offset == r.LVT_TIMER:
            if not self.has_tsc_deadline:
                value &= ~(TimerMode.TSC_DEADLINE << LvtTimer.mode.low)
            timer = LvtTimer(value)
            self.timer.set_lvt(timer.mode, bool(timer.mask))
            self._registers[r.INITIAL_COUNT >> 4] = self.timer.initial_count
        self._registers[offset >> 4] = value

    @property
    def software_enabled(self) -> bool:
        """The enable bit of the spurious interrupt vector register."""
        return bool(Svr(self._registers[r.SVR >> 4]).enabled)

    def _error(self, bit: int) -> None:
        """Note an error for the next write of ESR, and raise the error interrupt if that is unmasked."""
        self._errors |= bit
        lvt = LvtError(self._registers[r.LVT_ERROR >> 4])
        if not lvt.mask and lvt.vector >= r.FIRST_VECTOR:
            self._accept(lvt.vector, level=False)

    # -- IA32_TSC_DEADLINE --------------------------------------------------------------------------------------------

    def read_tsc_deadline(self) -> int:
        """MSR 0x6E0. Raises GeneralProtection on a CPU without it."""
        if not self.has_tsc_deadline:
            raise GeneralProtection("MSR 0x6e0: this CPU has no TSC-deadline timer")
        return self.timer.read_deadline()

    def write_tsc_deadline(self, value: int) -> None:
        """MSR 0x6E0. Raises GeneralProtection on a CPU without it."""
        self.read_tsc_deadline()
        self.timer.write_deadline(value)

    def _timer_fired(self) -> None:
        self._accept(LvtTimer(self._registers[r.LVT_TIMER >> 4]).vector, level=False)

    # -- sending ------------------------------------------------------------------------------------------------------

    def _send(self, icr: Icr, broadcast: int) -> None:
        """Carry out an interrupt command; it is delivered when the write is done, so the status is always idle."""
        if not self.enabled or not _valid_command(icr):
            return
        if icr.delivery in (Delivery.FIXED, Delivery.LOWEST_PRIORITY) and icr.vector < r.FIRST_VECTOR:
            self._error(r.ERROR_SEND_VECTOR)
            return
        destination = BROADCAST if icr.destination == broadcast else icr.destination
        message = Message(icr.delivery, icr.vector, destination, bool(icr.logical), bool(icr.level), bool(icr.asserted))
        if not self.apic_bus.send(message, self, icr.shorthand) and icr.shorthand == Shorthand.NONE:
            self._error(r.ERROR_SEND_ACCEPT)

    # -- receiving ----------------------------------------------------------------------------------------------------

    def matches_logical(self, destination: int) -> bool:
        """Whether a logical destination includes this CPU. Source: "Logical Destination Mode"."""
        if self.x2apic_mode:
            own = self._x2apic_ldr()
            return own >> 16 == destination >> 16 and bool(own & destination & 0xFFFF)
        own = self._registers[r.LDR >> 4] >> 24
        if Dfr(self._registers[r.DFR >> 4]).model == 0xF:
            return bool(own & destination & 0xFF)
        return own >> 4 == destination >> 4 & 0xF and bool(own & destination & 0xF)

    def receive(self, message: Message) -> None:
        """Take a message from the bus. INIT, STARTUP and NMI work while the APIC is disabled by software."""
        if not self.enabled:
            return
        if message.delivery == Delivery.INIT:
            if message.asserted or not message.level:  # level de-assert does nothing since the Pentium 4
                self.core.init_reset()
        elif message.delivery == Delivery.STARTUP:
            self.core.startup(message.vector)
        elif message.delivery == Delivery.NMI:
            self.core.nmi()
        elif message.delivery in (Delivery.FIXED, Delivery.LOWEST_PRIORITY):
            self._accept(message.vector, message.level)

    def _accept(self, vector: int, level: bool) -> None:
        """Make a fixed interrupt pending, unless the APIC is disabled by software."""
        if not self.enabled or not self.software_enabled:
            return
        if vector < r.FIRST_VECTOR:
            self._error(r.ERROR_RECEIVE_VECTOR)
            return
        bit = 1 << vector
        self._irr |= bit
        self._tmr = self._tmr | bit if level else self._tmr & ~bit
        self.core.poll_interrupts()

    def _ppr(self) -> int:
        """Processor priority: the higher of task priority and what is in service. Source: figure "PPR"."""
        in_service = _highest(self._isr) & 0xF0 if self._isr else 0
        task = self._registers[r.TPR >> 4]
        return task if task & 0xF0 >= in_service else in_service

    def acknowledge(self) -> int | None:
        """Hand the CPU the pending vector that beats the processor priority, and put it in service."""
        if not self._irr:
            return None
        vector = _highest(self._irr)
        if vector >> 4 <= self._ppr() >> 4:
            return None
        self._irr &= ~(1 << vector)
        self._isr |= 1 << vector
        return vector

    def _end_of_interrupt(self) -> None:
        if not self._isr:
            return
        vector = _highest(self._isr)
        self._isr &= ~(1 << vector)
        if self._tmr >> vector & 1 and not Svr(self._registers[r.SVR >> 4]).eoi_suppress:
            self.apic_bus.broadcast_eoi(vector)
        self.core.poll_interrupts()


def _highest(bits: int) -> int:
    return bits.bit_length() - 1


def _valid_command(icr: Icr) -> bool:
    """Only fixed interrupts may go to the sender itself. Source: "Valid Combinations for the ... ICR"."""
    return icr.delivery == Delivery.FIXED or icr.shorthand in (Shorthand.NONE, Shorthand.OTHERS)
