"""Which ISA interrupt reaches which I/O APIC pin, from the MADT's overrides."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from minikern.core.printk import Level

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel
    from minikern.state.acpi import AcpiState, IoApic

ISA_IRQS = 16
TIMER_VECTOR, SYSTEM_VECTOR = 0x30, 0xEF  # Source: arch/x86/include/asm/irq_vectors.h @ v6.12
_LOW, _LEVEL = 3, 3  # MPS INTI polarity and trigger. Source: ACPI 6.5 table 5.26


class PinRoute(NamedTuple):
    """An ISA interrupt at a pin."""

    irq: int
    level: bool
    active_low: bool


def isa_routes(state: AcpiState) -> dict[int, PinRoute]:
    """ISA interrupts by GSI: overrides first, then every other one at the GSI of its own number if that is free.

    Source: arch/x86/kernel/acpi/boot.c:mp_config_acpi_legacy_irqs() @ v6.12
    """
    routes: dict[int, PinRoute] = {}
    for item in state.overrides:
        routes.setdefault(item.gsi, PinRoute(item.irq, item.trigger == _LEVEL, item.polarity == _LOW))
    taken = {route.irq for route in routes.values()}
    for irq in range(ISA_IRQS):
        if irq not in taken and irq not in routes:
            routes[irq] = PinRoute(irq, False, False)
    return routes


def overridden(state: AcpiState) -> list[int]:
    """ISA interrupts that an override has taken. Source: acpi/boot.c:mp_config_acpi_legacy_irqs() @ v5.13"""
    return sorted({item.irq for item in state.overrides if item.irq < ISA_IRQS})


def find_timer_pin(k: Kernel) -> tuple[int, int] | None:
    """(I/O APIC, pin) where ISA interrupt 0 arrives, (-1, -1) if nowhere; None without an I/O APIC.

    Source: arch/x86/kernel/apic/io_apic.c:find_isa_irq_pin(), find_isa_irq_apic() @ v6.12
    """
    if not k.acpi.ioapics:
        return None
    for gsi, route in isa_routes(k.acpi).items():
        for number, ioapic in enumerate(k.acpi.ioapics):
            if route.irq == 0 and ioapic.gsi_base <= gsi <= ioapic.gsi_end:
                return number, gsi - ioapic.gsi_base
    return -1, -1


def setup_io_apic_irqs(k: Kernel) -> None:
    """Program the legacy routes; with ``apic=verbose`` or ``apic=debug`` each pin has a line.

    Source: arch/x86/kernel/apic/io_apic.c:setup_IO_APIC_irqs() @ v6.12
    """
    state: AcpiState = k.acpi
    if state.disabled or not state.have_ioapic or not k.cpus.apic.verbosity:
        return
    k.printk("ENABLING IO-APIC IRQs")
    k.printk(f"{'Init' if _newer(k) else 'init'} IO_APIC IRQs")
    routes = isa_routes(state)
    for number, ioapic in enumerate(state.ioapics):
        _print_pins(k, number, ioapic, routes)


def _newer(k: Kernel) -> bool:
    """The lines' wording changed along with the way CPUs are counted. Source: io_apic.c @ v6.1, v6.12"""
    return k.behaviour.ioapic_lines == "Init"


def _print_pins(k: Kernel, number: int, ioapic: IoApic, routes: dict[int, PinRoute]) -> None:
    for gsi in range(ioapic.gsi_base, ioapic.gsi_end + 1):
        pin, route = gsi - ioapic.gsi_base, routes.get(gsi)
        if route is None:
            k.printk(f"{'' if _newer(k) else ' '}apic {ioapic.id} pin {pin} not connected")
            continue
        _print_irte(k, ioapic, route)
        k.printk(f"IOAPIC[{number}]: {_entry_text(k, f'{ioapic.id}-{pin}', route)}", Level.DEBUG)


def _entry_text(k: Kernel, pin: str, route: PinRoute) -> str:
    if k.behaviour.ioapic_entry_lines == "Set":
        text = f"Set routing entry ({pin} -> 0x{_vector(route):x} -> IRQ {route.irq} Mode:{int(route.level)}"
        return f"{text} Active:{int(route.active_low)} Dest:{_destination(k)})"
    text = f"Preconfigured routing entry ({pin} -> IRQ {route.irq}"
    return f"{text} Level:{int(route.level)} ActiveLow:{int(route.active_low)})"


def _vector(route: PinRoute) -> int:
    # All but the timer's start at the spurious system vector.
    return TIMER_VECTOR if route.irq == 0 else SYSTEM_VECTOR


def _destination(k: Kernel) -> int:
    """The boot CPU as an interrupt's destination, in the way of the driver.

    Source: arch/x86/kernel/apic/apic_flat_64.c, x2apic_cluster.c, apic_common.c: apic->calc_dest_apicid @ v6.1
    """
    apic_id = k.cpus.apic_id[0]
    if not _logical(k):
        return apic_id
    if k.cpus.apic.driver == "cluster x2apic":
        return (apic_id >> 4) << 16 | 1 << (apic_id & 0xF)
    return 1  # the flat driver's bit of CPU 0


def _logical(k: Kernel) -> bool:
    """Destinations are sets of CPUs, not ids; newer kernels have no flat driver to start out with."""
    return "physical" not in k.cpus.apic.driver and bool(k.cpus.apic.driver or k.behaviour.apic_flat_limited)


def _print_irte(k: Kernel, ioapic: IoApic, route: PinRoute) -> None:
    """The remapping entry of one pin, aimed at CPU 0.

    Source: drivers/iommu/intel/irq_remapping.c:intel_irq_remapping_prepare_irte(), prepare_irte() @ v6.12
    """
    dmar = k.pci.dmar
    sid = dmar.ioapic_sid(ioapic.id) if dmar is not None and dmar.irq_remapping else None
    if sid is None:
        return
    destination = _destination(k) << (0 if "x2apic" in k.cpus.apic.driver else 8)
    mode = f"P:1 FPD:0 Dst_Mode:{int(_logical(k))} Redir_hint:1 Trig_Mode:0 Dlvry_Mode:0 Avail:0"
    target = f"Vector:{_vector(route):02X} Dest:{destination:08X} SID:{sid:04X} SQ:0 SVT:1"
    k.printk(f"IOAPIC[{ioapic.id}]: Set IRTE entry ({mode} {target})", Level.DEBUG)
