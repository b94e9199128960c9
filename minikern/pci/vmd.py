"""Volume management devices: endpoints behind whose registers a PCI domain of its own lies.

Source: drivers/pci/controller/vmd.c @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.core.printk import Level
from minikern.pci.assign import pci_bus_assign_resources
from minikern.pci.enable import pci_enable_device, pci_set_master
from minikern.pci.irq import pci_alloc_irq_vectors
from minikern.pci.payload import pcie_bus_configure_settings
from minikern.pci.portdrv import pcie_portdrv_bind
from minikern.pci.probe import Scanner
from minikern.pci.select import probe_list
from minikern.pci.sizing import pci_bus_size_bridges
from minikern.state.pci import (
    IORESOURCE_BUS,
    IORESOURCE_MEM_64,
    IORESOURCE_PCI_FIXED,
    EcamRegion,
    PciBus,
    PciDev,
    Resource,
)

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

INTEL = 0x8086
SERVER_OLD, SERVER = 0x201D, 0x28C0
CLIENTS = {0x467F, 0x4C3D, 0xA77F, 0x7D0B, 0xAD0B, 0x9A0B, 0xB60B, 0xB06F}
CONFIG_BAR, MEMBAR1, MEMBAR2 = 0, 2, 4
CAPABILITIES, CONFIGURATION, MSI_REMAP = 0x40, 0x44, 0x02
BUS_STARTS = {0: 0, 1: 0x80, 2: 0xE0}
MEMBAR2_OFFSET, SHADOW_BYTES = 0x2000, 16  # what the second window keeps for itself; a server's shadow of addresses
FIRST_DOMAIN, MIB = 0x1_0000, 1 << 20
ALL_VECTORS, FOUR_GIB = 2048, 1 << 32


def vmd_init(k: Kernel) -> None:
    """The driver, where it is built in, meets every such device. Source: vmd.c:vmd_probe() @ v6.12"""
    if k.pci.access is None or not k.config.get("CONFIG_VMD", True):
        return
    for dev in list(k.pci.devices):
        if dev.vendor == INTEL and dev.device in {SERVER_OLD, SERVER, *CLIENTS}:
            with k.phase("pci"):
                _vmd_probe(k, dev)


def _vmd_probe(k: Kernel, dev: PciDev) -> None:
    if dev.resources[CONFIG_BAR].size < MIB:
        return
    dev.driver = "vmd"
    if not pci_enable_device(k, dev):
        dev.driver = "pci"
        return
    pci_set_master(dev)
    start = _bus_number_start(k, dev)
    if start is None:
        return
    bus = _create_root_bus(k, dev, start)
    devices = _scan(k, bus)
    pcie_portdrv_bind(k, devices)
    assert k.pci.access is not None
    k.pci.access.charge(k)
    k.printk(f"vmd {dev.name}: Bound to PCI domain {bus.segment:04x}")


def _bus_number_start(k: Kernel, dev: PciDev) -> int | None:
    """The first bus behind it, None, with a line, if the firmware's setting is none there is."""
    if dev.device == SERVER_OLD or not dev.read(CAPABILITIES, 2) & 1:
        return 0
    setting = dev.read(CONFIGURATION, 2) >> 8 & 3
    if setting not in BUS_STARTS:
        k.printk(f"vmd {dev.name}: Unknown Bus Offset Setting ({setting})", Level.ERR)
        return None
    return BUS_STARTS[setting]


def _windows(dev: PciDev) -> list[Resource]:
    """Its two memory registers; what lies below 4 GiB is no 64-bit window, so that all fits into it."""
    found = []
    for slot in (MEMBAR1, MEMBAR2):
        own = dev.resources[slot]
        skipped = (MEMBAR2_OFFSET + (SHADOW_BYTES if dev.device == SERVER else 0)) if slot == MEMBAR2 else 0
        flags = own.flags if own.end >= FOUR_GIB else own.flags & ~IORESOURCE_MEM_64
        found.append(Resource(own.start + skipped, own.end, flags))
    return found


def _create_root_bus(k: Kernel, dev: PciDev, start: int) -> PciBus:
    """A domain beyond those that firmware numbers. Source: vmd.c:vmd_enable_domain(), vmd_find_free_domain()"""
    access, config = k.pci.access, dev.resources[CONFIG_BAR]
    assert access is not None
    domain = max(FIRST_DOMAIN - 1, *(root.segment for root in k.pci.roots)) + 1
    buses = Resource(start, start + config.size // MIB - 1, IORESOURCE_BUS | IORESOURCE_PCI_FIXED)
    _interrupts(k, dev)
    access.regions.append(EcamRegion(config.start - (start << 20), domain, start, buses.end))
    bus = PciBus(domain, start, buses, vmd=dev)
    bus.windows, bus.control = _windows(dev), dev.bus.root.control
    k.printk(f"vmd {dev.name}: PCI host bridge to bus {bus.name}")
    k.printk(f"pci_bus {bus.name}: root bus resource {buses}")
    for window in bus.windows:
        k.printk(f"pci_bus {bus.name}: root bus resource {window}")
    k.pci.roots.append(bus)
    return bus


def _interrupts(k: Kernel, dev: PciDev) -> None:
    """Interrupts of the domain's devices go through its own vectors, but where they can pass it by."""
    setting = dev.read(CONFIGURATION, 2)
    if dev.device == SERVER:
        dev.write(CONFIGURATION, 2, setting | MSI_REMAP)
        return
    pci_alloc_irq_vectors(k, dev, 1, ALL_VECTORS)
    dev.write(CONFIGURATION, 2, setting & ~MSI_REMAP)


def _scan(k: Kernel, bus: PciBus) -> list[PciDev]:
    """Find what is there, and give it room: nobody claims what firmware had assigned in such a domain."""
    known = len(k.pci.devices)
    assert k.pci.access is not None
    Scanner(k, k.pci.access, k.pci.only or probe_list(k)).scan_child_bus(bus)
    extra: dict[int, int] = {}
    for child in bus.children:
        pci_bus_size_bridges(k, child, extra)
    pci_bus_assign_resources(k, bus, extra)
    for child in bus.children:
        pcie_bus_configure_settings(k, child)
    return k.pci.devices[known:]
