"""IOMMU groups of a boot log, and which functions must be able to isolate for them to come out again.

The kernel puts functions together that can reach each other past the IOMMU; Access Control Services in configuration
space tell which cannot. Source: drivers/iommu/iommu.c:pci_device_group() @ v6.12
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from hw.pci.spec import PCIE_KINDS, Address, FunctionKind
from minikern.describe.dmesg_pci_lines import Seen

PORTS = ("root_port", "downstream")
NEVER = ("event_collector", "pcie_pci_bridge", "pci_pcie_bridge")  # whatever their capabilities say
MAX_GROUP = 1 << 16

_PLACE = r"([0-9a-f]{4,8}):([0-9a-f]{2}):([0-1][0-9a-f])\.([0-7])"
_GROUP = re.compile(
    rf"^pci {_PLACE}: Adding to iommu group (\d{{1,5}})\s*$|^iommu: Adding device {_PLACE} to group (\d{{1,5}})\s*$"
)


def logged_groups(lines: Iterable[str]) -> dict[Address, int]:
    """The group of each function in the order of the log's lines; the first line of a function counts."""
    found: dict[Address, int] = {}
    for line in lines:
        if "group" in line and (match := _GROUP.match(line)):
            segment, bus, device, function, group = match.groups()[:5] if match[1] else match.groups()[5:]
            found.setdefault(
                Address(int(segment, 16), int(bus, 16), int(device, 16) << 3 | int(function)), int(group)
            )
    return found


def isolating(
    seen: dict[Address, Seen], kinds: dict[Address, FunctionKind], groups: dict[Address, int]
) -> set[Address]:
    """The functions to be given Access Control Services.

    A port isolates when nothing behind it is in its group and no other function of its slot is; without groups in the
    log every port does. Another function with neighbours in its slot isolates when it shares its group with none.
    """
    below = _below(seen)
    slots: dict[tuple[int, int, int], list[Address]] = defaultdict(list)
    for address in seen:
        slots[address.segment, address.bus, address.devfn >> 3].append(address)
    found = set()
    for address, kind in kinds.items():
        if kind not in PCIE_KINDS or kind in NEVER:
            continue
        neighbours = [one for one in slots[address.segment, address.bus, address.devfn >> 3] if one != address]
        if kind in PORTS and not groups:
            found.add(address)
        elif address in groups and (kind in PORTS or neighbours):
            behind = below.get(address, []) if kind in PORTS else []
            if all(groups.get(one) != groups[address] for one in [*neighbours, *behind]):
                found.add(address)
    return found


def _below(seen: dict[Address, Seen]) -> dict[Address, list[Address]]:
    """The functions on the bus right behind each bridge."""
    on_bus: dict[tuple[int, int], list[Address]] = defaultdict(list)
    for address in seen:
        on_bus[address.segment, address.bus].append(address)
    return {
        address: on_bus[address.segment, one.buses[0]] for address, one in seen.items() if one.buses is not None
    }
