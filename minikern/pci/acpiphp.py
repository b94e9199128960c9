"""ACPI's hot plug of PCI: the slots firmware lets a bus have, found in the namespace as the bus is added.

Source: drivers/pci/hotplug/acpiphp_glue.c, acpiphp_core.c, drivers/pci/slot.c @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.core.printk import Level
from minikern.state.namespace import Kind, Node
from minikern.state.pci import PciBus, PciDev, Slot

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

HOTPLUG_CONTROL = 0x01  # what _OSC grants. Source: PCI Firmware Specification 3.3, table 4-6


def acpiphp_enumerate_slots(k: Kernel, bus: PciBus, root_path: str = "") -> None:
    """Find the firmware's node of a bus, and register the slots it says the bus has; ``root_path`` is a root's node."""
    if k.acpi.interpreter is None or k.acpi.namespace is None or k.acpi_options.pci_disabled:
        return
    bus.firmware_node = k.acpi.namespace.find(root_path) if bus.is_root else _bridge_node(k, bus)
    enabled = k.config.get("CONFIG_HOTPLUG_PCI_ACPI", True) and not k.cmdline.get_bool("acpiphp.disable", False)
    if enabled and bus.firmware_node is not None:
        acpi_pci_slot_enumerate(k, bus, bus.firmware_node)
        _register_slots(k, bus, bus.firmware_node)


def _bridge_node(k: Kernel, bus: PciBus) -> Node | None:
    """The node of the bridge above: the child of its own bus's node that has its address."""
    bridge = bus.self_dev
    if bridge is None or bridge.bus.firmware_node is None:
        return None
    for node in bridge.bus.firmware_node.children.values():
        if node.kind is Kind.DEVICE:
            address = _integer(k, node, "_ADR")
            if address is not None and (address >> 16 & 0x1F, address & 7) == (bridge.devfn >> 3, bridge.devfn & 7):
                return node
    return None


def _register_slots(k: Kernel, bus: PciBus, parent: Node) -> None:
    """Source: drivers/pci/hotplug/acpiphp_glue.c:acpiphp_add_context() @ v6.12"""
    seen: set[int] = set()
    count = 0
    for node in list(parent.children.values()):
        address = _integer(k, node, "_ADR") if node.kind is Kind.DEVICE else None
        if address is None or address >> 16 in seen:
            continue
        seen.add(address >> 16)
        if not _ejectable(k, node) or (bus.self_dev is not None and hotplug_is_native(k, bus.self_dev)):
            continue
        count += 1
        number = _integer(k, node, "_SUN")
        if not _register(k, bus, address >> 16, count if number is None else number):
            count -= 1


def _register(k: Kernel, bus: PciBus, device: int, number: int) -> bool:
    """Make one slot a hot-plug slot; False, with a line, if it is one. Source: acpiphp_register_hotplug_slot()"""
    place, slots = (bus.segment, bus.number, device), k.pci.slots
    slot = slots.get(place)
    if slot is not None and slot.hotplug:
        k.printk(f"acpiphp_glue: Slot {number} already registered by another hotplug driver", Level.WARNING)
        return False
    if slot is None or slot.name != str(number):  # its own old name is still taken when the new one is looked for
        slot = slots[place] = Slot(free_slot_name(k, number))
    slot.hotplug = True
    k.printk(f"acpiphp: Slot [{slot.name}] registered")
    return True


def free_slot_name(k: Kernel, number: int) -> str:
    """The name of a slot with that number, told apart from others of the same.

    Source: drivers/pci/slot.c:make_slot_name() @ v6.12
    """
    names = {slot.name for slot in k.pci.slots.values()}
    name, copies = str(number), 1
    while name in names:
        name = f"{number}-{copies}"
        copies += 1
    return name


def acpi_pci_slot_enumerate(k: Kernel, bus: PciBus, parent: Node) -> None:
    """Slots that firmware numbers are known before anybody drives them. Source: drivers/acpi/pci_slot.c @ v6.12"""
    if not k.config.get("CONFIG_ACPI_PCI_SLOT", True):
        return
    for node in list(parent.children.values()):
        address = _integer(k, node, "_ADR") if node.kind is Kind.DEVICE else None
        number = _integer(k, node, "_SUN") if address is not None else None
        if address is not None and number is not None:
            place = (bus.segment, bus.number, address >> 16)
            if place not in k.pci.slots:
                k.pci.slots[place] = Slot(free_slot_name(k, number))


def _ejectable(k: Kernel, node: Node) -> bool:
    """Source: drivers/pci/hotplug/acpi_pcihp.c:pcihp_is_ejectable() @ v6.12"""
    return "_EJ0" in node.children or bool(_integer(k, node, "_RMV"))


def _integer(k: Kernel, node: Node, name: str) -> int | None:
    """What an object gives, None if it is not there, fails, or is no number."""
    run = k.acpi.interpreter
    value = None if run is None else run.evaluate(node, name)
    return value if isinstance(value, int) else None


def hotplug_is_native(k: Kernel, bridge: PciDev) -> bool:
    """True if the driver for PCI Express ports has the slot below. Source: pci-acpi.c:pciehp_is_native() @ v6.12"""
    if not bridge.is_hotplug_bridge or not k.config.get("CONFIG_HOTPLUG_PCI_PCIE", True):
        return False
    return k.pci.options.ports == "native" or bool(bridge.bus.root.control & HOTPLUG_CONTROL)
