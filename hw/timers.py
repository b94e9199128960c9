"""The PC's own time bases: PIT with port 0x61, HPET, ACPI PM timer. All counters follow from the simulated time.

Their outputs are not wired to an interrupt controller: they are here to be read.
"""

from __future__ import annotations

from enum import IntEnum

from hw.bus import Bus
from hw.clock import Clock
from hw.registers import Bits, Register

NS_PER_S = 1_000_000_000
PIT_HZ = 1_193_182
"""Input clock of the counters, 14.31818 MHz / 12. Source: Intel chipset data sheets, "8254 Timers"."""
PM_TIMER_HZ = 3_579_545
"""Source: ACPI 6.5, "Power Management Timer"."""
PIT_PORT, PIT_PORTS = 0x40, 4
NMI_SC_PORT = 0x61
"""NMI status and control: gate and output of PIT channel 2. Source: Intel chipset data sheets, "NMI_SC"."""
REFRESH_TOGGLE_NS = 15_085
"""Half period of the DRAM refresh toggle, 18 PIT clocks. Source: the same, REF_TOGGLE."""
HPET_BASE, HPET_SIZE = 0xFED0_0000, 0x400
HPET_PERIOD_FS = 69_841_279
"""14.31818 MHz in femtoseconds. Source: Intel chipset data sheets, HPET General Capabilities."""


class Access(IntEnum):
    """How the 16-bit count passes the 8-bit port. Source: 8254 data sheet, control word RW1/RW0."""

    LATCH = 0
    LOW = 1
    HIGH = 2
    LOW_HIGH = 3


class ControlWord(Register, width=8):
    """Source: 8254 data sheet, "Control Word Format"."""

    channel = Bits(7, 6)
    access = Bits(5, 4)
    mode = Bits(3, 1)
    bcd = Bits(0)


class PitChannel:
    """One 8254 counter. Modes 0 (and 1, 4, 5, which count alike), 2 and 3; binary counting only."""

    def __init__(self, clock: Clock, gate: bool) -> None:
        self.clock = clock
        self.gate = gate
        self.control = ControlWord.of(access=Access.LOW_HIGH, mode=3)
        self.reload = 0x10000
        self._base_ticks = 0  # ticks counted before `_since`
        self._since = 0 if gate else None  # time the count started or resumed; None: stopped
        self._loaded = True
        self._latch: list[int] = []  # bytes still to be read of a latched status or count
        self._half: int | None = None  # first byte written of a two-byte count
        self._high_next = False  # next read gives the high byte

    @property
    def mode(self) -> int:
        """0 to 5; the chip reads 6 and 7 as 2 and 3."""
        mode = self.control.mode
        return mode - 4 if mode > 5 else mode

    def ticks(self) -> int:
        """Input clocks counted since the count was loaded."""
        if self._since is None:
            return self._base_ticks
        return self._base_ticks + (self.clock.now - self._since) * PIT_HZ // NS_PER_S

    def count(self) -> int:
        """The counting element now, 16 bits."""
        ticks = self.ticks()
        if self.mode == 2:
            return (self.reload - ticks % self.reload) & 0xFFFF
        if self.mode == 3:
            at, half = ticks % self.reload, (self.reload + 1) // 2
            return ((self.reload & ~1) - 2 * (at if at < half else at - half)) & 0xFFFF
        return (self.reload - ticks) & 0xFFFF

    def output(self) -> bool:
        """Level of the OUT pin."""
        ticks = self.ticks()
        if self.mode == 2:
            return ticks % self.reload != self.reload - 1
        if self.mode == 3:
            return ticks % self.reload < (self.reload + 1) // 2
        return self._loaded and ticks >= self.reload

    def set_gate(self, level: bool) -> None:
        """Drive the GATE pin: low stops the count; a rising edge goes on (mode 0) or starts over (modes 2 and 3)."""
        if level and not self.gate and self.mode in (2, 3):
            self._base_ticks = 0
        elif not level:
            self._base_ticks = self.ticks()
        if not level:
            self._since = None
        elif not self.gate and self._loaded:
            self._since = self.clock.now
        self.gate = level

    def command(self, control: ControlWord) -> None:
        """Take a control word for this channel: latch the count, or set a mode and wait for a count."""
        if control.access == Access.LATCH:
            self.latch_count()
            return
        self.control = control
        self._base_ticks, self._since, self._loaded = 0, None, False
        self._latch, self._half, self._high_next = [], None, False

    def latch_count(self) -> None:
        """Hold the count for the next read(s); a count latched before and not yet read stays."""
        if not self._latch:
            count = self.count()
            low, high = count & 0xFF, count >> 8
            self._latch = {Access.LOW: [low], Access.HIGH: [high]}.get(Access(self.control.access), [low, high])

    def latch_status(self) -> None:
        """Hold the status byte. Source: 8254 data sheet, "Status Byte": OUT, null count, and the control word."""
        status = (self.output() << 7) | ((not self._loaded) << 6) | (self.control.value & 0x3F)
        self._latch.insert(0, status)

    def read(self) -> int:
        """The next byte the data port gives."""
        if self._latch:
            return self._latch.pop(0)
        count = self.count()
        if self.control.access == Access.LOW:
            return count & 0xFF
        if self.control.access == Access.HIGH:
            return count >> 8
        high, self._high_next = self._high_next, not self._high_next
        return count >> 8 if high else count & 0xFF

    def write(self, value: int) -> None:
        """Take a byte of the count; the last byte loads it (0 stands for 65536) and starts counting if GATE is high."""
        if self.control.access == Access.LOW_HIGH and self._half is None:
            self._half = value
            return
        low = self._half if self._half is not None else 0
        count = value if self.control.access == Access.LOW else (value << 8) | low
        self.reload = count or 0x10000
        self._half, self._loaded, self._base_ticks = None, True, 0
        self._since = self.clock.now if self.gate else None


class Pit:
    """The 8254 with channels 0 to 2 at ports 0x40 to 0x43, and the bits of port 0x61 that belong to channel 2."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.channels = [PitChannel(clock, gate=True), PitChannel(clock, gate=True), PitChannel(clock, gate=False)]
        self._speaker = 0

    def attach(self, bus: Bus) -> None:
        """Claim the ports."""
        bus.map_ports(PIT_PORT, PIT_PORTS, self)
        bus.map_ports(NMI_SC_PORT, 1, self)

    def port_read(self, port: int, size: int) -> int:
        """A count byte, or port 0x61; the control port can not be read."""
        if port == NMI_SC_PORT:
            channel = self.channels[2]
            refresh = self.clock.now // REFRESH_TOGGLE_NS & 1
            return channel.gate | self._speaker << 1 | refresh << 4 | channel.output() << 5
        if port - PIT_PORT < 3:
            return self.channels[port - PIT_PORT].read()
        return 0xFF

    def port_write(self, port: int, size: int, value: int) -> None:
        """A count byte, a control word, or port 0x61 (gate of channel 2, speaker)."""
        value &= 0xFF
        if port == NMI_SC_PORT:
            self.channels[2].set_gate(bool(value & 1))
            self._speaker = value >> 1 & 1
        elif port - PIT_PORT < 3:
            self.channels[port - PIT_PORT].write(value)
        else:
            control = ControlWord(value)
            if control.channel < 3:
                self.channels[control.channel].command(control)
            else:
                self._read_back(value)

    def _read_back(self, value: int) -> None:
        """Bits 1 to 3 choose counters; bit 5 low latches counts, 4 low status. Source: 8254, "Read-Back Command"."""
        for number, channel in enumerate(self.channels):
            if value >> (number + 1) & 1:
                if not value & 0x20:
                    channel.latch_count()
                if not value & 0x10:
                    channel.latch_status()


class HpetCapabilities(Register, width=64):
    """Source: IA-PC HPET Specification 1.0a, "General Capabilities and ID Register"."""

    rev_id = Bits(7, 0)
    num_tim_cap = Bits(12, 8)  # index of the last timer
    count_size_cap = Bits(13)
    leg_rt_cap = Bits(15)
    vendor_id = Bits(31, 16)
    counter_clk_period = Bits(63, 32)  # fs


class Hpet:
    """High precision event timer: main counter, and comparators that keep what is written but raise no interrupt.

    `period_fs` is the tick in femtoseconds (at most 100 ns), `timers` how many comparators are declared (3 to 32).
    Source: IA-PC HPET Specification 1.0a.
    """

    CAPABILITIES, CONFIG, STATUS, COUNTER, TIMER0, TIMER_STRIDE = 0x000, 0x010, 0x020, 0x0F0, 0x100, 0x20
    FS_PER_NS = 1_000_000
    MAX_PERIOD_FS = 100_000_000  # 0x05F5E100 Source: the same, COUNTER_CLK_PERIOD

    def __init__(self, clock: Clock, period_fs: int = HPET_PERIOD_FS, timers: int = 3, vendor: int = 0x8086) -> None:
        if not 0 < period_fs <= self.MAX_PERIOD_FS or not 3 <= timers <= 32:
            raise ValueError(f"HPET with {timers} timers of {period_fs} fs: 3 to 32 of at most {self.MAX_PERIOD_FS} fs")
        self.clock = clock
        self.period_fs = period_fs
        capabilities = HpetCapabilities.of(
            rev_id=1,
            num_tim_cap=timers - 1,
            count_size_cap=1,
            leg_rt_cap=1,
            vendor_id=vendor,
            counter_clk_period=period_fs,
        )
        self._registers = {self.CAPABILITIES: capabilities.value, self.CONFIG: 0, self.STATUS: 0}
        for number in range(timers):
            base = self.TIMER0 + number * self.TIMER_STRIDE
            # 64-bit capable, periodic capable; comparator all ones; no FSB delivery.
            self._registers |= {base: 0x30, base + 8: (1 << 64) - 1, base + 16: 0}
        self._count = 0  # counter value at `_since`
        self._since = 0

    def attach(self, bus: Bus, base: int = HPET_BASE) -> None:
        """Claim the register window."""
        bus.map_mmio(base, HPET_SIZE, self)

    @property
    def enabled(self) -> bool:
        """Overall enable: the main counter runs."""
        return bool(self._registers[self.CONFIG] & 1)

    def counter(self) -> int:
        """Main counter now, 64 bits."""
        if not self.enabled:
            return self._count
        return (self._count + (self.clock.now - self._since) * self.FS_PER_NS // self.period_fs) & ((1 << 64) - 1)

    def mmio_read(self, offset: int, size: int, cpu: object) -> int:
        """A register or its half; reserved offsets read 0."""
        at = offset & ~7
        value = self.counter() if at == self.COUNTER else self._registers.get(at, 0)
        return value >> (8 * (offset & 7))

    def mmio_write(self, offset: int, size: int, value: int, cpu: object) -> None:
        """Write a register or its half; capabilities are read-only, the counter takes writes only while halted."""
        at, shift = offset & ~7, 8 * (offset & 7)
        old = self._count if at == self.COUNTER else self._registers.get(at)
        if old is None or at == self.CAPABILITIES:
            return
        mask = ((1 << (8 * size)) - 1) << shift
        new = ((old & ~mask) | (value << shift & mask)) & ((1 << 64) - 1)
        if at == self.COUNTER:
            self._count = self._count if self.enabled else new
        elif at == self.CONFIG:
            self._configure(new & 3)
        elif at == self.STATUS:
            self._registers[at] = old & ~(value << shift & mask)  # write one to clear
        elif at >= self.TIMER0 and (at - self.TIMER0) % self.TIMER_STRIDE == 0:
            self._registers[at] = (new & 0x7F4E) | (old & ~0x7F4E)  # the writable bits of Tn_CONF
        else:
            self._registers[at] = new

    def _configure(self, config: int) -> None:
        """Start or halt the counter without losing ticks already counted."""
        self._count, self._since = self.counter(), self.clock.now
        self._registers[self.CONFIG] = config


class PmTimer:
    """ACPI power management timer: one read-only 32-bit port, `bits` wide (24, or 32 with TMR_VAL_EXT)."""

    def __init__(self, clock: Clock, bits: int = 24) -> None:
        if bits not in (24, 32):
            raise ValueError(f"PM timer is 24 or 32 bits wide, not {bits}")
        self.clock = clock
        self.bits = bits
        self.base = 0

    def attach(self, bus: Bus, port: int) -> None:
        """Claim the four ports at PM_TMR_BLK."""
        self.base = port
        bus.map_ports(port, 4, self)

    def count(self) -> int:
        """The counter now."""
        return (self.clock.now * PM_TIMER_HZ // NS_PER_S) & ((1 << self.bits) - 1)

    def port_read(self, port: int, size: int) -> int:
        """The counter, or the byte of it at `port`."""
        return self.count() >> (8 * (port - self.base))

    def port_write(self, port: int, size: int, value: int) -> None:
        """The register is read-only: lost."""
