"""Which kind of PCI function each one is: as newer kernels log it, else by its place in the hierarchy."""

from __future__ import annotations

from collections import Counter

from hw.pci.spec import BRIDGE_KINDS, Address, FunctionKind
from minikern.describe.dmesg_pci_lines import Seen

KIND_OF_TEXT: dict[str, FunctionKind] = {
    "PCIe Endpoint": "endpoint",
    "PCIe Legacy Endpoint": "legacy_endpoint",
    "PCIe Root Port": "root_port",
    "PCIe Switch Upstream Port": "upstream",
    "PCIe Switch Downstream Port": "downstream",
    "PCIe to PCI/PCI-X bridge": "pcie_pci_bridge",
    "PCI/PCI-X to PCIe bridge": "pci_pcie_bridge",
    "PCIe Root Complex Integrated Endpoint": "rciep",
    "PCIe Root Complex Event Collector": "event_collector",
    "conventional PCI endpoint": "conventional",
    "conventional PCI bridge": "pci_bridge",
    "CardBus bridge": "cardbus",
}
"""Source: drivers/pci/probe.c:pci_type_str(), pci_hdr_type_str() @ v6.12"""
SUBTRACTIVE = 0x060401  # class of a bridge that takes what nobody else decodes
INTEL = "8086"
Bus = tuple[int, int]


def kinds_of(
    seen: dict[Address, Seen], roots: set[Bus], small: set[Bus], groups: dict[Address, int]
) -> dict[Address, FunctionKind]:
    """The kind of every function. ``small`` are buses without extended configuration space, ``groups`` the logged
    IOMMU groups.
    """
    above = {(one.address.segment, one.buses[0]): one for one in seen.values() if one.buses}
    slots = Counter(_slot(address) for address in seen)
    members = Counter(groups.values())
    kinds: dict[Address, FunctionKind] = {}
    for address, one in sorted(seen.items()):
        bridge = above.get((address.segment, address.bus))
        parent = kinds.get(bridge.address) if bridge is not None else None
        text = KIND_OF_TEXT.get(one.port)
        if text is not None and (text in BRIDGE_KINDS) == (one.header == 1):
            kinds[address] = text
        elif one.header == 1:
            plain = one.buses is not None and (address.segment, one.buses[0]) in small
            kinds[address] = _bridge(one, parent, plain)
        elif one.header == 2:
            kinds[address] = "cardbus"
        else:
            alone = slots[_slot(address)] > 1 and members[groups.get(address, -1)] == 1
            kinds[address] = _endpoint(one, parent, (address.segment, address.bus) in roots, alone)
    return kinds


def _slot(address: Address) -> tuple[int, int, int]:
    return address.segment, address.bus, address.devfn >> 3


def _bridge(one: Seen, parent: FunctionKind | None, plain: bool) -> FunctionKind:
    if one.subtractive or one.class_code == SUBTRACTIVE:
        return "pci_bridge"
    if parent in ("pci_bridge", "pcie_pci_bridge"):
        return "pci_bridge"
    if plain:
        return "pci_bridge" if parent is None else "pcie_pci_bridge"
    if parent is None:
        return "root_port"
    if parent == "upstream":
        return "downstream"
    return "upstream"


def _endpoint(one: Seen, parent: FunctionKind | None, on_root: bool, alone: bool) -> FunctionKind:
    """``alone``: it shares its slot with others but its IOMMU group with none, as conventional functions never do."""
    if parent in ("pci_bridge", "pcie_pci_bridge"):
        return "conventional"
    if not on_root:
        return "endpoint"
    if one.ext_tag or alone:
        return "rciep" if one.id.startswith(INTEL) else "endpoint"
    return "conventional"
