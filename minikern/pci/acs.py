"""Access control services: who is kept apart from whom, by the capability or by what is known of a device.

Source: drivers/pci/pci.c, drivers/pci/quirks.c @ v6.12
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from minikern.core.printk import Level
from minikern.pci.acs_words import apply_command_line
from minikern.pci.caps import EXT_ACS, pci_find_ext_capability
from minikern.pci.device_quirks import DOUBLE_WORD_CTRL, AcsQuirk, AcsRule, device_quirks, port_rule
from minikern.state.pci import (
    TYPE_DOWNSTREAM,
    TYPE_ENDPOINT,
    TYPE_LEGACY,
    TYPE_PCI_BRIDGE,
    TYPE_PCIE_BRIDGE,
    TYPE_RC_EC,
    TYPE_RC_END,
    TYPE_ROOT_PORT,
    TYPE_UPSTREAM,
    PciDev,
)

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

ACS_SV, ACS_TB, ACS_RR, ACS_CR, ACS_UF, ACS_EC = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
REQ_ACS_FLAGS = ACS_SV | ACS_RR | ACS_CR | ACS_UF
OVERRIDABLE = (TYPE_ENDPOINT, TYPE_UPSTREAM, TYPE_LEGACY, TYPE_RC_END)
CAP, CTRL = 4, 6
LPC = 31 << 3
RCBA, RCBA_ENABLE, RCBA_BASE = 0xF0, 1, 0xFFFF_C000
BACKBONE_SCRATCH, PEERS_DISABLED = 0x1104, 0x300
PEER_DECODE, PEER_DECODE_BITS = 0x1014, 0x3F
PORT_CONFIGURATION, CHECK_BUS_NUMBERS = 0xD8, 1 << 26
"""Source: drivers/pci/quirks.c:INTEL_LPC_RCBA_REG, INTEL_BSPR_REG, INTEL_UPDCR_REG, INTEL_MPC_REG @ v6.12"""


def pci_acs_init(k: Kernel, dev: PciDev) -> None:
    """Find ACS; turn it on if an IOMMU asked for isolation. Source: drivers/pci/pci.c:pci_acs_init() @ v6.12"""
    dev.acs_cap = pci_find_ext_capability(dev, EXT_ACS)
    firmware = dev.read(dev.acs_cap + CTRL, 2) if dev.acs_cap and k.pci.options.config_acs else 0
    if k.pci.acs_requested and not _enable_specific(k, dev) and dev.acs_cap:
        capabilities, control = dev.read(dev.acs_cap + CAP, 2), dev.read(dev.acs_cap + CTRL, 2)
        dev.write(dev.acs_cap + CTRL, 2, control | capabilities & _wanted(k))
    apply_command_line(k, dev, firmware)


def _wanted(k: Kernel) -> int:
    # Without address translation services nobody may send translated addresses. Source: pci_std_enable_acs() @ v6.1
    return REQ_ACS_FLAGS | (0 if k.pci.options.ats else ACS_TB)


def _enable_specific(k: Kernel, dev: PciDev) -> bool:
    """Turn isolation on where that takes other registers; False for all other devices.

    Source: drivers/pci/quirks.c:pci_dev_specific_enable_acs() @ v6.12
    """
    if port_rule(dev, "pch"):
        _enable_pch(k, dev)
        return True
    if dev.acs_cap and port_rule(dev, "pch-double-words"):
        capabilities, control = (dev.read(dev.acs_cap + at, 4) for at in (CAP, DOUBLE_WORD_CTRL))
        dev.write(dev.acs_cap + DOUBLE_WORD_CTRL, 4, control | capabilities & _wanted(k))
        k.printk(f"pci {dev.name}: Intel SPT PCH root port ACS workaround enabled")
        return True
    return False


def _enable_pch(k: Kernel, dev: PciDev) -> None:
    """Source: drivers/pci/quirks.c:pci_quirk_enable_intel_pch_acs() @ v6.12"""
    rcba = dev.access.read(dev.bus.segment, dev.bus.number, LPC, RCBA, 4)
    if not rcba & RCBA_ENABLE:
        k.printk(f"pci {dev.name}: Failed to enable Intel PCH ACS quirk", Level.WARNING)
        return
    cpu, base = k.machine.boot_cpu, rcba & RCBA_BASE
    if cpu.read(base + BACKBONE_SCRATCH, 4) & PEERS_DISABLED != PEERS_DISABLED:
        decodes = cpu.read(base + PEER_DECODE, 4)
        if decodes & PEER_DECODE_BITS:
            k.printk(f"pci {dev.name}: Disabling UPDCR peer decodes")
            cpu.write(base + PEER_DECODE, 4, decodes & ~PEER_DECODE_BITS)
    configuration = dev.read(PORT_CONFIGURATION, 4)
    if not configuration & CHECK_BUS_NUMBERS:
        k.printk(f"pci {dev.name}: Enabling MPC IRBNCE")
        # The bit lies in the upper half, which this does not reach.
        dev.write(PORT_CONFIGURATION, 2, configuration & 0xFFFF)
    dev.acs_by_quirk = True
    k.printk(f"pci {dev.name}: Intel PCH root port ACS workaround enabled")


def pci_acs_enabled(k: Kernel, dev: PciDev) -> bool:
    """True if the device can not reach its peers past the IOMMU. Source: drivers/pci/pci.c:pci_acs_enabled() @ v6.12"""
    known = _known(k, dev)
    if known is not None:
        return known
    if not dev.is_pcie or dev.pcie_type in (TYPE_PCI_BRIDGE, TYPE_PCIE_BRIDGE, TYPE_RC_EC):
        return False
    if dev.pcie_type in (TYPE_ROOT_PORT, TYPE_DOWNSTREAM) or dev.multifunction:
        return _flags_enabled(dev, 2, CTRL)
    return True


def _flags_enabled(dev: PciDev, size: int, control: int) -> bool:
    """What the device implements of the wanted controls must be on. Source: pci.c:pci_acs_flags_enabled()"""
    if not dev.acs_cap:
        return False
    wanted = REQ_ACS_FLAGS & (dev.read(dev.acs_cap + CAP, size) | ACS_EC)
    return dev.read(dev.acs_cap + control, size) & wanted == wanted


def _known(k: Kernel, dev: PciDev) -> bool | None:
    """What the table knows, None if nothing. Source: drivers/pci/quirks.c:pci_dev_specific_acs_enabled() @ v6.12"""
    for row in device_quirks().acs:
        if row.matches(dev) and _turned_on(k, row):
            found = RULES[row.rule](k, dev, row)
            if found is not None:
                return found
    return True if _overridden(k, dev) else None


def _overridden(k: Kernel, dev: PciDev) -> bool:
    """True if a patch that is not upstream takes the device to isolate; never one that has the capability.

    Source: pcie_acs_override=, posted as "PCI: ACS quirks for non-compliant devices", 2013
    """
    words = k.experiment.acs_override.split(",")
    if not dev.is_pcie or dev.acs_cap or words == [""]:
        return False
    if dev.pcie_type in (TYPE_ROOT_PORT, TYPE_DOWNSTREAM):
        return "downstream" in words
    return dev.pcie_type in OVERRIDABLE and "multifunction" in words and dev.multifunction


def _turned_on(k: Kernel, row: AcsQuirk) -> bool:
    return k.behaviour.acs_integrated_endpoints if row.fork == "acs_integrated_endpoints" else True


def _southbridge(k: Kernel, dev: PciDev, row: AcsQuirk) -> bool | None:
    return True if dev.multifunction and dev.bus.is_root and k.acpi.table("IVRS") else None


def _of_types(*types: int) -> Callable[[Kernel, PciDev, AcsQuirk], bool | None]:
    return lambda k, dev, row: True if dev.is_pcie and dev.pcie_type in types else None


def _untrusted_port(k: Kernel, dev: PciDev, row: AcsQuirk) -> bool | None:
    return False if dev.is_pcie and dev.pcie_type in (TYPE_ROOT_PORT, TYPE_DOWNSTREAM) else None


def _pch(k: Kernel, dev: PciDev, row: AcsQuirk) -> bool | None:
    return dev.acs_by_quirk if dev.is_pcie and dev.pcie_type == TYPE_ROOT_PORT else None


def _pch_double_words(k: Kernel, dev: PciDev, row: AcsQuirk) -> bool | None:
    at_root = dev.is_pcie and dev.pcie_type == TYPE_ROOT_PORT
    return _flags_enabled(dev, 4, DOUBLE_WORD_CTRL) if at_root and dev.acs_cap else None


RULES: dict[AcsRule, Callable[[Kernel, PciDev, AcsQuirk], bool | None]] = {
    "isolates": lambda k, dev, row: True,
    "never": lambda k, dev, row: False,
    "integrated": _of_types(TYPE_RC_END),
    "root-port": _of_types(TYPE_ROOT_PORT),
    "port": _of_types(TYPE_ROOT_PORT, TYPE_DOWNSTREAM),
    "port-not": _untrusted_port,
    "southbridge": _southbridge,
    "pch": _pch,
    "pch-double-words": _pch_double_words,
}
