"""How interrupts are delivered: which words take the APICs away, which mode is selected, and the lines that say so.

Source: arch/x86/kernel/apic/apic.c, io_apic.c @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hw.errors import MachineStopped
from minikern.core.moduleparam import Parameter, early_param, setup_param
from minikern.core.printk import Level
from minikern.pci import amd_iommu, dmar
from minikern.smp import io_apic
from minikern.smp.apic import XAPIC_MAX_ID, read_apic_id, setup_lint0, x2apic_disable, x2apic_enable, x2apic_enabled
from minikern.smp.calibrate import next_tick, tick_ns
from minikern.state.cpus import IntrMode

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

X2APIC_WITHOUT_REMAPPING = ("KVM", "Microsoft Hyper-V", "VMware", "Xen HVM", "Jailhouse", "ACRN")
FADT2_REVISION, FADT_APIC_PHYSICAL = 3, 1 << 19  # Source: ACPI 6.5 table 5.10
FLAT_MAX_CPUS = 8  # logical destinations of the flat model
TICKS_SEEN = 4  # before the timer interrupt is believed. Source: io_apic.c:delay_with_tsc() @ v6.12

# Hypervisors whose timer is believed. Source: arch/x86/kernel/kvm.c:paravirt_ops_setup(), cpu/vmware.c, cpu/mshyperv.c
TIMER_BELIEVED = ("KVM", "VMware", "Microsoft Hyper-V")


def setup_disableapic(k: Kernel, value: str | None) -> bool:
    """``nolapic``, ``disableapic``: the local APICs are hidden. Source: apic.c:setup_disableapic() @ v6.12"""
    k.cpus.apic.disabled = True
    return True


def parse_noapic(k: Kernel, value: str | None) -> bool:
    """``noapic``: so are the I/O APICs. Source: io_apic.c:parse_noapic() @ v6.12"""
    k.cpus.apic.ioapic_disabled = True
    return True


def apic_set_verbosity(k: Kernel, value: str | None) -> bool:
    """``apic=``; the bare word takes back what hid the I/O APICs. Source: apic.c:apic_set_verbosity() @ v6.12"""
    maps = k.cpus
    if value is None:
        maps.apic.ioapic_disabled = False
        return True
    if value not in ("debug", "verbose"):
        text = f"APIC Verbosity level {value} not recognised use apic=verbose or apic=debug"
        k.printk(text, Level.WARNING)
        return False
    maps.apic.verbosity = value
    return True


def setup_nox2apic(k: Kernel, value: str | None) -> bool:
    """``nox2apic``: leave x2APIC mode, unless an id needs it. Source: apic.c:setup_nox2apic() @ v6.12"""
    cpu = k.machine.boot_cpu
    if x2apic_enabled(cpu):
        apic_id = read_apic_id(cpu)
        if apic_id > XAPIC_MAX_ID:
            k.printk(f"Apicid: {apic_id:08x}, cannot enforce nox2apic", Level.WARNING)
            return True
        k.printk("x2apic already enabled.", Level.WARNING)
        x2apic_disable(cpu)
        k.printk("x2apic disabled")
    k.cpus.apic.nox2apic = True
    return True


def set_x2apic_phys_mode(k: Kernel, value: str | None) -> bool:
    """``x2apic_phys``: address CPUs by their ids. Source: x2apic_phys.c:set_x2apic_phys_mode() @ v6.12"""
    k.cpus.apic.x2apic_phys = True
    return True


def setup_apic_calls(k: Kernel) -> None:
    """Newer kernels call the APIC driver directly from here on. Source: arch/x86/kernel/apic/init.c @ v6.12"""
    if k.behaviour.apic_static_calls:
        k.printk("APIC: Static calls initialized")


def has_local_apic(k: Kernel) -> bool:
    """True if the kernel may use the boot CPU's local APIC."""
    maps = k.cpus
    return maps.boot.has("apic") and not maps.apic.disabled


def apic_intr_mode_select(k: Kernel) -> IntrMode:
    """Choose the mode, before the timers are set up. Source: apic.c:__apic_intr_mode_select() @ v6.12"""
    maps = k.cpus
    if maps.apic.disabled:
        k.printk("APIC disabled via kernel command line")
        return IntrMode.PIC
    if not maps.boot.has("apic"):
        maps.apic.disabled = True
        k.printk("APIC disabled by BIOS")
        return IntrMode.PIC
    have_lapic = k.acpi.have_lapic
    if not maps.apic.smp_found_config:
        maps.apic.ioapic_disabled = True
        if not have_lapic:
            k.printk("APIC: ACPI MADT or MP tables are not detected")
            return IntrMode.VIRTUAL_WIRE_NO_CONFIG
        return IntrMode.VIRTUAL_WIRE
    if not maps.setup_max_cpus:
        k.printk("APIC: SMP mode deactivated")
        return IntrMode.SYMMETRIC_IO_NO_ROUTING
    return IntrMode.SYMMETRIC_IO


def check_x2apic(k: Kernel) -> None:
    """Did firmware hand the boot CPU over in x2APIC mode? Source: apic.c:check_x2apic() @ v6.12"""
    if x2apic_enabled(k.machine.boot_cpu):
        k.printk("x2apic: enabled by BIOS, switching to x2apic ops")


def enable_ir_x2apic(k: Kernel) -> None:
    """Turn on interrupt remapping, and with it, or in a guest without it, x2APIC mode of the boot CPU.

    Source: apic.c:enable_IR_x2apic(), try_to_enable_x2apic() @ v6.12
    """
    maps, cpu = k.cpus, k.machine.boot_cpu
    if maps.apic.ioapic_disabled:
        k.printk("Not enabling interrupt remapping due to skipped IO-APIC setup")
        return
    supported = maps.boot.has("x2apic") and not maps.apic.nox2apic
    mode = dmar.enable_irq_remapping(k, supported) or amd_iommu.enable_irq_remapping(k)
    if not supported:
        return
    if mode != "x2apic":
        if maps.boot.hypervisor not in X2APIC_WITHOUT_REMAPPING:
            k.printk("x2apic: IRQ remapping doesn't support X2APIC mode")
            if x2apic_enabled(cpu):
                if read_apic_id(cpu) > XAPIC_MAX_ID:
                    raise MachineStopped(f"Cannot disable x2apic, id: {read_apic_id(cpu):08x}")
                x2apic_disable(cpu)
                k.printk("x2apic disabled")
            return
        maps.apic.x2apic_phys = True
    if not x2apic_enabled(cpu):
        x2apic_enable(cpu)
        k.printk("x2apic enabled")


def acpi_madt_oem_check(k: Kernel) -> None:
    """With x2APIC mode on already, its driver is taken as soon as the MADT is seen.

    Source: arch/x86/kernel/apic/probe_64.c:default_acpi_madt_oem_check() @ v6.1, v6.12
    """
    if not x2apic_enabled(k.machine.boot_cpu) or k.acpi.table("APIC") is None:
        return
    maps = k.cpus
    name = _x2apic_driver(k)
    maps.apic.driver = name
    new = k.behaviour.apic_routing_lines == "APIC: Switched"
    k.printk(f"APIC: Switched APIC routing to: {name}" if new else f"Setting APIC routing to {name}.")


def _x2apic_driver(k: Kernel) -> str:
    fadt = k.acpi.fadt if k.acpi else None
    physical = k.cpus.apic.x2apic_phys
    if fadt is not None and fadt.revision >= FADT2_REVISION and fadt.flags & FADT_APIC_PHYSICAL:
        k.printk("System requires x2apic physical mode", Level.DEBUG)
        physical = True
    return "physical x2apic" if physical else "cluster x2apic"


def probe_apic_driver(k: Kernel) -> None:
    """How destinations are addressed from now on. Source: arch/x86/kernel/apic/probe_64.c, init.c @ v6.1, v6.12"""
    maps = k.cpus
    new = k.behaviour.apic_routing_lines == "APIC: Switched"
    if x2apic_enabled(k.machine.boot_cpu):
        name = _x2apic_driver(k)
    elif k.behaviour.apic_flat_limited and len(maps.possible) > FLAT_MAX_CPUS:
        name = "physical flat"
    else:
        return
    if name != maps.apic.driver:
        maps.apic.driver = name
        k.printk(f"APIC: Switched APIC routing to: {name}" if new else f"Switched APIC routing to {name}.")


def apic_intr_mode_init(k: Kernel, mode: IntrMode) -> None:
    """Say and enter the mode. Source: apic.c:apic_intr_mode_init(), apic_bsp_setup(), io_apic.c:setup_IO_APIC()"""
    maps = k.cpus
    maps.apic.intr_mode = mode
    k.printk(f"APIC: {mode}")
    if mode == IntrMode.PIC:
        return
    enable_ir_x2apic(k)
    probe_apic_driver(k)
    setup_lint0(k, 0, k.machine.boot_cpu)
    if maps.apic.ioapic_disabled:
        return
    io_apic.setup_io_apic_irqs(k)
    if k.acpi.fadt is None or not k.acpi.fadt.hardware_reduced:  # no 8259, so nothing of its to check
        check_timer(k)


def apic_needs_pit(k: Kernel) -> bool:
    """No timer but the PIT could tick. Source: apic.c:apic_needs_pit() @ v6.12"""
    maps = k.cpus
    boot, tsc = maps.boot, maps.tsc
    if not tsc.tsc_khz or not boot.has("apic") or maps.apic.disabled or not boot.has("arat"):
        return True
    if maps.apic.intr_mode in (IntrMode.PIC, IntrMode.VIRTUAL_WIRE_NO_CONFIG):
        return True
    return not (boot.has("tsc_deadline_timer") or tsc.lapic_timer_period)


def check_timer(k: Kernel) -> None:
    """Which I/O APIC pin the timer interrupt arrives at. Source: io_apic.c:check_timer() @ v6.12"""
    if k.behaviour.pit_if_needed and not k.cpus.tsc.hpet_enabled and not apic_needs_pit(k):
        return
    timer = io_apic.find_timer_pin(k)
    if timer is None:
        return
    apic, pin = timer
    k.printk(f"..TIMER: vector=0x30 apic1={apic} pin1={pin} apic2=-1 pin2=-1", Level.INFO)
    if pin >= 0:
        timer_irq_works(k)


def notimercheck(k: Kernel, rest: str) -> bool:
    """``no_timer_check``: the timer interrupt is believed to arrive. Source: io_apic.c:notimercheck() @ v6.12"""
    k.cpus.apic.no_timer_check = True
    return True


def timer_irq_works(k: Kernel) -> None:
    """Turn until the timer interrupt has moved jiffies by more than four ticks, as it does here at each tick.

    Source: io_apic.c:timer_irq_works(), delay_with_tsc() @ v6.12
    """
    if k.cpus.apic.no_timer_check or k.cpus.boot.hypervisor in TIMER_BELIEVED:
        return
    clock = k.machine.clock
    started, since = clock.now, k.point()
    spent = next_tick(k, started) + TICKS_SEEN * tick_ns(k) - started
    clock.advance(spent)
    k.book_span(0, "timer_check_ns", spent, started, spent)
    k.turn("tick", since)


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    early_param("nolapic", setup_disableapic),
    early_param("disableapic", setup_disableapic),
    early_param("noapic", parse_noapic),
    early_param("apic", apic_set_verbosity),
    early_param("nox2apic", setup_nox2apic),
    early_param("x2apic_phys", set_x2apic_phys_mode),
    setup_param("no_timer_check", notimercheck),
)
