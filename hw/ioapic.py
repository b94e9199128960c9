"""The I/O APIC: interrupt pins to APIC bus messages, through an index and a data register.

Source: Intel 82093AA data sheet (I/O APIC); chipset data sheets for the EOI register of version 0x20.
"""

from __future__ import annotations

from hw.apic_bus import BROADCAST, BROADCAST_XAPIC, ApicBus, Delivery, Message
from hw.bus import Bus
from hw.registers import Bits, Register

IOAPIC_BASE, IOAPIC_SIZE = 0xFEC0_0000, 0x1000
INDEX, DATA, EOI = 0x00, 0x10, 0x40
REG_ID, REG_VERSION, REG_ARBITRATION, REG_TABLE = 0x00, 0x01, 0x02, 0x10
MAX_PINS = 240


class Redirection(Register, width=64):
    """One entry of the redirection table."""

    vector = Bits(7, 0)
    delivery = Bits(10, 8)
    logical = Bits(11)
    pending = Bits(12)  # delivery status, read-only
    low_active = Bits(13)
    remote_irr = Bits(14)  # read-only
    level = Bits(15)
    mask = Bits(16)
    destination = Bits(63, 56)


_WRITABLE = Redirection.defined & ~(Redirection.pending.mask | Redirection.remote_irr.mask)


class IoApic:
    """I/O APIC with `pins` inputs, all masked after reset; `ioapic_id` as firmware leaves it (0 to 15)."""

    def __init__(self, apic_bus: ApicBus, ioapic_id: int = 0, pins: int = 24, version: int = 0x20) -> None:
        if not 1 <= pins <= MAX_PINS:
            raise ValueError(f"I/O APIC has 1 to {MAX_PINS} pins, not {pins}")
        self.apic_bus = apic_bus
        self.version = version
        self._id = ioapic_id & 0xF
        self._index = 0
        self._table = [Redirection.of(mask=1) for _ in range(pins)]
        self._lines = [False] * pins
        apic_bus.attach_ioapic(self)

    def attach(self, bus: Bus, base: int = IOAPIC_BASE) -> None:
        """Claim the register window."""
        bus.map_mmio(base, IOAPIC_SIZE, self)

    # -- registers ----------------------------------------------------------------------------------------------------

    def mmio_read(self, offset: int, size: int, cpu: object) -> int:
        """The index register, or the register it points at; reserved ones read 0."""
        if offset == INDEX:
            return self._index
        return self._read(self._index) if offset == DATA else 0

    def mmio_write(self, offset: int, size: int, value: int, cpu: object) -> None:
        """The index register, the register it points at, or (version 0x20) EOI of a vector."""
        if offset == INDEX:
            self._index = value & 0xFF
        elif offset == DATA:
            self._write(self._index, value & 0xFFFF_FFFF)
        elif offset == EOI and self.version >= 0x20:
            self.eoi(value & 0xFF)

    def _read(self, index: int) -> int:
        if index in (REG_ID, REG_ARBITRATION):
            return self._id << 24
        if index == REG_VERSION:
            return (len(self._table) - 1) << 16 | self.version
        pin = (index - REG_TABLE) >> 1
        if not 0 <= pin < len(self._table):
            return 0
        return self._table[pin].value >> (32 * (index & 1)) & 0xFFFF_FFFF

    def _write(self, index: int, value: int) -> None:
        if index == REG_ID:
            self._id = value >> 24 & 0xF
        pin = (index - REG_TABLE) >> 1
        if not 0 <= pin < len(self._table):
            return
        shift = 32 * (index & 1)
        writable = 0xFFFF_FFFF << shift & _WRITABLE
        entry = self._table[pin]
        entry.value = (entry.value & ~writable) | (value << shift & writable)
        if not entry.level:
            entry.remote_irr = 0  # an edge entry has none; software uses the switch to clear it
        self._deliver_level(pin)

    # -- pins ---------------------------------------------------------------------------------------------------------

    def set_line(self, pin: int, active: bool) -> None:
        """Drive a pin (True: the active level): an edge entry sends on the rise, a level entry as long as it is active.

        Raises IndexError for a pin that is not there.
        """
        rises = active and not self._lines[pin]
        self._lines[pin] = active
        entry = self._table[pin]
        if rises and not entry.level and not entry.mask:
            self._send(entry)
        self._deliver_level(pin)

    def eoi(self, vector: int) -> None:
        """A CPU is done with a level-triggered vector; a line still active sends again."""
        for pin, entry in enumerate(self._table):
            if entry.level and entry.vector == vector and entry.remote_irr:
                entry.remote_irr = 0
                self._deliver_level(pin)

    def _deliver_level(self, pin: int) -> None:
        entry = self._table[pin]
        if entry.level and self._lines[pin] and not entry.mask and not entry.remote_irr:
            entry.remote_irr = 1
            self._send(entry)

    def _send(self, entry: Redirection) -> None:
        destination = BROADCAST if entry.destination == BROADCAST_XAPIC else entry.destination
        level = bool(entry.level) and entry.delivery in (Delivery.FIXED, Delivery.LOWEST_PRIORITY)
        self.apic_bus.send(Message(entry.delivery, entry.vector, destination, bool(entry.logical), level))
