"""PCI without ACPI: the host bridge is taken to be there, with all addresses going through it.

Source: arch/x86/pci/legacy.c, common.c:pcibios_scan_root(), bus_numa.c @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.core.printk import Level
from minikern.pci.probe import Scanner
from minikern.pci.select import probe_list
from minikern.state.pci import IORESOURCE_BUS, IORESOURCE_IO, IORESOURCE_MEM, PciBus, Resource

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

IO_END, LAST_BUS = 0xFFFF, 0xFF
PHYS_BITS_LEAF, PHYS_BITS_DEFAULT = 0x8000_0008, 36


def pci_legacy_init(k: Kernel) -> None:
    """Scan bus 0 as a root bus, unless ACPI brought it already, then the peers up to ``pci=lastbus=``.

    Source: arch/x86/pci/legacy.c:pci_legacy_init(), pcibios_fixup_peer_bridges() @ v6.12
    """
    k.printk("PCI: Probing PCI hardware")
    pcibios_scan_root(k, 0)
    if k.pci.options.last_bus is not None:
        _fixup_peer_bridges(k, k.pci.options.last_bus)


def _fixup_peer_bridges(k: Kernel, last: int) -> None:
    access = k.pci.access
    for number in range(min(last, LAST_BUS) + 1):
        if access is None or k.pci.find_bus(0, number) is not None:
            continue
        if any(access.read(0, number, devfn, 0, 2) not in (0, 0xFFFF) for devfn in range(0, 256, 8)):
            k.printk(f"PCI: Discovered peer bus {number:02x}")
            pcibios_scan_root(k, number)


def pcibios_scan_root(k: Kernel, number: int) -> None:
    """Scan one root bus with the default windows. Source: arch/x86/pci/common.c:pcibios_scan_root() @ v6.12"""
    access = k.pci.access
    assert access is not None
    windows = default_resources(k, number)
    k.printk(f"PCI: Probing PCI hardware (bus {number:02x})")
    if k.pci.find_bus(0, number) is not None:
        return
    bus = PciBus(0, number, Resource(number, LAST_BUS, IORESOURCE_BUS))
    bus.windows = windows
    k.charge("pci_root_bridge_add")
    k.printk(f"PCI host bridge to bus {bus.name}")
    if len(k.nodes) > 1:
        k.printk(f"pci_bus {bus.name}: Unknown NUMA node; performance will be reduced", Level.WARNING)
    for window in bus.windows:
        k.printk(f"pci_bus {bus.name}: root bus resource {window}")
    k.printk(f"pci_bus {bus.name}: No busn resource found for root bus, will use {bus.busn}")
    k.pci.roots.append(bus)
    if k.pci.only is None:
        k.pci.only = probe_list(k)
    last = Scanner(k, access, k.pci.only).scan_child_bus(bus)
    k.printk(f"pci_bus {bus.name}: busn_res: {bus.busn} end is updated to {last:02x}")
    bus.busn.end = last


def default_resources(k: Kernel, number: int) -> list[Resource]:
    """All of port and memory space. Source: arch/x86/pci/bus_numa.c:x86_pci_root_bus_resources() @ v6.12"""
    k.printk(f"PCI: root bus {number:02x}: using default resources")
    return [Resource(0, IO_END, IORESOURCE_IO), Resource(0, _iomem_end(k), IORESOURCE_MEM)]


def _iomem_end(k: Kernel) -> int:
    # Source: arch/x86/kernel/setup.c:setup_arch(), iomem_resource.end by x86_phys_bits @ v6.12
    cpu = k.machine.boot_cpu
    bits = cpu.cpuid(PHYS_BITS_LEAF).eax & 0xFF if cpu.cpuid(0x8000_0000).eax >= PHYS_BITS_LEAF else PHYS_BITS_DEFAULT
    return (1 << bits) - 1
