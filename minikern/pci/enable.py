"""Making a function ready for its driver: the bridges above it, its decoders, its interrupt.

Source: drivers/pci/pci.c:pci_enable_device(), drivers/pci/setup-res.c:pci_enable_resources() @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.core.printk import Level
from minikern.pci import messages
from minikern.pci.bars import COMMAND
from minikern.pci.irq import acpi_pci_irq_disable, acpi_pci_irq_enable
from minikern.state.pci import IORESOURCE_IO, IORESOURCE_MEM, ROM, WINDOWS, PciDev

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

IO, MEMORY, MASTER = 1, 2, 4


def pci_enable_device(k: Kernel, dev: PciDev) -> bool:
    """False, with a line, if something it decodes has no place. A second call changes nothing."""
    if dev.enabled:
        return True
    bridge = dev.bus.self_dev
    if bridge is not None:
        _pci_enable_bridge(k, bridge)
    if not pci_enable_resources(k, dev):
        return False
    dev.enabled = True
    if not dev.msi_count:
        acpi_pci_irq_enable(k, dev)
    return True


def _pci_enable_bridge(k: Kernel, dev: PciDev) -> None:
    if not dev.enabled and not pci_enable_device(k, dev):
        k.printk(f"pci {dev.name}: Error enabling bridge (-22), continuing", Level.ERR)
    pci_set_master(dev)


def pci_disable_device(k: Kernel, dev: PciDev) -> None:
    """Take bus and interrupt from it; what it decodes stays. Source: drivers/pci/pci.c:pci_disable_device() @ v6.12"""
    dev.enabled = False
    acpi_pci_irq_disable(k, dev)
    command = dev.read(COMMAND, 2)
    if command & MASTER:
        dev.write(COMMAND, 2, command & ~MASTER)


def pci_set_master(dev: PciDev) -> None:
    """Source: drivers/pci/pci.c:pci_set_master() @ v6.12"""
    command = dev.read(COMMAND, 2)
    if not command & MASTER:
        dev.write(COMMAND, 2, command | MASTER)


def pci_enable_resources(k: Kernel, dev: PciDev) -> bool:
    """Let it decode what it has; False, with a line, if one of them has no place."""
    old = command = dev.read(COMMAND, 2)
    for slot in (*range(ROM), *range(WINDOWS, len(dev.resources))):
        resource = dev.resources[slot]
        if not resource.flags & (IORESOURCE_IO | IORESOURCE_MEM):
            continue
        if resource.parent is None:
            messages.cannot_enable(k, dev, slot)
            return False
        command |= IO if resource.flags & IORESOURCE_IO else MEMORY
    if command != old:
        k.printk(f"{dev.driver} {dev.name}: enabling device ({old:04x} -> {command:04x})")
        dev.write(COMMAND, 2, command)
    return True
