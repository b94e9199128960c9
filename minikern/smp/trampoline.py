"""The real-mode trampoline: where a started CPU begins, and how it learns which CPU it is.

The page below 1 MiB holds the lock bit of the one real-mode stack and the control word; the code is installed at its
start. Source: arch/x86/realmode/rm/trampoline_64.S, arch/x86/kernel/head_64.S @ v6.12
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import simpy

from hw.errors import MachineStopped
from minikern.smp.apic import read_apic_id

if TYPE_CHECKING:
    from hw.cpu import CPU
    from minikern.core.kernel import Kernel

STARTUP_READ_APICID = 1 << 31  # smpboot_control: every CPU looks its own number up. Source: arch/x86/include/asm/smp.h
CONTROL_CPU_MASK = 0xFFFFFF
START64_OFFSET, LOCK_OFFSET, CONTROL_OFFSET = 0x800, 0xFF8, 0xFFC  # ours: within the trampoline's page
SIPI_LIMIT = 1 << 20

StartSecondary = Callable[[int, "CPU"], Generator[simpy.Event, None, None]]


@dataclass
class Trampoline:
    """The installed trampoline."""

    base: int
    stack: simpy.Resource

    @property
    def vector(self) -> int:
        """The SIPI vector: number of the page."""
        return self.base >> 12

    @property
    def start64(self) -> int:
        """Where a CPU begins that is in 64-bit mode already: Linux's trampoline_start64."""
        return self.base + START64_OFFSET


def install_trampoline(k: Kernel, start_secondary: StartSecondary) -> Trampoline:
    """Put the trampoline at ``k.real_mode_base``; started CPUs end up in ``start_secondary(number, cpu)``.

    MachineStopped if no page was found for it; ValueError if it is not one a SIPI can reach.
    Source: arch/x86/realmode/init.c:init_real_mode(), setup_real_mode() @ v6.12
    """
    base = k.real_mode_base
    if not base:
        raise MachineStopped("Real mode trampoline was not allocated")
    if base & 0xFFF or not 0 < base < SIPI_LIMIT:
        raise ValueError(f"real-mode trampoline at {base:#x}: expected a page below 1 MiB")
    trampoline = Trampoline(base, simpy.Resource(k.machine.clock.env))
    k.machine.bus.write(base + LOCK_OFFSET, 4, 0)

    def entry(cpu: CPU) -> Generator[simpy.Event, None, None]:
        return _secondary_startup(k, trampoline, cpu, start_secondary)

    k.machine.install_code(base, entry)
    k.machine.install_code(trampoline.start64, entry)
    return trampoline


def _use_stack(
    k: Kernel, trampoline: Trampoline, number: int, cpu: CPU
) -> Generator[simpy.Event, None, None]:
    """On the one real-mode stack, behind its lock bit."""
    k.mark(number, "stack_taken")
    cpu.write(trampoline.base + LOCK_OFFSET, 4, 1)
    yield k.charge_on(number, "trampoline_stack")
    cpu.write(trampoline.base + LOCK_OFFSET, 4, 0)
    k.mark(number, "stack_left")


def set_smpboot_control(k: Kernel, trampoline: Trampoline, cpu: int | None) -> None:
    """Tell started CPUs to look themselves up (None), or that the next one is number ``cpu``."""
    value = STARTUP_READ_APICID if cpu is None else cpu & CONTROL_CPU_MASK
    k.machine.bus.write(trampoline.base + CONTROL_OFFSET, 4, value)


def _secondary_startup(
    k: Kernel, trampoline: Trampoline, cpu: CPU, start_secondary: StartSecondary
) -> Generator[simpy.Event, None, None]:
    """From the SIPI to the C code. A CPU whose APIC id nobody listed parks itself.

    The ledger needs a CPU number, so the look-up is done first here; it touches nothing the steps before it use.
    """
    control = cpu.read(trampoline.base + CONTROL_OFFSET, 4)
    number: int | None = control & CONTROL_CPU_MASK
    if control & STARTUP_READ_APICID:
        number = k.cpus.cpu_of_apic(read_apic_id(cpu))
    if number is None:
        return
    first_thread = k.cpus.is_primary_thread(number)
    yield k.charge_on(number, "sipi_to_alive" if first_thread else "sipi_to_alive_sibling")
    if not k.cpus.same_core(number, 0):
        # The talk's log has it on every CPU but the boot CPU's sibling, whose core is awake when it is called.
        yield k.charge_on(number, "ap_wakeup_unexplained")
    k.mark(number, "started")
    if k.experiment.trampoline_lock:
        with trampoline.stack.request() as granted:
            yield granted
            yield from _use_stack(k, trampoline, number, cpu)
    else:
        yield from _use_stack(k, trampoline, number, cpu)
    yield from start_secondary(number, cpu)
