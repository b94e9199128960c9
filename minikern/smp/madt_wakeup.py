"""Waking CPUs that firmware parked at a mailbox in memory.

Source: arch/x86/kernel/acpi/madt_wakeup.c @ v6.12; ACPI 6.5 clause 5.2.12.19
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hw.errors import MachineStopped

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

COMMAND, APIC_ID, VECTOR = 0, 4, 8
WAKEUP = 1
FIRST_POLL_NS, LAST_POLL_NS = 100, 1_000_000
PATIENCE_NS = 60_000_000_000  # ours; Linux has none


def wakes_by_mailbox(k: Kernel) -> bool:
    """True if the MADT names a mailbox: no CPU is then started by INIT."""
    return bool(k.acpi.wakeup_mailbox)


def acpi_wakeup_cpu(k: Kernel, nr: int, apic_id: int, start_ip: int) -> int:
    """Call CPU ``nr`` to ``start_ip`` through the mailbox, and wait until it has taken the call; 0.

    Linux waits for good, as a call can not be taken back: MachineStopped for a CPU that never takes it.
    Source: arch/x86/kernel/acpi/madt_wakeup.c:acpi_wakeup_cpu() @ v6.12
    """
    cpu, clock, mailbox = k.machine.boot_cpu, k.machine.clock, k.acpi.wakeup_mailbox
    k.mark(nr, "MAILBOX", apic_id)
    cpu.write(mailbox + APIC_ID, 4, apic_id)
    cpu.write(mailbox + VECTOR, 8, start_ip)
    cpu.write(mailbox + COMMAND, 2, WAKEUP)  # last: from here on the CPU may look at the rest
    started, poll = clock.now, FIRST_POLL_NS
    while cpu.read(mailbox + COMMAND, 2):
        if clock.now - started > PATIENCE_NS:
            raise MachineStopped(
                f"CPU {nr} (APIC id {apic_id:#x}) does not take its wake-up command from the mailbox at"
                f" {mailbox:#x}: the kernel waits for it for good"
            )
        k.wait(clock.timeout(poll))
        poll = min(2 * poll, LAST_POLL_NS)
    spent = clock.now - started
    k.book_span(0, "smp_wait_ns", spent, started, spent)
    return 0
