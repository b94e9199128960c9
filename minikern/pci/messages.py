"""What the log says of resources, in the wording of the release: slots by number before 6.8, by name from then on.

Source: drivers/pci/setup-res.c, drivers/pci/setup-bus.c @ v6.1, v6.12; drivers/pci/pci.c:pci_resource_name() @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.core.printk import Level
from minikern.state.pci import IOV, ROM, WINDOWS, PciDev, Resource

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel


def numbered(k: Kernel) -> bool:
    """True if this release calls a resource by its register or its slot's number."""
    return k.behaviour.pci_reg_lines == "reg"


def slot_name(dev: PciDev, slot: int) -> str:
    """What newer releases call a slot. Source: drivers/pci/pci.c:pci_resource_name() @ v6.12"""
    if dev.is_cardbus:
        return "BAR 1" if slot == 0 else f"CardBus bridge window {slot - WINDOWS & 1}"
    if slot == ROM:
        return "ROM"
    return f"BAR {slot}" if slot < ROM else f"VF BAR {slot - IOV}" if slot < WINDOWS else "bridge window"


def found(k: Kernel, dev: PciDev, slot: int, register: int) -> None:
    """A register was sized. Source: drivers/pci/probe.c:__pci_read_base()"""
    name = f"reg 0x{register:x}:" if numbered(k) else slot_name(dev, slot)
    k.printk(f"pci {dev.name}: {name} {dev.resources[slot]}")


def unsizable(k: Kernel, dev: PciDev, slot: int, register: int) -> None:
    """A register made no sense. Source: drivers/pci/probe.c:__pci_read_base()"""
    if numbered(k):
        k.printk(f"pci {dev.name}: reg 0x{register:x}: invalid BAR (can't size)")
    else:
        k.printk(f"pci {dev.name}: [Firmware Bug]: {slot_name(dev, slot)}: invalid; can't size")


def virtual_functions(k: Kernel, dev: PciDev, slot: int, total: int) -> None:
    """A resource holds the BARs of all virtual functions. Source: drivers/pci/iov.c:sriov_init()"""
    resource, index = dev.resources[slot], slot - IOV
    if numbered(k):
        k.printk(f"pci {dev.name}: VF(n) BAR{index} space: {resource} (contains BAR{index} for {total} VFs)")
    else:
        k.printk(f"pci {dev.name}: {slot_name(dev, slot)} {resource}: contains BAR {index} for {total} VFs")


def cannot_claim(k: Kernel, dev: PciDev, slot: int, why: str) -> None:
    """The firmware's place could not be taken over. Source: setup-res.c:pci_claim_resource()"""
    resource = dev.resources[slot]
    if numbered(k):
        k.printk(f"pci {dev.name}: can't claim BAR {slot} {resource}: {why}")
    else:
        k.printk(f"pci {dev.name}: {slot_name(dev, slot)} {resource}: can't claim; {why}")


def assigned(k: Kernel, dev: PciDev, slot: int) -> None:
    """A place was found. Source: setup-res.c:pci_assign_resource()"""
    resource = dev.resources[slot]
    if numbered(k):
        k.printk(f"pci {dev.name}: BAR {slot}: assigned {resource}")
    else:
        k.printk(f"pci {dev.name}: {slot_name(dev, slot)} {resource}: assigned")


def no_space(k: Kernel, dev: PciDev, slot: int, room: Resource) -> None:
    """No place was found for ``room``. Source: setup-res.c:pci_assign_resource()"""
    if numbered(k):
        k.printk(f"pci {dev.name}: BAR {slot}: no space for {room}")
        k.printk(f"pci {dev.name}: BAR {slot}: failed to assign {room}")
    else:
        k.printk(f"pci {dev.name}: {slot_name(dev, slot)} {room}: can't assign; no space")
        k.printk(f"pci {dev.name}: {slot_name(dev, slot)} {room}: failed to assign")


def expanded(k: Kernel, dev: PciDev, slot: int, more: int) -> None:
    """A placed resource got its optional room too. Source: setup-res.c:pci_reassign_resource()"""
    resource = dev.resources[slot]
    if numbered(k):
        k.printk(f"pci {dev.name}: BAR {slot}: reassigned {resource} (expanded by {more:#x})")
    else:
        k.printk(f"pci {dev.name}: {slot_name(dev, slot)} {resource}: reassigned; expanded by {more:#x}")


def cannot_expand(k: Kernel, dev: PciDev, slot: int, more: int) -> None:
    """It did not. Source: setup-res.c:pci_reassign_resource(), setup-bus.c:reassign_resources_sorted()"""
    resource = dev.resources[slot]
    if numbered(k):
        k.printk(f"pci {dev.name}: BAR {slot}: {resource} (failed to expand by {more:#x})")
        k.printk(f"pci {dev.name}: failed to add {more:x} res[{slot}]={resource}")
    else:
        k.printk(f"pci {dev.name}: {slot_name(dev, slot)} {resource}: failed to expand by {more:#x}")
        k.printk(f"pci {dev.name}: {slot_name(dev, slot)} {resource}: failed to add {more:x}")


def cannot_enable(k: Kernel, dev: PciDev, slot: int) -> None:
    """A driver cannot have the device. Source: setup-res.c:pci_enable_resources() @ v6.1, v6.12"""
    resource = dev.resources[slot]
    why = "assigned" if not resource.start else "claimed"
    if numbered(k):
        text = f"can't enable device: BAR {slot} {resource} not {why}"
    else:
        text = f"{slot_name(dev, slot)} {resource}: not {why}; can't enable device"
    k.printk(f"{dev.driver} {dev.name}: {text}", Level.ERR)
