"""Setting up one function: identity, resources, quirks, configuration, capabilities.

Source: drivers/pci/probe.c:pci_setup_device(), pci_device_add() @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.pci.acs import pci_acs_init
from minikern.pci.alignment import reassigndev_resource_alignment
from minikern.pci.bars import COMMAND, pci_read_bases, pci_read_bridge_windows
from minikern.pci.caps import (
    CAP_EA,
    CAP_EXP,
    CAP_MSI,
    CAP_MSIX,
    CAP_PCIX,
    CAP_PM,
    CAP_SSVID,
    CAP_VPD,
    EXP_DEVCAP,
    EXP_DEVCAP2,
    EXP_DEVCTL,
    EXP_DEVCTL2,
    EXP_FLAGS,
    EXP_LNKCAP,
    EXP_SLTCAP,
    EXT_AER,
    EXT_ARI,
    EXT_ATS,
    EXT_DPC,
    EXT_PASID,
    EXT_PRI,
    EXT_PTM,
    EXT_VSEC,
    pci_find_capability,
    pci_find_ext_capability,
)
from minikern.pci.dma_alias import fixup_aliases
from minikern.pci.iov import pci_iov_init
from minikern.pci.link import pcie_report_downtraining
from minikern.pci.payload import pci_configure_mps
from minikern.pci.quirks import fixup_header, legacy_ide
from minikern.state.pci import (
    TYPE_DOWNSTREAM,
    TYPE_ROOT_PORT,
    TYPE_UPSTREAM,
    PciDev,
    Resource,
)

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

HOST_BRIDGE = 0x0600
INTX_DISABLE = 0x400
EXT_TAG_CAP, EXT_TAG_CONTROL = 0x20, 0x100
ARI_FORWARDING = 0x20
PME_STATES = ((0x0800, "D0"), (0x1000, "D1"), (0x2000, "D2"), (0x4000, "D3hot"), (0x8000, "D3cold"))
OTHER_EXT_CAPS = (EXT_ATS, EXT_PRI, EXT_PASID)
LATE_EXT_CAPS = (EXT_PTM, EXT_AER, EXT_DPC)

PORT_NAMES = {
    0: "PCIe Endpoint",
    1: "PCIe Legacy Endpoint",
    4: "PCIe Root Port",
    5: "PCIe Switch Upstream Port",
    6: "PCIe Switch Downstream Port",
    7: "PCIe to PCI/PCI-X bridge",
    8: "PCI/PCI-X to PCIe bridge",
    9: "PCIe Root Complex Integrated Endpoint",
    10: "PCIe Root Complex Event Collector",
}
HEADER_NAMES = {0: "conventional PCI endpoint", 1: "conventional PCI bridge", 2: "CardBus bridge"}


def pci_setup_device(k: Kernel, dev: PciDev) -> bool:
    """Fill in what a device is and decodes, with its log lines; False if the header type is unknown."""
    header = dev.read(0x0E, 1)
    dev.hdr_type, dev.multifunction = header & 0x7F, bool(header & 0x80)
    _set_pcie_port_type(dev)
    revision = dev.read(0x08, 4)
    dev.revision, dev.class_code = revision & 0xFF, revision >> 8
    _log_identity(k, dev)
    if k.pci.options.early_dump:
        _early_dump(k, dev)
    dev.cfg_size = _cfg_space_size(dev)
    pci_find_ext_capability(dev, EXT_VSEC)
    _test_intx_masking(dev)
    if dev.hdr_type == 0:
        _read_irq(dev)
        pci_read_bases(k, dev, 6, 0x30)
        dev.read(0x2C, 2)
        dev.read(0x2E, 2)
        legacy_ide(k, dev)
    elif dev.hdr_type == 1:
        _read_irq(dev)
        dev.transparent = dev.class_code & 0xFF == 1
        pci_read_bases(k, dev, 2, 0x38)
        pci_read_bridge_windows(k, dev)
        _set_pcie_hotplug_bridge(dev)
        at = pci_find_capability(dev, CAP_SSVID)
        if at:
            dev.read(at + 4, 2)
            dev.read(at + 6, 2)
    elif dev.is_cardbus:
        _read_irq(dev)
        pci_read_bases(k, dev, 1, 0)
        dev.resources.append(Resource())  # the fourth window
        dev.read(0x40, 2)
        dev.read(0x42, 2)
    else:
        k.printk(f"pci {dev.name}: unknown header type {dev.hdr_type:02x}, ignoring device")
        return False
    return True


def _log_identity(k: Kernel, dev: PciDev) -> None:
    text = f"pci {dev.name}: [{dev.vendor:04x}:{dev.device:04x}] type {dev.hdr_type:02x} class {dev.class_code:#08x}"
    if k.behaviour.pci_device_type_text:
        if dev.is_pcie:
            text += " " + PORT_NAMES.get(dev.pcie_type, "PCIe unknown")
        else:
            text += " " + HEADER_NAMES.get(dev.hdr_type, "conventional PCI")
    k.printk(text)


def _early_dump(k: Kernel, dev: PciDev) -> None:
    """Source: drivers/pci/probe.c:early_dump_pci_device() @ v6.12"""
    k.printk(f"pci {dev.name}: config space:")
    data = b"".join(dev.read(at, 4).to_bytes(4, "little") for at in range(0, 256, 4))
    for at in range(0, 256, 16):
        k.printk(f"{at:08x}: {data[at : at + 16].hex(' ')}")


def _set_pcie_port_type(dev: PciDev) -> None:
    at = pci_find_capability(dev, CAP_EXP)
    if not at:
        return
    dev.pcie_cap = at
    flags = dev.read(at + EXP_FLAGS, 2)
    dev.pcie_version, dev.pcie_type = flags & 0xF, flags >> 4 & 0xF
    dev.read(at + EXP_DEVCAP, 4)
    if dev.pcie_type in (TYPE_UPSTREAM, TYPE_DOWNSTREAM, TYPE_ROOT_PORT):
        dev.read(at + EXP_LNKCAP, 4)


def _cfg_space_size(dev: PciDev) -> int:
    """256 or 4096. Source: drivers/pci/probe.c:pci_cfg_space_size() @ v6.12"""
    if not dev.bus.ext_config:
        return 256
    if dev.class_code >> 8 != HOST_BRIDGE and not dev.is_pcie:
        at = pci_find_capability(dev, CAP_PCIX)
        if not at or not dev.read(at + 4, 4) & 0xC000_0000:
            return 256
    status = dev.read(256, 4)
    if status == 0xFFFF_FFFF:
        return 256
    header = dev.read(0, 4)
    # Some bridges drop the upper offset bits, so that the header shows again every 256 bytes.
    aliased = all(dev.read(at, 4) == header for at in range(256, 4096, 256))
    return 256 if aliased else 4096


def _test_intx_masking(dev: PciDev) -> None:
    command = dev.read(COMMAND, 2)
    dev.write(COMMAND, 2, command ^ INTX_DISABLE)
    toggled = dev.read(COMMAND, 2)
    if toggled != command:
        dev.write(COMMAND, 2, command)


def _read_irq(dev: PciDev) -> None:
    dev.pin = dev.read(0x3D, 1)
    if dev.pin:
        dev.irq = dev.read(0x3C, 1)


def _set_pcie_hotplug_bridge(dev: PciDev) -> None:
    if dev.is_pcie and dev.pcie_type in (TYPE_ROOT_PORT, TYPE_DOWNSTREAM):
        slot = dev.read(dev.pcie_cap + EXP_FLAGS, 2) & 0x100
        dev.is_hotplug_bridge = bool(slot and dev.read(dev.pcie_cap + EXP_SLTCAP, 4) & 0x40)


# pci_device_add


def pci_device_add(k: Kernel, dev: PciDev) -> None:
    """Configure a device that was set up, and put it on its bus. Source: probe.c:pci_device_add() @ v6.12"""
    _pci_configure_device(k, dev)
    fixup_header(k, dev)
    fixup_aliases(k, dev)
    reassigndev_resource_alignment(k, dev)
    _pci_init_capabilities(k, dev)
    dev.bus.devices.append(dev)
    k.pci.devices.append(dev)
    dev.access.charge(k)
    k.charge("pci_device_add")


def _pci_configure_device(k: Kernel, dev: PciDev) -> None:
    if not dev.is_pcie:
        return
    pci_configure_mps(k, dev)
    capabilities = dev.read(dev.pcie_cap + EXP_DEVCAP, 4)
    if capabilities & EXT_TAG_CAP:
        control = dev.read(dev.pcie_cap + EXP_DEVCTL, 2)
        if not control & EXT_TAG_CONTROL:
            k.printk(f"pci {dev.name}: enabling Extended Tags")
            dev.write(dev.pcie_cap + EXP_DEVCTL, 2, control | EXT_TAG_CONTROL)
    dev.read(dev.pcie_cap + EXP_DEVCAP2, 4)  # latency tolerance reporting


def _pci_init_capabilities(k: Kernel, dev: PciDev) -> None:
    for capability in (CAP_EA, CAP_MSI, CAP_MSIX):
        at = pci_find_capability(dev, capability)
        if at and capability != CAP_EA:
            dev.read(at + 2, 2)
    _pci_pm_init(k, dev)
    pci_find_capability(dev, CAP_VPD)
    _pci_configure_ari(k, dev)
    pci_iov_init(k, dev)
    for capability in OTHER_EXT_CAPS:
        pci_find_ext_capability(dev, capability)
    pci_acs_init(k, dev)
    for capability in LATE_EXT_CAPS:
        pci_find_ext_capability(dev, capability)
    pcie_report_downtraining(k, dev)


def _pci_pm_init(k: Kernel, dev: PciDev) -> None:
    at = pci_find_capability(dev, CAP_PM)
    if not at:
        return
    cap = dev.read(at + 2, 2)
    if cap & 7 > 3:
        k.printk(f"pci {dev.name}: unsupported PM cap regs version ({cap & 7})")
        return
    low = [name for bit, name in ((0x200, "D1"), (0x400, "D2")) if cap & bit]
    if low:
        k.printk(f"pci {dev.name}: supports {' '.join(low)}")
    states = [name for bit, name in PME_STATES if cap & bit]
    if states:
        k.printk(f"pci {dev.name}: PME# supported from {' '.join(states)}")
        control = dev.read(at + 4, 2)
        dev.write(at + 4, 2, control & ~0x100 | 0x8000)
    dev.read(0x06, 2)


def _pci_configure_ari(k: Kernel, dev: PciDev) -> None:
    bridge = dev.bus.self_dev
    if not k.pci.options.ari or not dev.is_pcie or dev.devfn or bridge is None or not bridge.is_pcie:
        return
    if not bridge.read(bridge.pcie_cap + EXP_DEVCAP2, 4) & ARI_FORWARDING:
        return
    control = bridge.read(bridge.pcie_cap + EXP_DEVCTL2, 2)
    bridge.ari_enabled = bool(pci_find_ext_capability(dev, EXT_ARI))
    wanted = control | ARI_FORWARDING if bridge.ari_enabled else control & ~ARI_FORWARDING
    bridge.write(bridge.pcie_cap + EXP_DEVCTL2, 2, wanted)


def ext_config_below(bridge: PciDev) -> bool:
    """True if extended configuration space can be reached behind a bridge.

    Source: drivers/pci/probe.c:pci_bridge_child_ext_cfg_accessible() @ v6.12
    """
    if not bridge.bus.ext_config:
        return False
    if bridge.is_pcie and bridge.pcie_type in (TYPE_ROOT_PORT, TYPE_UPSTREAM, TYPE_DOWNSTREAM):
        return True
    # Of the other bridges only those in PCI-X mode 2 carry it to their secondary side.
    at = pci_find_capability(bridge, CAP_PCIX)
    return bool(at and bridge.read(at + 4, 4) & 0xC000_0000)
