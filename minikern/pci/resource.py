"""Keeping the firmware's assignments, and giving room to what has none.

Source: arch/x86/pci/i386.c, drivers/pci/setup-bus.c, drivers/pci/setup-res.c @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.core.printk import Level
from minikern.pci import messages
from minikern.pci.bars import COMMAND
from minikern.pci.legacy import pci_legacy_init
from minikern.pci.probe import all_buses
from minikern.pci.quirks import fixup_final
from minikern.pci.realloc import pci_assign_unassigned_root_bus_resources
from minikern.state.pci import (
    IORESOURCE_IO,
    IORESOURCE_PREFETCH,
    IORESOURCE_ROM_SHADOW,
    IOV,
    ROM,
    WINDOWS,
    PciBus,
    PciDev,
    Resource,
)
from minikern.state.pci_options import Probe

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

CACHE_LINE_BYTES = 64


def pci_subsys_init(k: Kernel) -> None:
    """Interrupt routing is ACPI's; take over what the firmware assigned. Source: arch/x86/pci/legacy.c"""
    if k.pci.access is None:
        return
    if k.acpi is None or k.acpi.disabled or k.acpi_options.noirq:
        pci_legacy_init(k)
    else:
        k.printk("PCI: Using ACPI for IRQ routing")
    if not k.pci.access.works:
        k.printk("PCI: System does not support PCI", Level.WARNING)
        return
    k.printk(f"PCI: pci_cache_line_size set to {CACHE_LINE_BYTES} bytes", Level.DEBUG)
    for bus in all_buses(k.pci.roots):
        _claim_windows(k, bus)
    for disabled in (False, True):
        for bus in all_buses(k.pci.roots):
            for dev in bus.devices:
                _claim_bars(k, dev, disabled)
    _sort_breadthfirst(k)
    k.pci.access.charge(k)


def _sort_breadthfirst(k: Kernel) -> None:
    """Source: arch/x86/pci/common.c:pcibios_init(), drivers/pci/probe.c:pci_sort_breadthfirst() @ v6.12"""
    if k.pci.breadth_first if k.pci.options.bfsort is None else k.pci.options.bfsort:
        k.pci.devices.sort(key=lambda dev: (dev.bus.segment, dev.bus.number, dev.devfn))


def _claim_windows(k: Kernel, bus: PciBus) -> None:
    dev = bus.self_dev
    if dev is None:
        return
    for slot in range(WINDOWS, WINDOWS + 3):
        window = dev.resources[slot]
        if window.flags and (not window.start or not _claim(k, dev, slot)):
            window.start, window.end, window.flags = 0, -1, 0


def _claim_bars(k: Kernel, dev: PciDev, disabled: bool) -> None:
    command = dev.read(COMMAND, 2)
    for slot in (*range(ROM), *range(IOV, WINDOWS)):
        resource = dev.resources[slot]
        if resource.parent is not None or not resource.flags or not resource.start:
            continue
        enabled = command & (1 if resource.flags & IORESOURCE_IO else 2)
        if bool(enabled) != disabled and not _claim(k, dev, slot):
            resource.end, resource.start = resource.end - resource.start, 0


def _claim(k: Kernel, dev: PciDev, slot: int) -> bool:
    """Enter a resource below the window that holds it. Source: drivers/pci/setup-res.c:pci_claim_resource()"""
    resource = dev.resources[slot]
    if resource.flags & IORESOURCE_ROM_SHADOW:
        return True  # a copy in memory, not below any window
    parent = _find_parent(dev.bus, resource)
    if parent is None:
        messages.cannot_claim(k, dev, slot, "no compatible bridge window")
        return False
    other = parent.conflict(resource.start, resource.end)
    if other is not None:
        messages.cannot_claim(k, dev, slot, f"address conflict with {_owner(k, other)} {other}")
        return False
    parent.claim(resource)
    return True


def _owner(k: Kernel, resource: Resource) -> str:
    for dev in k.pci.devices:
        slot = next((slot for slot, own in enumerate(dev.resources) if own is resource), None)
        if slot is not None:
            child = dev.subordinate if slot >= WINDOWS else None
            return dev.name if child is None else f"PCI Bus {child.name}"
    return "reserved"


def _find_parent(bus: PciBus, resource: Resource) -> Resource | None:
    """Source: drivers/pci/pci.c:pci_find_parent_resource() @ v6.12"""
    for window in bus.windows:
        if window.flags and window.contains(resource):
            if window.flags & IORESOURCE_PREFETCH and not resource.flags & IORESOURCE_PREFETCH:
                return None
            return window
    return None


def pcibios_assign_resources(k: Kernel) -> None:
    """Assign what is still unassigned, open the bridges' windows, list every bus's resources.

    Source: arch/x86/pci/i386.c:pcibios_assign_resources(), setup-bus.c:pci_assign_unassigned_root_bus_resources()
    """
    if k.pci.access is None:
        return
    # Under pci=rom they are placed like all else.
    for bus in [] if k.pci.options.probe & Probe.ASSIGN_ROMS else all_buses(k.pci.roots):
        for dev in bus.devices:
            rom = dev.resources[ROM]
            if rom.flags and rom.start and not _claim(k, dev, ROM):
                rom.end, rom.start = rom.end - rom.start, 0
    for root in k.pci.roots:
        pci_assign_unassigned_root_bus_resources(k, root)
    k.pci.access.charge(k)


def pci_apply_final_quirks(k: Kernel) -> None:
    """Settle the cache line size. Source: drivers/pci/quirks.c:pci_apply_final_quirks() @ v6.12"""
    if k.pci.access is None:
        return
    common = 0
    for dev in k.pci.devices:
        fixup_final(k, dev)
        size = dev.read(0x0C, 1)
        common = common or size
        if size and size != common:
            k.printk(f"pci {dev.name}: CLS mismatch ({common << 2} != {size << 2}), using {CACHE_LINE_BYTES} bytes")
            break
    else:
        k.printk(f"PCI: CLS {common << 2} bytes, default {CACHE_LINE_BYTES}")
    k.pci.access.charge(k)
