"""Devices whose requests carry another function's id, so that the IOMMU can not tell the two apart.

Source: drivers/pci/quirks.c, drivers/pci/pci.c:pci_add_dma_alias(), pci_devs_are_dma_aliases() @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.pci.device_quirks import AliasQuirk, device_quirks
from minikern.state.pci import PciDev

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

SUBSYSTEM = 0x2C
SLOTS, VCA_FUNCTIONS = 32, 5


def fixup_aliases(k: Kernel, dev: PciDev) -> None:
    """Note the ids a device sends under, with their lines. Source: quirks.c:quirk_dma_func0_alias() and others"""
    for row in device_quirks().alias:
        if row.matches(dev) and _subsystem(dev, row):
            for first, count in _aliases(dev, row):
                _add(k, dev, first, count)


def _subsystem(dev: PciDev, row: AliasQuirk) -> bool:
    if not row.subsystems:
        return True
    return f"{dev.read(SUBSYSTEM, 2):04x}:{dev.read(SUBSYSTEM + 2, 2):04x}" in row.subsystems


def _aliases(dev: PciDev, row: AliasQuirk) -> list[tuple[int, int]]:
    """(first devfn, how many) of each alias."""
    slot, function = dev.devfn & ~7, dev.devfn & 7
    if row.rule in ("function-0", "function-1"):
        other = 0 if row.rule == "function-0" else 1
        return [(slot | other, 1)] if function != other else []
    if row.rule == "device-1":
        return [(1 << 3, 1)]
    if row.rule == "mic-x200":
        return [(0x10 << 3, 1), (0x11 << 3, 1), (0x12 << 3 | 3, 1)]
    return [(number << 3, VCA_FUNCTIONS) for number in range(SLOTS)]


def _add(k: Kernel, dev: PciDev, first: int, count: int) -> None:
    dev.dma_aliases.update(range(first, first + count))
    if count == 1:
        k.printk(f"pci {dev.name}: Enabling fixed DMA alias to {_place(first)}")
    else:
        last = first + count - 1
        k.printk(
            f"pci {dev.name}: Enabling fixed DMA alias for devfn range from {_place(first)} to {_place(last)}"
        )


def _place(devfn: int) -> str:
    return f"{devfn >> 3:02x}.{devfn & 7}"


def are_aliases(one: PciDev, other: PciDev) -> bool:
    """True if either sends under the other's id; both are on one bus."""
    return other.devfn in one.dma_aliases or one.devfn in other.dma_aliases
