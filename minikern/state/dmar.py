"""DMA remapping as its table describes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from minikern.state.pci import PciDev, PciState

if TYPE_CHECKING:
    pass

SCOPE_ENDPOINT, SCOPE_BRIDGE, SCOPE_IOAPIC, SCOPE_HPET = 1, 2, 3, 4
BASE_CLASS_DISPLAY = 0x03


class Scope(NamedTuple):
    """A device scope: its kind, the bus its path starts on, and the path of (device, function)."""

    type: int
    enumeration_id: int
    bus: int
    path: tuple[tuple[int, int], ...]



@dataclass(eq=False)
class RemappingUnit:
    """One DMA remapping unit as the table and its registers describe it. ``index`` is its number in the log."""

    base: int
    segment: int
    include_all: bool
    scopes: list[Scope]
    index: int
    version: int = 0
    cap: int = 0
    ecap: int = 0
    irq: int = 0  # of its faults
    registered: bool = False
    ignored: bool = False
    endpoints: set[tuple[int, int]] = field(default_factory=set)
    bridges: set[int] = field(default_factory=set)

    def resolve(self, pci: PciState) -> None:
        """Find the devices the scopes name, walking each path through the bridges."""
        for scope in self.scopes:
            found = _follow(pci, self.segment, scope)
            if found is None or scope.type not in (SCOPE_ENDPOINT, SCOPE_BRIDGE):
                continue
            bus, devfn = found
            self.endpoints.add((bus, devfn))
            if scope.type == SCOPE_BRIDGE:
                behind = next((dev.subordinate for dev in pci.devices
                               if (dev.bus.segment, dev.bus.number, dev.devfn) == (self.segment, bus, devfn)), None)
                if behind is not None:
                    self.bridges.add(behind.number)

    def mark_ignored(self, pci: PciState) -> None:
        """Leave the unit alone if no device it names is there, or only displays that are not to be translated.

        Source: drivers/iommu/intel/iommu.c:init_no_remapping_devices() @ v6.12
        """
        if self.include_all:
            return
        displays = [
            dev.class_code >> 16 == BASE_CLASS_DISPLAY
            for dev in pci.devices
            if dev.bus.segment == self.segment and (dev.bus.number, dev.devfn) in self.endpoints
        ]
        self.ignored = not displays or (all(displays) and not pci.map_graphics)

    def covers(self, dev: PciDev) -> bool:
        """True if a scope names the device or a bridge above it. Source: intel/iommu.c:device_lookup_iommu()"""
        if dev.bus.segment != self.segment:
            return False
        if self.include_all or (dev.bus.number, dev.devfn) in self.endpoints:
            return True
        bus = dev.bus
        while bus.parent is not None:
            if bus.number in self.bridges:
                return True
            bus = bus.parent
        return False



def _follow(pci: PciState, segment: int, scope: Scope) -> tuple[int, int] | None:
    bus = scope.bus
    for device, function in scope.path[:-1]:
        bridge = next((dev for dev in pci.devices if dev.bus.segment == segment and dev.bus.number == bus
                       and dev.devfn == device << 3 | function), None)
        if bridge is None or bridge.subordinate is None:
            return None
        bus = bridge.subordinate.number
    return (bus, scope.path[-1][0] << 3 | scope.path[-1][1]) if scope.path else None



@dataclass
class DmarState:
    """What the table said. ``units`` is in registration order: explicit ones last to first, then the catch-alls."""

    address_width: int
    flags: int
    units: list[RemappingUnit] = field(default_factory=list)
    found: set[int] = field(default_factory=set)
    irq_remapping: bool = False

    def ioapic_sid(self, apic_id: int) -> int | None:
        """Source id of an I/O APIC's requests, None if no unit names it. Source: irq_remapping.c:set_ioapic_sid()"""
        for unit in self.units:
            for scope in unit.scopes:
                if scope.type == SCOPE_IOAPIC and scope.enumeration_id == apic_id and scope.path:
                    return scope.bus << 8 | scope.path[-1][0] << 3 | scope.path[-1][1]
        return None

