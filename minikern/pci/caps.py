"""Walking the capability lists. Source: drivers/pci/pci.c @ v6.12"""

from __future__ import annotations

from minikern.state.pci import PciDev

CAP_PM, CAP_VPD, CAP_MSI, CAP_PCIX = 0x01, 0x03, 0x05, 0x07
CAP_SSVID, CAP_EXP, CAP_MSIX, CAP_EA = 0x0D, 0x10, 0x11, 0x14
EXT_AER, EXT_VSEC, EXT_ACS, EXT_ARI, EXT_ATS, EXT_SRIOV = 0x01, 0x0B, 0x0D, 0x0E, 0x0F, 0x10
EXT_PRI, EXT_PASID, EXT_DPC, EXT_PTM = 0x13, 0x1B, 0x1D, 0x1F

CARDBUS_LIST = 0x14
FIND_TTL = 48
EXT_TTL = (4096 - 256) // 8

EXP_FLAGS, EXP_DEVCAP, EXP_DEVCTL, EXP_LNKCAP, EXP_SLTCAP = 0x02, 0x04, 0x08, 0x0C, 0x14
EXP_LNKSTA, EXP_DEVCAP2, EXP_DEVCTL2, EXP_LNKCAP2, EXP_SLTCAP2 = 0x12, 0x24, 0x28, 0x2C, 0x34


def pci_find_capability(dev: PciDev, wanted: int) -> int:
    """Offset of a capability, 0 if the device has none. Source: drivers/pci/pci.c:pci_find_capability() @ v6.12"""
    if not dev.read(0x06, 2) & 0x10:
        return 0
    at = dev.read(CARDBUS_LIST if dev.is_cardbus else 0x34, 1)
    for _ in range(FIND_TTL):
        if at < 0x40:
            return 0
        at &= ~3
        entry = dev.read(at, 2)
        if entry & 0xFF == 0xFF:
            return 0
        if entry & 0xFF == wanted:
            return at
        at = entry >> 8
    return 0


def pci_find_ext_capability(dev: PciDev, wanted: int) -> int:
    """Offset of an extended capability, 0 if none. Source: drivers/pci/pci.c:pci_find_ext_capability() @ v6.12"""
    if dev.cfg_size <= 256:
        return 0
    at = 256
    for _ in range(EXT_TTL):
        header = dev.read(at, 4)
        if header in (0, 0xFFFF_FFFF):
            return 0
        if header & 0xFFFF == wanted and at:
            return at
        at = header >> 20 & 0xFFC
        if at < 256:
            return 0
    return 0
