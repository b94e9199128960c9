"""``pci=resource_alignment=``: memory of chosen devices is placed anew, with a larger alignment.

Source: drivers/pci/pci.c:pci_reassigndev_resource_alignment() @ v6.12
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from minikern.core.printk import Level
from minikern.pci import messages
from minikern.pci.dev_match import SEPARATORS, NoDeviceError, dev_str_match
from minikern.state.pci import IORESOURCE_MEM, IORESOURCE_PCI_FIXED, IORESOURCE_UNSET, ROM, PciDev

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

COMMAND, DECODE_MEMORY, HOST_BRIDGE = 0x04, 2, 0x0600
PAGE_SHIFT, MAX_ORDER = 12, 63
MEMORY_WINDOW, PREF_WINDOW, CLOSED = 0x20, 0x24, 0xFFF0
_ORDER = re.compile(r"^([+-]?\d+)@")


def reassigndev_resource_alignment(k: Kernel, dev: PciDev) -> None:
    """Take the addresses of a device's memory away if it is one of those named, with the lines."""
    align = _specified(k, dev)
    if not align:
        return
    if dev.hdr_type == 0 and dev.class_code >> 8 == HOST_BRIDGE:
        k.printk(f"pci {dev.name}: Can't reassign resources to host bridge", Level.WARNING)
        return
    dev.write(COMMAND, 2, dev.read(COMMAND, 2) & ~DECODE_MEMORY)
    for slot in range(ROM + 1):
        _request(k, dev, slot, align)
    if dev.is_bridge:
        for register in (MEMORY_WINDOW, PREF_WINDOW):
            dev.write(register, 4, CLOSED)


def _specified(k: Kernel, dev: PciDev) -> int:
    """Bytes to align to, 0 if the device is not among those named. Source: pci_specified_resource_alignment()"""
    text = k.pci.options.resource_alignment
    while text:
        match = _ORDER.match(text)
        order = int(match[1]) if match else PAGE_SHIFT
        text = text[match.end() :] if match else text
        if order > MAX_ORDER:
            k.printk(f"PCI: Invalid requested alignment (order {order})", Level.ERR)
            order = PAGE_SHIFT
        try:
            found, text = dev_str_match(dev, text)
        except NoDeviceError as error:
            k.printk(f"PCI: Can't parse resource_alignment parameter: {error.rest}", Level.ERR)
            return 0
        if found:
            return 1 << (order & MAX_ORDER)
        if not text or text[0] not in SEPARATORS:
            return 0
        text = text[1:]
    return 0


def _request(k: Kernel, dev: PciDev, slot: int, align: int) -> None:
    resource = dev.resources[slot]
    if not resource.flags & IORESOURCE_MEM:
        return
    name = f"BAR {slot}:" if messages.numbered(k) else messages.slot_name(dev, slot)
    if resource.flags & IORESOURCE_PCI_FIXED:
        k.printk(f"pci {dev.name}: {name} {resource}: ignoring requested alignment {align:#x}")
    elif resource.size < align:
        k.printk(f"pci {dev.name}: {name} {resource}: requesting alignment to {align:#x}")
        resource.start, resource.end = 0, align - 1
        resource.flags |= IORESOURCE_UNSET
