"""Stopping the other CPUs: an interrupt to all of them, and the wait until each has said it is in its halt loop.

Source: arch/x86/kernel/smp.c:native_stop_other_cpus(), stop_this_cpu(), arch/x86/kernel/reboot.c:nmi_shootdown_cpus()
@ v6.12
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from minikern.core.printk import Level
from minikern.smp.apic import APIC_SPIV, ICR_ASSERT, SPIV_ENABLED, apic_read, apic_write, icr_write

if TYPE_CHECKING:
    from hw.cpu import CPU
    from minikern.core.kernel import Kernel

REBOOT_VECTOR, NMI_VECTOR = 0xF8, 0x02  # Source: arch/x86/include/asm/irq_vectors.h
ICR_NMI = 0x400
ICR_ALL_BUT_SELF = 3 << 18
PATIENCE_US, PATIENCE_NMI_US = 1_000_000, 10_000


def stop_other_cpus(k: Kernel) -> None:
    """Stop all online CPUs but this one by REBOOT_VECTOR, those that do not answer by NMI.

    Each turns its local APIC off and halts for good. Whoever answers to neither is waited for in vain, 1 s and 10 ms.
    """
    others = _others(k)
    waiting = set(others)

    def reached_halt(number: int) -> None:
        waiting.discard(number)

    for number, cpu in others.items():
        handler = _stop_this_cpu(number, reached_halt)
        cpu.set_gate(REBOOT_VECTOR, handler)
        cpu.set_gate(NMI_VECTOR, handler)
        cpu.sti()  # the idle loop waits with interrupts on
    if others:
        _send(k, list(others), REBOOT_VECTOR)
        _wait(k, len(others), waiting, PATIENCE_US)
    if waiting:
        k.printk("Shutting down cpus with NMI", Level.EMERG)
        count = len(waiting)
        _send(k, sorted(waiting), ICR_NMI)
        _wait(k, count, waiting, PATIENCE_NMI_US)
    disable_local_apic(k.machine.boot_cpu)


def crash_stop_other_cpus(k: Kernel, save: Callable[[int], None]) -> None:
    """Stop all online CPUs but this one by NMI; each calls ``save`` with its number first."""
    others = _others(k)
    waiting = set(others)

    def shot(number: int) -> None:
        save(number)
        waiting.discard(number)

    for number, cpu in others.items():
        cpu.set_gate(NMI_VECTOR, _stop_this_cpu(number, shot))
    if others:
        _send(k, list(others), ICR_NMI)
        _wait(k, len(others), waiting, PATIENCE_US)
    disable_local_apic(k.machine.boot_cpu)


def _stop_this_cpu(number: int, told: Callable[[int], None]) -> Callable[[CPU], None]:
    def handler(cpu: CPU) -> None:
        disable_local_apic(cpu)
        cpu.hlt()  # the handler never returns, so interrupts stay off
        told(number)

    return handler


def disable_local_apic(cpu: CPU) -> None:
    """Software-disable a CPU's own local APIC. Source: arch/x86/kernel/apic/apic.c:disable_local_APIC() @ v6.12"""
    apic_write(cpu, APIC_SPIV, apic_read(cpu, APIC_SPIV) & ~SPIV_ENABLED)


def _others(k: Kernel) -> dict[int, CPU]:
    return {number: k.cpus.hardware[number] for number in k.cpus.online if number and number in k.cpus.hardware}


def _send(k: Kernel, numbers: list[int], command: int) -> None:
    # The shorthand reaches every CPU there is, so it is right only if all that are present are online.
    # Source: arch/x86/kernel/apic/ipi.c:apic_smt_update(), apic_send_IPI_allbutself()
    cpu = k.machine.boot_cpu
    if len(numbers) + 1 == len(k.cpus.present) == len(k.machine.cpus):
        icr_write(cpu, ICR_ALL_BUT_SELF | ICR_ASSERT | command, 0)
        return
    for number in numbers:
        icr_write(cpu, ICR_ASSERT | command, k.cpus.apic_id[number])


def _wait(k: Kernel, count: int, waiting: set[int], patience_us: int) -> None:
    k.charge("kexec_stop_cpu", count - len(waiting))
    if waiting:
        k.charge("udelay_us", patience_us)
