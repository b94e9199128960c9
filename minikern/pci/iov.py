"""Single-root I/O virtualization: room for the virtual functions' BARs, set aside while the physical one is added.

Source: drivers/pci/iov.c:sriov_init() @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.pci import messages
from minikern.pci.bars import read_base
from minikern.pci.caps import EXT_SRIOV, pci_find_ext_capability
from minikern.state.pci import IOV, TYPE_ENDPOINT, TYPE_RC_END, PciDev

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

CONTROL, TOTAL, NUMBER, OFFSET, STRIDE, PAGE_SIZES, PAGE_SIZE, FIRST_BAR = 8, 0x0E, 0x10, 0x14, 0x16, 0x1C, 0x20, 0x24
CAPABILITIES, LINK = 0x04, 0x12
ENABLED, ARI = 0x01, 0x10
BARS, PAGE_BYTES = 6, 4096
DISABLE_MS = 1000  # the device is given a second after its functions are switched off


def pci_iov_init(k: Kernel, dev: PciDev) -> None:
    """Size the virtual functions' BARs and multiply them by how many functions there can be, with the lines."""
    at = pci_find_ext_capability(dev, EXT_SRIOV) if dev.is_pcie else 0
    if not at or dev.pcie_type not in (TYPE_ENDPOINT, TYPE_RC_END):
        return
    if dev.read(at + CONTROL, 2) & ENABLED:
        dev.write(at + CONTROL, 2, 0)
        k.charge("pci_retry_ms", DISABLE_MS)
    total = dev.read(at + TOTAL, 2)
    if not total or not _prepare(dev, at, total):
        return
    dev.sriov_cap, dev.total_vfs = at, total
    index = 0
    while index < BARS:
        slot = IOV + index
        wide = read_base(k, dev, slot, at + FIRST_BAR + 4 * index)
        resource = dev.resources[slot]
        if resource.flags and resource.size % PAGE_BYTES:
            for other in range(BARS):
                dev.resources[IOV + other].flags = 0
            return
        if resource.flags:
            dev.vf_bytes[slot] = resource.size
            resource.end = resource.start + resource.size * total - 1
            messages.virtual_functions(k, dev, slot, total)
        index += 2 if wide else 1
    dev.read(at + CAPABILITIES, 4)
    dev.read(at + LINK, 1)


def _prepare(dev: PciDev, at: int, total: int) -> bool:
    """Set the capability up for sizing; False if it makes no sense."""
    first = all(other.sriov_cap == 0 for other in dev.bus.devices)
    ari = dev.bus.self_dev is not None and dev.bus.self_dev.ari_enabled
    dev.write(at + CONTROL, 2, ARI if first and ari else 0)
    dev.write(at + NUMBER, 2, 0)
    offset, stride = dev.read(at + OFFSET, 2), dev.read(at + STRIDE, 2)
    if not offset or (total > 1 and not stride):
        return False
    sizes = dev.read(at + PAGE_SIZES, 4)
    if not sizes:
        return False
    dev.write(at + PAGE_SIZE, 4, sizes & -sizes)
    return True
