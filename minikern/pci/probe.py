"""Scanning buses: slots, functions, and the two passes over bridges.

Source: drivers/pci/probe.c @ v6.12
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from minikern.pci.acpiphp import acpiphp_enumerate_slots
from minikern.pci.bars import bus_range, pci_read_bridge_bases
from minikern.pci.caps import EXT_ARI, pci_find_ext_capability
from minikern.pci.cardbus import CARDBUS_LATENCY, reserved_for_cards
from minikern.pci.device import ext_config_below, pci_device_add, pci_setup_device
from minikern.state.pci import (
    IORESOURCE_BUS,
    ROM,
    TYPE_DOWNSTREAM,
    TYPE_PCIE_BRIDGE,
    TYPE_ROOT_PORT,
    WINDOWS,
    PciBus,
    PciDev,
    Resource,
)
from minikern.state.pci_options import PciOptions, Probe
from minikern.state.pci_select import ProbeList

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel
    from minikern.state.pci_access import ConfigAccess

ABSENT = (0xFFFF_FFFF, 0x0000_0000, 0x0000_FFFF, 0xFFFF_0000)
RETRY = 0x0001  # vendor id of a device that asks for more time
RETRY_LIMIT_MS = 60_000
BRIDGE_CONTROL, MASTER_ABORT = 0x3E, 0x20
PRIMARY_BUS, SUBORDINATE_BUS, STATUS = 0x18, 0x1A, 0x06


class Scanner:
    """One walk over the hierarchy; ``only`` limits which functions are set up."""

    def __init__(self, k: Kernel, access: ConfigAccess, only: ProbeList) -> None:
        self.k = k
        self.only = only
        self.options = k.pci.options
        self.access = access

    def scan_child_bus(self, bus: PciBus) -> int:
        """Scan a bus and all below; the highest bus number found. Source: probe.c:pci_scan_child_bus_extend()"""
        k = self.k
        last = bus.busn.start
        for devfn in range(0, 256, 8):
            self._scan_slot(bus, devfn)
        if bus.self_dev is not None:
            pci_read_bridge_bases(k, bus.self_dev)
        for dev in bus.devices:
            _fixup_device_resources(self.options, dev)
        self.access.charge(k)
        bridges = [dev for dev in bus.devices if dev.is_bridge or dev.is_cardbus]
        for scan_pass in (0, 1):
            for dev in bridges:
                last = self._scan_bridge(bus, dev, last, scan_pass)
        if bus.self_dev is not None and bus.self_dev.is_hotplug_bridge:
            last = max(last, min(bus.busn.start + self.options.hotplug_buses - 1, bus.busn.end))
        return last

    # slots

    def _scan_slot(self, bus: PciBus, devfn: int) -> None:
        """Source: drivers/pci/probe.c:pci_scan_slot() @ v6.12"""
        if devfn and self._only_one_child(bus):
            return
        function: int | None = 0
        seen: set[int] = set()
        while function is not None and function not in seen and function < 256:
            seen.add(function)
            dev, exists, multifunction = self._scan_single(bus, devfn + function)
            if not exists and function == 0:
                return
            if function == 0 and dev is None and not multifunction:
                return
            if dev is not None and function:
                dev.multifunction = True
            function = self._next_function(bus, dev, function, multifunction)

    def _only_one_child(self, bus: PciBus) -> bool:
        bridge = bus.self_dev
        if bridge is None or not bridge.is_pcie or self.options.scan_all:
            return False
        return bridge.pcie_type in (TYPE_ROOT_PORT, TYPE_DOWNSTREAM, TYPE_PCIE_BRIDGE)

    def _next_function(self, bus: PciBus, dev: PciDev | None, function: int, multifunction: bool) -> int | None:
        if bus.self_dev is not None and bus.self_dev.ari_enabled:
            at = pci_find_ext_capability(dev, EXT_ARI) if dev is not None else 0
            if dev is None or not at:
                return None
            following = dev.read(at + 4, 2) >> 8
            return following if following > function else None
        if function >= 7 or (function == 0 and not multifunction):
            return None
        return function + 1

    def _scan_single(self, bus: PciBus, devfn: int) -> tuple[PciDev | None, bool, bool]:
        """(device if it was set up, whether there is one, whether function 0 says there are more)."""
        k = self.k
        ids = self._read_vendor(bus, devfn)
        if ids is None:
            return None, False, False
        dev = PciDev(self.access, bus, devfn, ids & 0xFFFF, ids >> 16)
        if not self.only.admits(dev):
            k.pci.skipped += 1
            return None, True, devfn & 7 == 0 and bool(dev.read(0x0E, 1) & 0x80)
        if not pci_setup_device(k, dev):
            return None, True, dev.multifunction
        multifunction = dev.multifunction
        pci_device_add(k, dev)
        owner = bus.root.vmd
        if owner is not None and owner.iommu_group is not None:
            dev.iommu_group = owner.iommu_group
            k.printk(f"pci {dev.name}: Adding to iommu group {dev.iommu_group}")
        return dev, True, multifunction

    def _read_vendor(self, bus: PciBus, devfn: int) -> int | None:
        """Vendor and device id, None if nothing is there. Source: probe.c:pci_bus_generic_read_dev_vendor_id()"""
        ids = self.access.read(bus.segment, bus.number, devfn, 0, 4)
        if ids in ABSENT:
            return None
        name = f"pci {bus.segment:04x}:{bus.number:02x}:{devfn >> 3:02x}.{devfn & 7}"
        waited, delay = 0, 1
        while ids & 0xFFFF == RETRY:
            if delay > RETRY_LIMIT_MS:
                self.k.printk(f"{name}: not ready after {delay - 1}ms; giving up")
                return None
            if delay >= 1000:
                self.k.printk(f"{name}: not ready after {delay - 1}ms; waiting")
            self.k.charge("pci_retry_ms", delay)
            waited, delay = waited + delay, delay * 2
            ids = self.access.read(bus.segment, bus.number, devfn, 0, 4)
            if ids in ABSENT:
                return None
        if waited >= 1000:
            self.k.printk(f"{name}: ready after {waited}ms")
        return int(ids)

    # bridges

    def _scan_bridge(self, bus: PciBus, dev: PciDev, last: int, scan_pass: int) -> int:
        """One pass over one bridge; the highest bus number so far. Source: probe.c:pci_scan_bridge_extend() @ v6.12"""
        k = self.k
        buses = dev.read(PRIMARY_BUS, 4)
        primary, secondary, subordinate = buses & 0xFF, buses >> 8 & 0xFF, buses >> 16 & 0xFF
        if not primary and primary != bus.number and secondary and subordinate:
            k.printk(f"pci {dev.name}: Primary bus is hard wired to 0")
            primary = bus.number
        broken = False
        if not scan_pass and (primary != bus.number or secondary <= bus.number or secondary > subordinate):
            where = f"[bus {secondary:02x}-{subordinate:02x}]"
            k.printk(f"pci {dev.name}: bridge configuration invalid ({where}), reconfiguring")
            broken = True
        control = dev.read(BRIDGE_CONTROL, 2)
        dev.write(BRIDGE_CONTROL, 2, control & ~MASTER_ABORT)
        assign_all = bool(self.options.probe & Probe.ASSIGN_ALL_BUSSES)
        if (secondary or subordinate) and not assign_all and not broken and not dev.is_cardbus:
            last = self._scan_configured(bus, dev, last, scan_pass, secondary, subordinate)
        elif not scan_pass:
            if assign_all or broken or dev.is_cardbus:
                # Keep a wrongly numbered bridge from answering for buses of another until it is numbered anew.
                dev.write(PRIMARY_BUS, 4, buses & 0xFF00_0000)
        else:
            last = self._number_bridge(bus, dev, last, buses)
        dev.write(BRIDGE_CONTROL, 2, control)
        self.access.charge(k)
        return last

    def _scan_configured(
        self, bus: PciBus, dev: PciDev, last: int, scan_pass: int, secondary: int, subordinate: int
    ) -> int:
        if scan_pass or self.k.pci.find_bus(bus.segment, secondary) is not None:
            return last
        child = self._add_bus(bus, dev, secondary, subordinate)
        found = self.scan_child_bus(child)
        if found > subordinate:
            self.k.printk(f"pci {dev.name}: bridge has subordinate {subordinate:02x} but max busn {found:02x}")
        return max(last, subordinate)

    def _number_bridge(self, bus: PciBus, dev: PciDev, last: int, buses: int) -> int:
        number = last + 1
        if number > bus.busn.end or self.k.pci.find_bus(bus.segment, number) is not None:
            self.k.printk(f"pci {dev.name}: can't allocate child bus {number:02x} from {bus.busn}")
            return last
        dev.write(STATUS, 2, 0xFFFF)
        end = bus.busn.end
        child = self._add_bus(bus, dev, number, end)
        latency = CARDBUS_LATENCY << 24 if dev.is_cardbus else buses & 0xFF00_0000
        dev.write(PRIMARY_BUS, 4, latency | bus.number | number << 8 | end << 16)
        if dev.is_cardbus:
            child.windows = dev.resources[WINDOWS:]
            last = number + reserved_for_cards(self.k, bus, number)
        else:
            last = max(number, self.scan_child_bus(child))
        self.k.printk(f"pci_bus {child.name}: busn_res: {bus_range(number, end)} end is updated to {last:02x}")
        child.busn.end = last
        dev.write(SUBORDINATE_BUS, 1, last)
        return last

    def _add_bus(self, parent: PciBus, dev: PciDev, number: int, end: int) -> PciBus:
        child = PciBus(parent.segment, number, Resource(number, end, IORESOURCE_BUS), parent, dev)
        child.ext_config = ext_config_below(dev)
        parent.children.append(child)
        dev.subordinate = child
        if not child.ext_config:
            self.k.printk(f"pci_bus {child.name}: extended config space not accessible")
        acpiphp_enumerate_slots(self.k, child)
        return child


def _fixup_device_resources(options: PciOptions, dev: PciDev) -> None:
    """Forget what the firmware left without an address, under ``pci=nobar`` and ``pci=norom``.

    Source: arch/x86/pci/common.c:pcibios_fixup_device_resources() @ v6.12
    """
    slots = range(ROM) if options.probe & Probe.NOASSIGN_BARS else range(0)
    for slot in (*slots, *((ROM,) if options.probe & Probe.NOASSIGN_ROMS else ())):
        resource = dev.resources[slot]
        if resource.start == 0 and resource.flags:
            dev.resources[slot] = Resource()


def all_buses(roots: list[PciBus]) -> Iterator[PciBus]:
    """Every bus, parents before children, in discovery order."""
    for bus in roots:
        yield bus
        yield from all_buses(bus.children)
