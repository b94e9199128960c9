"""Host bridges: what ACPI says of them, their windows, and scanning what is behind.

Source: drivers/acpi/pci_root.c, arch/x86/pci/acpi.c, drivers/pci/probe.c:pci_register_host_bridge() @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.core.printk import Level
from minikern.pci.acpiphp import acpiphp_enumerate_slots
from minikern.pci.ecam import bios_year, pci_mmcfg_late_init
from minikern.pci.legacy import default_resources
from minikern.pci.osc import negotiate_os_control
from minikern.pci.payload import pcie_bus_configure_settings
from minikern.pci.probe import Scanner
from minikern.pci.select import probe_list
from minikern.state.pci import (
    IORESOURCE_BUS,
    IORESOURCE_IO,
    IORESOURCE_MEM,
    IORESOURCE_MEM_64,
    IORESOURCE_MEM_WRITEABLE,
    IORESOURCE_PREFETCH,
    IORESOURCE_WINDOW,
    PciBus,
    Resource,
)
from minikern.state.pci_options import Probe

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel
    from minikern.state.acpi import PciRoot, Window
    from minikern.state.pci_access import ConfigAccess

BIOS_YEAR_WITHOUT_E820 = 2023  # Source: arch/x86/pci/acpi.c:pci_acpi_crs_quirks() @ v6.12
CONFIG_PORTS = (0xCF8, 0xCFF)


def pci_acpi_crs_quirks(k: Kernel) -> None:
    """Say whether firmware's host bridge windows are used, and the memory map's reservations with them."""
    options = k.pci.options
    pci_mmcfg_late_init(k)
    if k.acpi_options.pci_disabled:
        return
    if options.probe & Probe.ROOT_NO_CRS:
        k.printk('PCI: Ignoring host bridge windows from ACPI; if necessary, use "pci=use_crs" and report a bug')
    else:
        k.printk('PCI: Using host bridge windows from ACPI; if necessary, use "pci=nocrs" and report a bug')
    use = bios_year(k) < BIOS_YEAR_WITHOUT_E820 or bool(options.probe & Probe.USE_E820)
    use = use and not options.probe & Probe.NO_E820
    k.printk(f"PCI: {'Using' if use else 'Ignoring'} E820 reservations for host bridge windows")
    if options.probe & (Probe.USE_E820 | Probe.NO_E820):
        do = "do " if k.behaviour.pci_e820_words else ""
        k.printk(f"PCI: Please notify linux-pci@vger.kernel.org so future kernels can {do}this automatically")


def acpi_pci_root_add(k: Kernel, root: PciRoot) -> None:
    """Scan what is behind one host bridge that ACPI has found. Source: drivers/acpi/pci_root.c:acpi_pci_root_add()"""
    access = k.pci.access
    if access is None:
        return
    buses = Resource(root.bus_start, root.bus_end, IORESOURCE_BUS)
    device = f"acpi {root.hid}:{root.instance:02x}"
    negotiate_os_control(k, access, root, device)
    if not _check_ecam(k, access, root, device):
        return
    if k.pci.find_bus(root.segment, root.bus_start) is not None:
        k.printk(f"{device}: can't create root bus {root.segment:04x}:{root.bus_start:02x}: it exists")
        return
    bus = PciBus(root.segment, root.bus_start, buses)
    bus.windows = _root_resources(k, root, device)
    k.charge("pci_root_bridge_add")
    bus.control = root.osc_control or 0
    acpiphp_enumerate_slots(k, bus, root.path)
    k.printk(f"PCI host bridge to bus {bus.name}")
    node = _node_of(k, root)
    if len(k.nodes) > 1 and node is None:
        k.printk(f"pci_bus {bus.name}: Unknown NUMA node; performance will be reduced", Level.WARNING)
    for window in bus.windows:
        k.printk(f"pci_bus {bus.name}: root bus resource {window}")
    k.printk(f"pci_bus {bus.name}: root bus resource {buses}")
    k.pci.roots.append(bus)
    if k.pci.only is None:
        k.pci.only = probe_list(k)
    Scanner(k, access, k.pci.only).scan_child_bus(bus)
    pcie_bus_configure_settings(k, bus)
    if node is not None:
        k.printk(f"pci_bus {bus.name}: on NUMA node {node}")


def _node_of(k: Kernel, root: PciRoot) -> int | None:
    """The node of a root's proximity domain, None if it has none or that node is not there.

    Source: arch/x86/pci/acpi.c:pci_acpi_root_get_node() @ v6.12
    """
    if root.pxm is None:
        return None
    node = k.numa.pxm_to_node.get(root.pxm)
    return node if node in {item.nid for item in k.nodes} else None


def _root_resources(k: Kernel, root: PciRoot, device: str) -> list[Resource]:
    """The windows of _CRS, or under ``pci=nocrs`` everything. Source: arch/x86/pci/acpi.c @ v6.12"""
    if not k.pci.options.probe & Probe.ROOT_NO_CRS:
        return _windows(root)
    for window in root.windows:
        k.printk(f"{device}: host bridge window {_of_window(window)} (ignored)")
    return default_resources(k, root.bus_start)


def _of_window(window: Window) -> Resource:
    """A window as a resource; one that is no window of a bridge but what it takes itself lacks the word."""
    flags = _window_flags(window)
    if "window" not in window.flags:
        flags &= ~IORESOURCE_WINDOW
    return Resource(window.start, window.end, flags)


def _windows(root: PciRoot) -> list[Resource]:
    """The host bridge's windows, configuration ports left out, ones of a kind joined that touch and follow each other.

    Source: drivers/pci/probe.c:pci_register_host_bridge(), arch/x86/pci/acpi.c:pci_acpi_root_prepare_resources()
    """
    found = [Resource(window.start, window.end, _window_flags(window)) for window in root.windows]
    found = [
        window
        for window in found
        if window.end >= window.start
        and not (window.flags & IORESOURCE_IO and (window.start, window.end) == CONFIG_PORTS)
    ]
    joined: list[Resource] = []
    for window in found:
        if joined and joined[-1].flags == window.flags and joined[-1].end + 1 == window.start:
            joined[-1].end = window.end
        else:
            joined.append(window)
    return joined


def _window_flags(window: Window) -> int:
    if window.kind == "io":
        return IORESOURCE_IO | IORESOURCE_WINDOW
    flags = IORESOURCE_MEM | IORESOURCE_WINDOW | (0 if "readonly" in window.flags else IORESOURCE_MEM_WRITEABLE)
    flags |= IORESOURCE_PREFETCH if "pref" in window.flags else 0
    return flags | (IORESOURCE_MEM_64 if "64bit" in window.flags else 0)


def _check_ecam(k: Kernel, access: ConfigAccess, root: PciRoot, device: str) -> bool:
    """False if there is no way at all to the configuration space behind a host bridge, as it is of another segment.

    Source: arch/x86/pci/acpi.c:setup_mcfg_map(), check_segment() @ v6.12
    """
    if access.covers(root.segment, root.bus_start):
        return True
    disabled = not k.pci.options.probe & Probe.MMCONF
    cause = "MMCONFIG is disabled," if disabled else "fail to add MMCONFIG information,"
    new = k.behaviour.pci_ecam_lines == "ecam"
    space = "configuration space" if new else "PCI configuration space"
    extended, kind = ("", "host ") if root.segment else ("extended ", "")
    level = Level.ERR if root.segment else Level.WARNING
    k.printk(f"{device}: {cause} can't access {extended}{space} under this {kind}bridge{'' if new else '.'}", level)
    return not root.segment
