"""Keeping the firmware's assignments, and giving room to what has none.

Source: arch/x86/pci/i386.c, drivers/pci/setup-bus.c, drivers/pci/setup-res.c @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.pci.bars import COMMAND, resource_name
from minikern.pci.probe import all_buses
from minikern.pci.sizing import Extra, pci_bus_size_bridges
from minikern.pci.types import (
    IORESOURCE_IO,
    IORESOURCE_MEM,
    IORESOURCE_MEM_64,
    IORESOURCE_PREFETCH,
    IORESOURCE_UNSET,
    ROM,
    TYPE_BITS,
    WINDOWS,
    PciBus,
    PciDev,
    Resource,
)

if TYPE_CHECKING:
    from minikern.kernel import Kernel

MIN_IO, MIN_MEM = 0x1000, 0x1000_0000  # Source: arch/x86/include/asm/pci.h @ v6.12
BIOS_END = 0x10_0000
FOUR_GIB = 1 << 32
NO_CLASS, HOST_BRIDGE = 0x0000, 0x0600
CACHE_LINE_BYTES = 64


def pci_subsys_init(k: Kernel) -> None:
    """Interrupt routing is ACPI's; take over what the firmware assigned. Source: arch/x86/pci/legacy.c"""
    if k.pci.access is None:
        return
    k.printk("PCI: Using ACPI for IRQ routing")
    k.printk(f"PCI: pci_cache_line_size set to {CACHE_LINE_BYTES} bytes")
    for bus in all_buses(k.pci.roots):
        _claim_windows(k, bus)
    for disabled in (False, True):
        for bus in all_buses(k.pci.roots):
            for dev in bus.devices:
                _claim_bars(k, dev, disabled)
    k.pci.access.charge(k)


def _claim_windows(k: Kernel, bus: PciBus) -> None:
    dev = bus.self_dev
    if dev is None:
        return
    for slot in range(WINDOWS, WINDOWS + 3):
        window = dev.resources[slot]
        if window.flags and (not window.start or not _claim(k, dev, slot)):
            window.start, window.end, window.flags = 0, -1, 0


def _claim_bars(k: Kernel, dev: PciDev, disabled: bool) -> None:
    command = dev.read(COMMAND, 2)
    for slot in range(ROM):
        resource = dev.resources[slot]
        if resource.parent is not None or not resource.flags or not resource.start:
            continue
        enabled = command & (1 if resource.flags & IORESOURCE_IO else 2)
        if bool(enabled) != disabled and not _claim(k, dev, slot):
            resource.end, resource.start = resource.end - resource.start, 0


def _claim(k: Kernel, dev: PciDev, slot: int) -> bool:
    """Enter a resource below the window that holds it. Source: drivers/pci/setup-res.c:pci_claim_resource()"""
    resource = dev.resources[slot]
    parent = _find_parent(dev.bus, resource)
    name = resource_name(k, slot)
    if parent is None:
        k.printk(f"pci {dev.name}: {name} {resource}: can't claim; no compatible bridge window")
        return False
    other = parent.conflict(resource.start, resource.end)
    if other is not None:
        k.printk(f"pci {dev.name}: {name} {resource}: can't claim; address conflict with {_owner(k, other)} {other}")
        return False
    parent.claim(resource)
    return True


def _owner(k: Kernel, resource: Resource) -> str:
    for dev in k.pci.devices:
        if any(resource is own for own in dev.resources):
            return str(dev.name)
    return "reserved"


def _find_parent(bus: PciBus, resource: Resource) -> Resource | None:
    """Source: drivers/pci/pci.c:pci_find_parent_resource() @ v6.12"""
    for window in bus.windows:
        if window.flags and window.contains(resource):
            if window.flags & IORESOURCE_PREFETCH and not resource.flags & IORESOURCE_PREFETCH:
                return None
            return window
    return None


def pcibios_assign_resources(k: Kernel) -> None:
    """Assign what is still unassigned, open the bridges' windows, list every bus's resources.

    Source: arch/x86/pci/i386.c:pcibios_assign_resources(), setup-bus.c:pci_assign_unassigned_root_bus_resources()
    """
    if k.pci.access is None:
        return
    for bus in all_buses(k.pci.roots):
        for dev in bus.devices:
            rom = dev.resources[ROM]
            if rom.flags and rom.start and not _claim(k, dev, ROM):
                rom.end, rom.start = rom.end - rom.start, 0
    for root in k.pci.roots:
        extra: Extra = {}
        pci_bus_size_bridges(k, root, extra)
        _assign_bus(k, root, extra)
        _dump_resources(k, root)
    k.pci.access.charge(k)


def _assign_bus(k: Kernel, bus: PciBus, extra: Extra) -> None:
    """Source: drivers/pci/setup-bus.c:__pci_bus_assign_resources() @ v6.12"""
    wanted = sorted(_unassigned(bus), key=lambda item: -_alignment(item[0], item[1]))
    if wanted and not _try_all(k, bus, wanted, extra):
        for dev, slot in wanted:
            _assign_one(k, bus, dev, slot)
    for dev in bus.devices:
        if dev.subordinate is not None:
            _assign_bus(k, dev.subordinate, extra)
            _setup_bridge(k, dev)


def _unassigned(bus: PciBus) -> list[tuple[PciDev, int]]:
    found = []
    for dev in bus.devices:
        if dev.class_code >> 8 in (NO_CLASS, HOST_BRIDGE):
            continue
        found += [(dev, slot) for slot, own in enumerate(dev.resources) if own.flags and own.parent is None]
    return found


def _alignment(dev: PciDev, slot: int) -> int:
    resource = dev.resources[slot]
    return resource.align if slot >= WINDOWS else resource.size


def _try_all(k: Kernel, bus: PciBus, wanted: list[tuple[PciDev, int]], extra: Extra) -> bool:
    """Place everything with its optional room; undo and return False if something does not fit."""
    if not any(id(dev.resources[slot]) in extra for dev, slot in wanted):
        return False
    done: list[tuple[PciDev, int, Resource]] = []
    for dev, slot in wanted:
        resource = dev.resources[slot]
        before = Resource(resource.start, resource.end, resource.flags, None, [], resource.align)
        size = resource.size + extra.get(id(resource), 0)
        parent = _place(bus, resource, size, _alignment(dev, slot))
        if parent is None:
            for undone_dev, undone_slot, old in done:
                own = undone_dev.resources[undone_slot]
                if own.parent is not None:
                    own.parent.children.remove(own)
                own.start, own.end, own.parent = old.start, old.end, None
            return False
        done.append((dev, slot, before))
    for dev, slot, _ in done:
        _assigned(k, dev, slot)
    return True


def _assign_one(k: Kernel, bus: PciBus, dev: PciDev, slot: int) -> None:
    resource = dev.resources[slot]
    if resource.size <= 0:
        return
    name = resource_name(k, slot)
    room = Resource(0, resource.size - 1, resource.flags | IORESOURCE_UNSET)
    if _place(bus, resource, resource.size, _alignment(dev, slot)) is None:
        k.printk(f"pci {dev.name}: {name} {room}: can't assign; no space")
        k.printk(f"pci {dev.name}: {name} {room}: failed to assign")
        resource.start, resource.end, resource.flags = 0, -1, 0
        return
    _assigned(k, dev, slot)


def _assigned(k: Kernel, dev: PciDev, slot: int) -> None:
    resource = dev.resources[slot]
    k.printk(f"pci {dev.name}: {resource_name(k, slot)} {resource}: assigned")
    if slot < WINDOWS:
        _write_bar(dev, slot)


def _write_bar(dev: PciDev, slot: int) -> None:
    resource = dev.resources[slot]
    register = (0x38 if dev.is_bridge else 0x30) if slot == ROM else 0x10 + 4 * slot
    dev.write(register, 4, resource.start & 0xFFFF_FFFF)
    if resource.flags & IORESOURCE_MEM_64:
        dev.write(register + 4, 4, resource.start >> 32)


def _place(bus: PciBus, resource: Resource, size: int, align: int) -> Resource | None:
    """Find room in the bus's windows and claim it; the window, or None. Source: setup-res.c:__pci_assign_resource()"""
    wide = IORESOURCE_PREFETCH | IORESOURCE_MEM_64
    masks = [wide]
    if resource.flags & wide == wide:
        masks.append(IORESOURCE_PREFETCH)
    if resource.flags & wide:
        masks.append(0)
    for mask in masks:
        regions = [(0, FOUR_GIB)] if not resource.flags & IORESOURCE_MEM_64 else [(FOUR_GIB, 1 << 64), (0, 1 << 64)]
        for region in regions:
            for window in bus.windows:
                if not window.flags or (resource.flags ^ window.flags) & (mask | TYPE_BITS):
                    continue
                if window.flags & IORESOURCE_PREFETCH and not resource.flags & IORESOURCE_PREFETCH:
                    continue
                start = _find_gap(window, resource.flags, size, align, region)
                if start is not None:
                    resource.start, resource.end = start, start + size - 1
                    window.claim(resource)
                    return window
    return None


def _find_gap(window: Resource, flags: int, size: int, align: int, region: tuple[int, int]) -> int | None:
    low, high = max(window.start, region[0]), min(window.end, region[1] - 1)
    if not low:
        low = MIN_IO if flags & IORESOURCE_IO else MIN_MEM
    for child in [*sorted(window.children, key=lambda one: one.start), None]:
        start = _align(low, align, flags)
        end = high if child is None else min(high, child.start - 1)
        if start + size - 1 <= end:
            return start
        if child is not None:
            low = max(low, child.end + 1)
    return None


def _align(start: int, align: int, flags: int) -> int:
    """Source: arch/x86/pci/i386.c:pcibios_align_resource() @ v6.12"""
    start = -(-start // align) * align
    if flags & IORESOURCE_IO:
        return start + 0x3FF & ~0x3FF if start & 0x300 else start
    if flags & IORESOURCE_MEM and start < BIOS_END:
        return -(-BIOS_END // align) * align
    return start


def _setup_bridge(k: Kernel, dev: PciDev) -> None:
    """Write a bridge's windows and log them. Source: drivers/pci/setup-bus.c:pci_setup_bridge() @ v6.12"""
    assert dev.subordinate is not None
    k.printk(f"pci {dev.name}: PCI bridge to {dev.subordinate.busn}")
    io, memory, pref = (window if window.parent is not None else None for window in dev.resources[WINDOWS:])
    if dev.io_window:
        low = dev.read(0x1C, 2) & 0x0F0F
        dev.write(0x1C, 2, low | (0x00F0 if io is None else io.start >> 8 & 0xF0 | io.end & 0xF000))
        dev.write(0x30, 4, 0 if io is None else io.start >> 16 | io.end >> 16 << 16)
    dev.write(0x20, 4, 0xFFF0 if memory is None else memory.start >> 16 & 0xFFF0 | memory.end & 0xFFF0_0000)
    if dev.pref_window:
        dev.write(0x24, 4, 0xFFF0 if pref is None else pref.start >> 16 & 0xFFF0 | pref.end & 0xFFF0_0000)
        if dev.pref_64_window:
            dev.write(0x28, 4, 0 if pref is None else pref.start >> 32)
            dev.write(0x2C, 4, 0 if pref is None else pref.end >> 32)
    for window in (io, memory, pref):
        if window is not None:
            k.printk(f"pci {dev.name}:   bridge window {window}")


def _dump_resources(k: Kernel, bus: PciBus) -> None:
    """Source: drivers/pci/setup-bus.c:pci_bus_dump_resources() @ v6.12"""
    for index, window in enumerate(bus.windows):
        # A bus keeps its bridge's windows in slots 0 to 2; whatever else reaches it follows from slot 4 on.
        slot = index + 4 if bus.is_root else index if index < 3 else index + 1
        if window.flags and window.end > 0:
            k.printk(f"pci_bus {bus.name}: resource {slot} {window}")
    for child in bus.children:
        _dump_resources(k, child)


def pci_apply_final_quirks(k: Kernel) -> None:
    """Settle the cache line size. Source: drivers/pci/quirks.c:pci_apply_final_quirks() @ v6.12"""
    if k.pci.access is None:
        return
    common = 0
    for dev in k.pci.devices:
        size = dev.read(0x0C, 1)
        common = common or size
        if size and size != common:
            k.printk(f"pci {dev.name}: CLS mismatch ({common << 2} != {size << 2}), using {CACHE_LINE_BYTES} bytes")
            break
    else:
        k.printk(f"PCI: CLS {common << 2} bytes, default {CACHE_LINE_BYTES}")
    k.pci.access.charge(k)
