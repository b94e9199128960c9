"""Interrupt messages between local APICs and I/O APICs.

Source: SDM vol. 3A, APIC chapter, "Issuing Interprocessor Interrupts" and "Determining IPI Destination".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

BROADCAST = 0xFFFF_FFFF
"""x2APIC destination for every CPU. Source: the same, "Logical Destination Mode in x2APIC Mode"."""
BROADCAST_XAPIC = 0xFF


class Delivery(IntEnum):
    """Delivery mode field. Source: the same, ICR figure."""

    FIXED = 0
    LOWEST_PRIORITY = 1
    SMI = 2
    NMI = 4
    INIT = 5
    STARTUP = 6
    EXTINT = 7


class Shorthand(IntEnum):
    """Destination shorthand field. Source: the same."""

    NONE = 0
    SELF = 1
    ALL = 2
    OTHERS = 3


@dataclass(frozen=True, slots=True)
class Message:
    """One interrupt message; `destination` is an APIC id, or a logical set when `logical`."""

    delivery: int
    vector: int
    destination: int
    logical: bool = False
    level: bool = False  # trigger mode: level, not edge
    asserted: bool = True


class Receiver(Protocol):
    """A local APIC, as the bus sees it."""

    apic_id: int

    def matches_logical(self, destination: int) -> bool: ...

    def receive(self, message: Message) -> None: ...


class EoiListener(Protocol):
    """An I/O APIC, as the bus sees it."""

    def eoi(self, vector: int) -> None: ...


class ApicBus:
    """Every local APIC by id, and the I/O APICs that listen for end-of-interrupt broadcasts.

    The local APICs of hypervisors take every message as accepted: clear ``reports_unaccepted`` for them.
    """

    def __init__(self) -> None:
        self.reports_unaccepted = True
        self.apics: dict[int, Receiver] = {}
        self.ioapics: list[EoiListener] = []

    def attach(self, apic: Receiver) -> None:
        """Connect a local APIC. Raises ValueError when its id is taken."""
        if apic.apic_id in self.apics:
            raise ValueError(f"two CPUs with APIC id {apic.apic_id:#x}")
        self.apics[apic.apic_id] = apic

    def attach_ioapic(self, ioapic: EoiListener) -> None:
        """Let an I/O APIC hear end-of-interrupt broadcasts."""
        self.ioapics.append(ioapic)

    def send(self, message: Message, source: Receiver | None = None, shorthand: int = Shorthand.NONE) -> bool:
        """Deliver at once, in the order CPUs were attached. False: none took it, and that is seen."""
        receivers = list(self._receivers(message, source, shorthand))
        if message.delivery == Delivery.LOWEST_PRIORITY:
            receivers = receivers[:1]  # all tasks run at the same priority here, so the first one is as good as any
        for apic in receivers:
            apic.receive(message)
        return bool(receivers) or not self.reports_unaccepted

    def _receivers(self, message: Message, source: Receiver | None, shorthand: int) -> Iterable[Receiver]:
        if shorthand == Shorthand.SELF:
            return [] if source is None else [source]
        if shorthand == Shorthand.ALL:
            return self.apics.values()
        if shorthand == Shorthand.OTHERS:
            return (apic for apic in self.apics.values() if apic is not source)
        if message.destination == BROADCAST:
            return self.apics.values()
        if message.logical:
            return (apic for apic in self.apics.values() if apic.matches_logical(message.destination))
        apic = self.apics.get(message.destination)
        return [] if apic is None else [apic]

    def broadcast_eoi(self, vector: int) -> None:
        """Tell the I/O APICs that a level-triggered interrupt has been handled."""
        for ioapic in self.ioapics:
            ioapic.eoi(vector)
