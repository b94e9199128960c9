"""Bridges to slots for CardBus cards: always numbered anew, with room kept for what may be put in.

Source: drivers/pci/probe.c:pci_scan_bridge_extend(), drivers/pci/setup-bus.c:pci_bus_size_cardbus(),
pci_setup_cardbus() @ v6.12; drivers/pci/setup-cardbus.c from v7.0 on
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.state.pci import IORESOURCE_IO, IORESOURCE_MEM, IORESOURCE_PREFETCH, WINDOWS, PciBus, PciDev, Resource

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

CARDBUS_LATENCY, RESERVED_BUSES = 176, 3
BRIDGE_CONTROL, PREFETCH_0, PREFETCH_1 = 0x3E, 0x0100, 0x0200
REGISTERS = ((0x2C, 0x30), (0x34, 0x38), (0x1C, 0x20), (0x24, 0x28))
"""Base and limit of each window: two of ports, two of memory."""


def reserved_for_cards(k: Kernel, bus: PciBus, number: int) -> int:
    """Bus numbers kept behind ``number``, as a card can have a bridge of its own; fewer where the bridges above end.

    Source: drivers/pci/probe.c:pci_scan_bridge_extend() @ v6.12
    """
    for count in range(RESERVED_BUSES):
        if k.pci.find_bus(bus.segment, number + count + 1) is not None:
            return count
        if any(number < end <= number + count for end in _ends_above(bus)):
            return count // 2
    return RESERVED_BUSES


def _ends_above(bus: PciBus) -> list[int]:
    ends: list[int] = []
    here = bus
    while here.parent is not None:
        ends.append(here.busn.end)
        here = here.parent
    return ends


def pci_bus_size_cardbus(k: Kernel, dev: PciDev, extra: dict[int, int] | None) -> None:
    """Room of a fixed size for each window; all of it optional where ``extra`` takes what is."""
    ports, memory = k.pci.options.cardbus_io, k.pci.options.cardbus_mem
    sizes = [(ports, IORESOURCE_IO), (ports, IORESOURCE_IO)]
    if _prefetches(dev):
        sizes += [(memory, IORESOURCE_MEM | IORESOURCE_PREFETCH), (memory, IORESOURCE_MEM)]
    else:
        sizes += [(0, 0), (2 * memory, IORESOURCE_MEM)]
    for window, (size, flags) in zip(dev.resources[WINDOWS:], sizes, strict=True):
        if size and window.parent is None:
            align = memory if flags & IORESOURCE_MEM else size
            window.start, window.end, window.align = align, align + size - 1, align
            window.flags |= flags
            if extra is not None:
                window.end = window.start - 1
                extra[id(window)] = size


def _prefetches(dev: PciDev) -> bool:
    """Whether the first memory window can be prefetchable; the second is not to be."""
    control = dev.read(BRIDGE_CONTROL, 2)
    if control & PREFETCH_1:
        control &= ~PREFETCH_1
        dev.write(BRIDGE_CONTROL, 2, control)
    if not control & PREFETCH_0:
        dev.write(BRIDGE_CONTROL, 2, control | PREFETCH_0)
    return bool(dev.read(BRIDGE_CONTROL, 2) & PREFETCH_0)


def pci_setup_cardbus(k: Kernel, dev: PciDev) -> None:
    """Write the windows that have a place, and log them."""
    assert dev.subordinate is not None
    k.printk(f"pci {dev.name}: CardBus bridge to {dev.subordinate.busn}")
    windows: list[Resource] = dev.resources[WINDOWS:]
    for window, (base, limit) in zip(windows, REGISTERS, strict=True):
        if window.parent is not None:
            k.printk(f"pci {dev.name}:   bridge window {window}")
            dev.write(base, 4, window.start)
            dev.write(limit, 4, window.end)
