"""Firmware that parks the application processors in 64-bit mode, where they wait for a word in memory, not for INIT.

The mailbox is a page that firmware and kernel share: command, APIC id, wake-up vector. A parked processor polls the
command; when it is 1 and the APIC id is its own, it clears the command and goes to the vector.
Source: ACPI 6.5 clause 5.2.12.19 "Multiprocessor Wakeup Structure", table 5.44
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import simpy

from hw.acpi import layout
from hw.bus import Bus
from hw.clock import Clock
from hw.cpu import CPU, CodeStore, RunState
from hw.cpu_listed import madt_entries
from hw.errors import BusError, InputError
from hw.spec import MachineSpec

MAILBOX_BYTES = 0x1000
COMMAND, APIC_ID, VECTOR = 0, 4, 8  # offsets: 2, 4 and 8 bytes
NOOP, WAKEUP = 0, 1
POLL_NS = 100  # between two looks of a parked processor
MADT_WAKEUP = 16


class WakeupMailbox:
    """The page, and the processors that poll it.

    A poll that finds nothing changes nothing, so a processor is only woken when its APIC id is called.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._bytes = bytearray(MAILBOX_BYTES)
        self._called: dict[int, simpy.Event] = {}

    def mmio_read(self, offset: int, size: int, cpu: object) -> int:
        """What is in the page."""
        return int.from_bytes(self._bytes[offset : offset + size], "little")

    def mmio_write(self, offset: int, size: int, value: int, cpu: object) -> None:
        """Write to the page; a command that becomes 1 is seen by the processor it names."""
        self._bytes[offset : offset + size] = value.to_bytes(size, "little")
        if offset < COMMAND + 2 and self.mmio_read(COMMAND, 2, cpu) == WAKEUP:
            called = self._called.pop(self.mmio_read(APIC_ID, 4, cpu), None)
            if called is not None:
                called.succeed()

    def call(self, apic_id: int) -> simpy.Event:
        """What the next command for ``apic_id`` brings about."""
        return self._called.setdefault(apic_id, self._clock.event())


def mailbox_address(spec: MachineSpec) -> int:
    """Where the MADT says the mailbox is, 0 without one."""
    if not spec.acpi.raw:
        return spec.acpi.wakeup_mailbox if spec.acpi.enabled else 0
    madt = next((table.data for table in spec.acpi.raw if table.signature == "APIC"), b"")
    for kind, entry in madt_entries(madt):
        if kind == MADT_WAKEUP and len(entry) >= layout.MADT_WAKEUP.size:
            return layout.MADT_WAKEUP.get(entry, "mailbox")
    return 0


def park_processors(spec: MachineSpec, clock: Clock, bus: Bus, code: CodeStore, cpus: Sequence[CPU]) -> None:
    """Let every processor but the boot CPU wait at the machine's mailbox; nothing without one.

    InputError: a mailbox that is not a page of its own, outside the memory the kernel may use.
    """
    address = mailbox_address(spec)
    if not address:
        return
    if address % MAILBOX_BYTES:
        raise InputError(f"{spec.name}: acpi.wakeup_mailbox {address:#x}: expected the start of a 4 KiB page")
    for entry in spec.e820:
        if entry.type == 1 and entry.start < address + MAILBOX_BYTES and address < entry.end:
            usable = f"[{entry.start:#x}, {entry.end:#x})"
            raise InputError(f"{spec.name}: acpi.wakeup_mailbox {address:#x}: lies in usable memory {usable}")
    mailbox = WakeupMailbox(clock)
    try:
        bus.map_mmio(address, MAILBOX_BYTES, mailbox)
    except BusError as error:
        raise InputError(f"{spec.name}: acpi.wakeup_mailbox {address:#x}: {error}") from error

    def parked(cpu: CPU) -> Generator[simpy.Event, Any, Any]:
        return _wait_for_call(clock, mailbox, address, code, cpu)

    for cpu in cpus[1:]:
        if cpu.state is not RunState.DEAD:
            cpu.run(parked)


def _wait_for_call(
    clock: Clock, mailbox: WakeupMailbox, address: int, code: CodeStore, cpu: CPU
) -> Generator[simpy.Event, Any, Any]:
    while True:
        yield mailbox.call(cpu.apic.apic_id)
        yield clock.timeout(POLL_NS)
        if cpu.read(address + COMMAND, 2) == WAKEUP and cpu.read(address + APIC_ID, 4) == cpu.apic.apic_id:
            break
    entry = code.get(cpu.read(address + VECTOR, 8))
    cpu.write(address + COMMAND, 2, NOOP)
    if entry is None:
        cpu.state = RunState.SHUTDOWN  # a vector that holds no code
        yield clock.event()
        return
    if cpu.startup_delay_ns:
        yield clock.timeout(cpu.startup_delay_ns)
    yield from entry(cpu)
