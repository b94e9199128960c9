"""Which ISA interrupt reaches which I/O APIC pin, from the MADT's overrides."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from minikern.acpi.state import AcpiState, IoApic
    from minikern.kernel import Kernel

ISA_IRQS = 16
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


def setup_io_apic_irqs(k: Kernel) -> None:
    """Program the legacy routes; with ``apic=verbose`` or ``apic=debug`` each pin has a line.

    Source: arch/x86/kernel/apic/io_apic.c:setup_IO_APIC_irqs() @ v6.12
    """
    state: AcpiState = k.acpi
    if state.disabled or not state.have_ioapic or k.cmdline.get("apic") not in ("verbose", "debug"):
        return
    k.printk("ENABLING IO-APIC IRQs")
    k.printk("init IO_APIC IRQs")
    routes = isa_routes(state)
    for number, ioapic in enumerate(state.ioapics):
        _print_pins(k, number, ioapic, routes)


def _print_pins(k: Kernel, number: int, ioapic: IoApic, routes: dict[int, PinRoute]) -> None:
    for gsi in range(ioapic.gsi_base, ioapic.gsi_end + 1):
        pin, route = gsi - ioapic.gsi_base, routes.get(gsi)
        if route is None:
            k.printk(f" apic {ioapic.id} pin {pin} not connected")
            continue
        text = f"IOAPIC[{number}]: Preconfigured routing entry ({ioapic.id}-{pin} -> IRQ {route.irq}"
        k.printk(f"{text} Level:{int(route.level)} ActiveLow:{int(route.active_low)})")
