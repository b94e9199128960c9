"""Waking a CPU: INIT, then STARTUP twice, through the boot CPU's own local APIC.

Source: arch/x86/kernel/smpboot.c:wakeup_secondary_cpu_via_init() @ v6.12; SDM vol. 3A, "MP Initialization"
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.core.cmdline import get_option
from minikern.core.moduleparam import Parameter, early_param
from minikern.core.printk import Level
from minikern.smp.apic import (
    APIC_ESR,
    DELIVERY_POLLS,
    ICR_ASSERT,
    ICR_INIT,
    ICR_LEVEL,
    ICR_STARTUP,
    apic_read,
    apic_write,
    icr_busy,
    icr_write,
)

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

LEGACY_INIT_UDELAY = 10_000  # us. Source: arch/x86/kernel/smpboot.c:UDELAY_10MS_DEFAULT
STARTUPS = 2
UINT_MAX = 0xFFFF_FFFF  # nobody has said
ESR_ERRORS = 0xEF


def smp_quirk_init_udelay(k: Kernel) -> int:
    """Microseconds between INIT assert and de-assert: 0 on CPUs known not to need it, 10000 elsewhere.

    Source: arch/x86/kernel/smpboot.c:smp_set_init_udelay(), smp_quirk_init_udelay() @ v6.12
    """
    given = get_option(k.cmdline.get("cpu_init_udelay"))
    if given is not None and given & 0xFFFF_FFFF != UINT_MAX:
        return given & 0xFFFF_FFFF
    boot = k.cpus.boot
    modern = {"GenuineIntel": boot.family == 6, "AuthenticAMD": boot.family >= 0xF, "HygonGenuine": boot.family >= 0x18}
    return 0 if modern.get(boot.vendor, False) else LEGACY_INIT_UDELAY


def udelay(k: Kernel, us: int) -> None:
    """Spin for ``us`` microseconds."""
    k.charge("udelay_us", us)


def wakeup_secondary_cpu_via_init(k: Kernel, nr: int, apic_id: int, vector: int) -> int:
    """Send INIT and two STARTUPs to CPU ``nr``, ``apic_id``; 0, or the delivery error bits, which are also logged."""
    init_udelay = smp_quirk_init_udelay(k)
    k.mark(nr, "INIT", apic_id)
    _send(k, ICR_INIT | ICR_LEVEL | ICR_ASSERT, apic_id)
    udelay(k, init_udelay)
    _send(k, ICR_INIT | ICR_LEVEL, apic_id)
    sent = accepted = 0
    for _ in range(STARTUPS):
        _clear_esr(k)
        k.mark(nr, "SIPI", vector)
        sent = _send(k, ICR_STARTUP | vector, apic_id, udelay_us=300 if init_udelay else 10)
        udelay(k, 200 if init_udelay else 10)
        accepted = _clear_esr(k) & ESR_ERRORS
        if sent or accepted:
            break
    if sent:
        k.printk("smpboot: APIC never delivered???", Level.ERR)
    if accepted:
        k.printk(f"smpboot: APIC delivery error ({accepted:x})", Level.ERR)
    return sent | accepted


def _clear_esr(k: Kernel) -> int:
    """Latch the error status by writing it, and read it."""
    apic_write(k.machine.boot_cpu, APIC_ESR, 0)
    return apic_read(k.machine.boot_cpu, APIC_ESR)


def _send(k: Kernel, command: int, apic_id: int, udelay_us: int = 0) -> int:
    """One interrupt command; 1 if it is still not on its way after the kernel's patience."""
    k.charge("icr_write")
    icr_write(k.machine.boot_cpu, command, apic_id)
    udelay(k, udelay_us)
    for _ in range(DELIVERY_POLLS):
        if not icr_busy(k.machine.boot_cpu):
            return 0
        udelay(k, 100)
    return 1


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    early_param("cpu_init_udelay", read_by=smp_quirk_init_udelay),
)
