"""Reading what a device decodes: BARs, ROM, and a bridge's windows.

Source: drivers/pci/probe.c @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.pci import messages
from minikern.state.pci import (
    IORESOURCE_IO,
    IORESOURCE_MEM,
    IORESOURCE_MEM_64,
    IORESOURCE_PREFETCH,
    ROM,
    WINDOWS,
    PciDev,
    Resource,
)

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

COMMAND = 0x04
DECODE = 3  # I/O and memory decoding
ONES = 0xFFFF_FFFF
IO_MASK, MEM_MASK, ROM_MASK = 0xFFFF_FFFC, 0xFFFF_FFF0, 0xFFFF_F800
IO_SPACE_LIMIT = 0xFFFF  # Source: arch/x86/include/asm/io.h @ v6.12
IO_BASE, MEMORY_BASE, PREF_BASE, PREF_BASE_UPPER, PREF_LIMIT_UPPER, IO_BASE_UPPER = 0x1C, 0x20, 0x24, 0x28, 0x2C, 0x30
IO_WINDOW, MEM_WINDOW, PREF_WINDOW = WINDOWS, WINDOWS + 1, WINDOWS + 2


def pci_size(base: int, size: int, mask: int) -> int:
    """Bytes a BAR decodes, from what it read back after ones were written; 0 if that makes no sense.

    Source: drivers/pci/probe.c:pci_size() @ v6.12
    """
    size &= mask
    if not size:
        return 0
    low = size & -size
    if base == size and (base | (low - 1)) & mask != mask:
        return 0
    return low


def pci_read_bases(k: Kernel, dev: PciDev, count: int, rom: int) -> None:
    """Size ``count`` BARs and the ROM register at ``rom``; log what decodes. Source: probe.c:pci_read_bases()"""
    index = 0
    while index < count:
        index += 2 if read_base(k, dev, index, 0x10 + 4 * index) else 1
    if rom:
        read_base(k, dev, ROM, rom)


def read_base(k: Kernel, dev: PciDev, slot: int, register: int) -> bool:
    """Size one BAR (or the ROM); True if it takes two registers. Source: probe.c:__pci_read_base() @ v6.12"""
    ones = ROM_MASK if slot == ROM else ONES
    command = dev.read(COMMAND, 2)
    if command & DECODE:
        dev.write(COMMAND, 2, command & ~DECODE)
    low, sizing = _toggle(dev, register, ones)
    flags, mask = _decode(slot, low)
    base, size, wide_mask = low & mask, sizing & mask, mask & (IO_SPACE_LIMIT if flags & IORESOURCE_IO else ONES)
    if flags & IORESOURCE_MEM_64:
        high, high_sizing = _toggle(dev, register + 4, ONES, upper=True)
        base, size, wide_mask = base | high << 32, size | high_sizing << 32, wide_mask | ONES << 32
    if command & DECODE:
        dev.write(COMMAND, 2, command)
    wide = bool(flags & IORESOURCE_MEM_64)
    if not size:
        return False
    length = pci_size(base, size, wide_mask)
    if not length:
        messages.unsizable(k, dev, slot, register)
        return False
    resource = Resource(base, base + length - 1, flags)
    dev.resources[slot] = resource
    messages.found(k, dev, slot, register)
    return wide


def _toggle(dev: PciDev, register: int, ones: int, upper: bool = False) -> tuple[int, int]:
    """(value, value read back after writing ones); the register is restored."""
    value = dev.read(register, 4)
    dev.write(register, 4, (value | ones) if not upper else ones)
    sizing = dev.read(register, 4)
    dev.write(register, 4, value)
    if upper:
        return value, sizing
    # All ones mean that nothing answered.
    return (0 if value == ONES else value), (0 if sizing == ONES else sizing)


def _decode(slot: int, low: int) -> tuple[int, int]:
    """(resource flags, address mask) of a BAR's type bits. Source: probe.c:decode_bar() @ v6.12"""
    if slot == ROM:
        return IORESOURCE_MEM | IORESOURCE_PREFETCH, ROM_MASK
    if low & 1:
        return IORESOURCE_IO, IO_MASK
    flags = IORESOURCE_MEM | (IORESOURCE_PREFETCH if low & 8 else 0)
    return flags | (IORESOURCE_MEM_64 if low & 6 == 4 else 0), MEM_MASK


# bridge windows


def pci_read_bridge_io(dev: PciDev) -> Resource | None:
    """The I/O window as its registers say, None if closed. Source: probe.c:pci_read_bridge_io() @ v6.12"""
    registers = dev.read(IO_BASE, 2)
    base, limit = (registers & 0xF0) << 8, registers & 0xF000
    if registers & 0x0F == 1:
        upper = dev.read(IO_BASE_UPPER, 4)
        base, limit = base | (upper & 0xFFFF) << 16, limit | (upper >> 16) << 16
    return Resource(base, limit + 0xFFF, IORESOURCE_IO) if base <= limit else None


def pci_read_bridge_mmio(dev: PciDev) -> Resource | None:
    """The memory window, None if closed. Source: probe.c:pci_read_bridge_mmio() @ v6.12"""
    registers = dev.read(MEMORY_BASE, 4)
    base, limit = (registers & 0xFFF0) << 16, registers & 0xFFF0_0000
    return Resource(base, limit + 0xF_FFFF, IORESOURCE_MEM) if base <= limit else None


def pci_read_bridge_mmio_pref(dev: PciDev) -> Resource | None:
    """The prefetchable window, None if closed. Source: probe.c:pci_read_bridge_mmio_pref() @ v6.12"""
    registers = dev.read(PREF_BASE, 4)
    base, limit = (registers & 0xFFF0) << 16, registers & 0xFFF0_0000
    flags = IORESOURCE_MEM | IORESOURCE_PREFETCH
    if registers & 0x0F == 1:
        base |= dev.read(PREF_BASE_UPPER, 4) << 32
        limit |= dev.read(PREF_LIMIT_UPPER, 4) << 32
        flags |= IORESOURCE_MEM_64
    return Resource(base, limit + 0xF_FFFF, flags) if base <= limit else None


def read_windows(dev: PciDev) -> list[Resource | None]:
    """The three windows in slot order: I/O, memory, prefetchable."""
    pref = pci_read_bridge_mmio_pref(dev) if dev.pref_window else None
    return [pci_read_bridge_io(dev) if dev.io_window else None, pci_read_bridge_mmio(dev), pref]


def pci_read_bridge_windows(k: Kernel, dev: PciDev) -> None:
    """Find out which windows the bridge implements; releases from 6.9 on also log them here.

    Source: drivers/pci/probe.c:pci_read_bridge_windows() @ v6.12
    """
    early_lines = bridge_lines_early(k)
    buses = dev.read(0x18, 4) if early_lines else 0
    io = dev.read(IO_BASE, 2)
    if not io:
        dev.write(IO_BASE, 2, 0xE0F0)
        io = dev.read(IO_BASE, 2)
        dev.write(IO_BASE, 2, 0)
    dev.io_window = io != 0
    pref = dev.read(PREF_BASE, 4)
    if not pref:
        dev.write(PREF_BASE, 4, 0xFFE0_FFF0)
        pref = dev.read(PREF_BASE, 4)
        dev.write(PREF_BASE, 4, 0)
    dev.pref_window = pref != 0
    if pref & 0x0F == 1:
        upper = dev.read(PREF_BASE_UPPER, 4)
        dev.write(PREF_BASE_UPPER, 4, ONES)
        dev.pref_64_window = dev.read(PREF_BASE_UPPER, 4) != 0
        dev.write(PREF_BASE_UPPER, 4, upper)
    if early_lines:
        secondary, subordinate = buses >> 8 & 0xFF, buses >> 16 & 0xFF
        k.printk(f"pci {dev.name}: PCI bridge to {bus_range(secondary, subordinate)}{_subtractive(dev)}")
        for window in read_windows(dev):
            if window is not None:
                k.printk(f"pci {dev.name}:   bridge window {window}")


def bridge_lines_early(k: Kernel) -> bool:
    """True if this release logs a bridge's windows when the bridge itself is found."""
    return k.behaviour.pci_bridge_lines_early


def bus_range(first: int, last: int) -> str:
    """A range of buses as the log prints it."""
    return f"[bus {first:02x}]" if first == last else f"[bus {first:02x}-{last:02x}]"


def _subtractive(dev: PciDev) -> str:
    return " (subtractive decode)" if dev.transparent else ""


def pci_read_bridge_bases(k: Kernel, dev: PciDev) -> None:
    """Take over the windows of the bridge above a bus that was just scanned.

    Source: drivers/pci/probe.c:pci_read_bridge_bases() @ v6.12
    """
    child = dev.subordinate
    assert child is not None and child.parent is not None
    k.printk(f"pci {dev.name}: PCI bridge to {child.busn}{_subtractive(dev)}")
    for slot, window in enumerate(read_windows(dev)):
        if window is not None:
            dev.resources[WINDOWS + slot] = window
            if not bridge_lines_early(k):
                k.printk(f"pci {dev.name}:   bridge window {window}")
    child.windows = dev.resources[WINDOWS:]
    if dev.transparent:
        for window in child.parent.windows:
            if window.flags and len(child.windows) < 64:
                child.windows.append(window)
                k.printk(f"pci {dev.name}:   bridge window {window} (subtractive decode)")
