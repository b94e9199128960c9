"""Interrupts of functions: what the firmware says a pin leads to, and the numbers the kernel gives out.

Source: drivers/acpi/pci_irq.c, drivers/acpi/pci_link.c, arch/x86/kernel/apic/io_apic.c, drivers/pci/msi/ @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minikern.acpi.resources import first_interrupt
from minikern.core.printk import Level
from minikern.pci.caps import CAP_MSI, CAP_MSIX, pci_find_capability
from minikern.state.namespace import Node, resolve
from minikern.state.pci import PciDev

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

LEGACY_IRQS, NOT_CONNECTED, PINS, PRT_FIELDS = 16, 0xFF, 4, 4
MSI_CONTROL, MSI_ENABLE = 2, 0x0001
MSIX_ENABLE, MSIX_COUNT, INTX_DISABLE, COMMAND = 0x8000, 0x07FF, 0x0400, 0x04
MAX_MSI = 32


def arch_dynirq_lower_bound(k: Kernel, mapped: bool = True) -> int:
    """The first number that is nobody's: behind the I/O APIC with the ISA interrupts, whose pins are their own numbers.

    Until the pins are ``mapped``, behind all I/O APICs. Source: io_apic.c:arch_dynirq_lower_bound(),
    mp_irqdomain_create(); acpi/boot.c:acpi_parse_ioapic() @ v6.12
    """
    if k.acpi is None or not k.acpi.have_ioapic:
        return LEGACY_IRQS
    ends = [io.gsi_end + 1 for io in k.acpi.ioapics if not mapped or io.gsi_base < LEGACY_IRQS]
    return max(ends, default=LEGACY_IRQS)


def acpi_pci_irq_enable(k: Kernel, dev: PciDev) -> None:
    """Route the pin of a function, if it has one. Source: pci_irq.c:acpi_pci_irq_enable() @ v6.12"""
    if not dev.pin or dev.irq_managed or k.acpi is None or k.acpi.disabled or k.acpi_options.noirq:
        return
    name = "ABCD"[dev.pin - 1 & 3]
    entry = _lookup(k, dev)
    gsi = None if entry is None else _gsi_of(k, entry)
    if entry is None:
        k.printk(f"{dev.driver} {dev.name}: can't derive routing for PCI INT {name}", Level.WARNING)
    if gsi is not None:
        dev.irq, dev.irq_managed = acpi_register_gsi(k, gsi), True
    elif dev.irq == NOT_CONNECTED:
        k.printk(f"{dev.driver} {dev.name}: PCI INT {name}: not connected", Level.WARNING)
        dev.irq = 0
    elif 0 < dev.irq < LEGACY_IRQS:
        k.printk(f"{dev.driver} {dev.name}: PCI INT {name}: no GSI - using ISA IRQ {dev.irq}", Level.WARNING)
    else:
        k.printk(f"{dev.driver} {dev.name}: PCI INT {name}: no GSI", Level.WARNING)


def acpi_register_gsi(k: Kernel, gsi: int) -> int:
    """The number of a global system interrupt. Source: io_apic.c:alloc_irq_from_domain() @ v6.12"""
    numbers = k.pci.interrupts
    numbers.lower_bound = arch_dynirq_lower_bound(k)
    if gsi < numbers.lower_bound:
        return gsi
    return numbers.map_gsi(gsi)


def acpi_pci_irq_disable(k: Kernel, dev: PciDev) -> None:
    """Give the pin's interrupt back. Source: pci_irq.c:acpi_pci_irq_disable() @ v6.12"""
    if dev.irq_managed:
        dev.irq_managed = False
        for gsi, number in k.pci.interrupts.of_gsi.items():
            if number == dev.irq:
                k.pci.interrupts.unmap_gsi(gsi)
                break


def _lookup(k: Kernel, dev: PciDev) -> list[Any] | None:
    """The routing entry of a pin; where a bridge has no table, its pins are rotated into those of the slot above.

    Source: pci_irq.c:acpi_pci_irq_lookup() @ v6.12, drivers/pci/pci.c:pci_swizzle_interrupt_pin() @ v6.12
    """
    pin, here = dev.pin, dev
    while True:
        if (entry := _entry(k, here, pin)) is not None:
            return entry
        bridge = here.bus.self_dev
        if bridge is None:
            return None
        pin = (pin - 1 + (here.devfn >> 3)) % PINS + 1
        if bridge.hdr_type == 2:  # PCI Card bridges have one interrupt for all
            pin = bridge.pin
            if not pin:
                return None
        here = bridge


def _entry(k: Kernel, dev: PciDev, pin: int) -> list[Any] | None:
    run, node = k.acpi.interpreter, dev.bus.firmware_node
    table = run.evaluate(node, "_PRT") if run is not None and node is not None else None
    rows = [row for row in table if isinstance(row, list) and len(row) >= PRT_FIELDS] if isinstance(table, list) else []
    numbers = [row for row in rows if isinstance(row[0], int) and isinstance(row[1], int)]
    return next((row for row in numbers if (row[0] >> 16, row[1] + 1) == (dev.devfn >> 3, pin)), None)


def _gsi_of(k: Kernel, entry: list[Any]) -> int | None:
    """An entry names a global system interrupt, or a link that leads to one."""
    source, index = entry[2], entry[3]
    if isinstance(source, int):
        return index if isinstance(index, int) else None
    node = _link_node(k, source)
    return acpi_pci_link_allocate_irq(k, node) if node is not None else None


def _link_node(k: Kernel, source: Any) -> Node | None:
    found = source if isinstance(source, Node) else getattr(source, "node", None)
    if found is None and isinstance(source, (str, bytes, bytearray)) and k.acpi.namespace is not None:
        text = source if isinstance(source, str) else bytes(source).rstrip(b"\0").decode("ascii", "replace")
        found = k.acpi.namespace.find(text)
    return resolve(found)


def acpi_pci_link_allocate_irq(k: Kernel, node: Node) -> int | None:
    """Turn a link on when it is used first, with a line. Source: pci_link.c:acpi_pci_link_allocate() @ v6.12"""
    links, run = k.pci.interrupts.links, k.acpi.interpreter
    if node.path in links or run is None:
        return links.get(node.path)
    template = run.evaluate(node, "_CRS")
    gsi = first_interrupt(bytes(template)) if isinstance(template, (bytes, bytearray)) else 0
    if not gsi:
        return None
    links[node.path] = gsi
    if k.behaviour.interrupt_link_line == "irqs":
        k.printk(f"ACPI: PCI Interrupt Link [{node.name}] enabled at IRQ {gsi}")
    else:
        k.printk(f"ACPI: {node.path}: Enabled at IRQ {gsi}")
    return gsi


# messages


def pci_alloc_irq_vectors(k: Kernel, dev: PciDev, least: int, most: int) -> tuple[int, int] | None:
    """(first number, how many) of the vectors that MSI-X, else MSI, gives a function; None if neither can.

    Source: drivers/pci/msi/api.c:pci_alloc_irq_vectors_affinity() @ v6.12
    """
    if not k.pci.options.msi:
        return None
    for capability in (CAP_MSIX, CAP_MSI):
        at = pci_find_capability(dev, capability)
        offered = _vectors(dev, capability, at) if at else 0
        count = min(offered, most)
        if capability == CAP_MSI and not ((k.pci.dmar is not None and k.pci.dmar.irq_remapping) or k.pci.amd_remapping):
            count = min(count, 1)  # more than one in a row only where interrupts are remapped
        if count >= least:
            return _switch_on(k, dev, capability, at, count), count
    return None


def _vectors(dev: PciDev, capability: int, at: int) -> int:
    control = dev.read(at + MSI_CONTROL, 2)
    return (control & MSIX_COUNT) + 1 if capability == CAP_MSIX else min(1 << (control >> 1 & 7), MAX_MSI)


def _switch_on(k: Kernel, dev: PciDev, capability: int, at: int, count: int) -> int:
    k.pci.interrupts.lower_bound = arch_dynirq_lower_bound(k)
    first = k.pci.interrupts.allocate(count)
    control = dev.read(at + MSI_CONTROL, 2)
    dev.write(at + MSI_CONTROL, 2, control | (MSIX_ENABLE if capability == CAP_MSIX else MSI_ENABLE))
    dev.write(COMMAND, 2, dev.read(COMMAND, 2) | INTX_DISABLE)
    dev.msi_count = count
    return first


def pci_free_irq_vectors(k: Kernel, dev: PciDev, first: int) -> None:
    """Give the vectors back. Source: drivers/pci/msi/api.c:pci_free_irq_vectors() @ v6.12"""
    k.pci.interrupts.free(first, dev.msi_count)
    dev.msi_count = 0
