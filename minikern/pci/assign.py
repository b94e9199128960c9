"""Finding places for what the firmware left without one, and opening the bridges' windows.

Source: drivers/pci/setup-bus.c, drivers/pci/setup-res.c, arch/x86/pci/i386.c @ v6.12
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from minikern.pci import messages
from minikern.pci.cardbus import pci_setup_cardbus
from minikern.pci.iov import FIRST_BAR
from minikern.pci.sizing import Extra
from minikern.state.pci import (
    IORESOURCE_IO,
    IORESOURCE_MEM,
    IORESOURCE_MEM_64,
    IORESOURCE_PCI_FIXED,
    IORESOURCE_PREFETCH,
    IORESOURCE_UNSET,
    IOV,
    ROM,
    TYPE_BITS,
    WINDOW_SLOTS,
    WINDOWS,
    PciBus,
    PciDev,
    Resource,
)

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

MIN_IO, MIN_MEM = 0x1000, 0x1000_0000  # Source: arch/x86/include/asm/pci.h @ v6.12
BIOS_END = 0x10_0000
FOUR_GIB = 1 << 32
NO_CLASS, HOST_BRIDGE = 0x0000, 0x0600
ALL_WINDOWS = IORESOURCE_IO | IORESOURCE_MEM | IORESOURCE_PREFETCH


@dataclass(frozen=True)
class Failure:
    """A resource that must be and found no place, and what it was before it was given up."""

    dev: PciDev
    slot: int
    before: Resource


def pci_bus_assign_resources(k: Kernel, bus: PciBus, extra: Extra) -> list[Failure]:
    """Place what is unassigned on a bus and below, then set up its bridges; what must be and found no place.

    Source: drivers/pci/setup-bus.c:__pci_bus_assign_resources() @ v6.12
    """
    wanted = sorted(_unassigned(bus), key=lambda item: -_alignment(item[0], item[1]))
    failed: list[Failure] = []
    if wanted and not _try_all(k, bus, wanted, extra):
        failed += _assign_requested(k, bus, wanted, extra)
    for dev in bus.devices:
        if dev.subordinate is not None:
            failed += pci_bus_assign_resources(k, dev.subordinate, extra)
            if dev.is_cardbus:
                pci_setup_cardbus(k, dev)
            else:
                pci_setup_bridge(k, dev)
    return failed


def _unassigned(bus: PciBus) -> list[tuple[PciDev, int]]:
    found = []
    for dev in bus.devices:
        if dev.class_code >> 8 in (NO_CLASS, HOST_BRIDGE):
            continue
        for slot, own in enumerate(dev.resources):
            if own.flags and own.parent is None and not own.flags & IORESOURCE_PCI_FIXED:
                found.append((dev, slot))
    return found


def _alignment(dev: PciDev, slot: int) -> int:
    resource = dev.resources[slot]
    return resource.align if slot >= WINDOWS else dev.vf_bytes.get(slot, resource.size)


def _try_all(k: Kernel, bus: PciBus, wanted: list[tuple[PciDev, int]], extra: Extra) -> bool:
    """Place everything with its optional room. If something does not fit, what is of its kind is let go again and put
    on as it was into ``wanted``; False then. Source: drivers/pci/setup-bus.c:__assign_resources_sorted() @ v6.12
    """
    if not extra:
        return False
    saved = []
    failed = 0
    for dev, slot in wanted:
        resource = dev.resources[slot]
        saved.append((dev, slot, Resource(resource.start, resource.end, resource.flags)))
        resource.end += extra.get(id(resource), 0)
        if resource.size > 0 and not _assign_resource(k, bus, dev, slot):
            failed |= _kind(resource.flags)
    if not failed:
        for dev, slot in wanted:
            extra.pop(id(dev.resources[slot]), None)
        return True
    wanted.clear()
    for dev, slot, before in saved:
        resource = dev.resources[slot]
        if resource.parent is not None and not _need_to_release(failed, resource):
            extra.pop(id(resource), None)
            continue
        if resource.parent is not None:
            resource.parent.children.remove(resource)
        resource.start, resource.end, resource.flags, resource.parent = before.start, before.end, before.flags, None
        wanted.append((dev, slot))
    return False


def _kind(flags: int) -> int:
    """Source: drivers/pci/setup-bus.c:pci_fail_res_type_mask() @ v6.12"""
    if flags & IORESOURCE_IO:
        return IORESOURCE_IO
    return IORESOURCE_PREFETCH | IORESOURCE_MEM if flags & IORESOURCE_PREFETCH else IORESOURCE_MEM


def _need_to_release(failed: int, resource: Resource) -> bool:
    """Source: drivers/pci/setup-bus.c:pci_need_to_release() @ v6.12"""
    if resource.flags & IORESOURCE_IO:
        return bool(failed & IORESOURCE_IO)
    if resource.flags & IORESOURCE_PREFETCH:
        plain_parent = resource.parent is not None and not resource.parent.flags & IORESOURCE_PREFETCH
        return bool(failed & IORESOURCE_PREFETCH) or (plain_parent and bool(failed & IORESOURCE_MEM))
    return bool(failed & IORESOURCE_MEM)


def _assign_requested(k: Kernel, bus: PciBus, wanted: list[tuple[PciDev, int]], extra: Extra) -> list[Failure]:
    """What must be, then what may be on top. A ROM that is off need not be.

    Source: drivers/pci/setup-bus.c:assign_requested_resources_sorted(), reassign_resources_sorted() @ v6.12
    """
    failed = []
    for dev, slot in wanted:
        resource = dev.resources[slot]
        if resource.size > 0 and not _assign_resource(k, bus, dev, slot):
            if slot != ROM:
                failed.append(Failure(dev, slot, Resource(resource.start, resource.end, resource.flags)))
            _reset(resource)
    for dev, slot in wanted:
        resource = dev.resources[slot]
        more = extra.pop(id(resource), 0)
        if not more or not resource.flags:
            continue
        if resource.size <= 0:
            resource.start, resource.end = resource.align, resource.align + more - 1
            if not _assign_resource(k, bus, dev, slot):
                _reset(resource)
        else:
            _reassign_resource(k, dev, slot, more)
    return failed


def _reset(resource: Resource) -> None:
    resource.start, resource.end, resource.flags = 0, -1, 0


def _assign_resource(k: Kernel, bus: PciBus, dev: PciDev, slot: int) -> bool:
    """Find room for a resource, with its lines; False if there is none. Source: setup-res.c:pci_assign_resource()"""
    resource = dev.resources[slot]
    room = Resource(0, resource.size - 1, resource.flags | IORESOURCE_UNSET)
    here: PciBus | None = bus
    while here is not None:
        if _place(here, resource, resource.size, _alignment(dev, slot)) is not None:
            _assigned(k, dev, slot)
            return True
        here = here.parent if here.self_dev is not None and here.self_dev.transparent else None
    messages.no_space(k, dev, slot, room)
    return False


def _reassign_resource(k: Kernel, dev: PciDev, slot: int, more: int) -> None:
    """Grow a placed resource where it is. Source: drivers/pci/setup-res.c:pci_reassign_resource() @ v6.12"""
    resource = dev.resources[slot]
    parent = resource.parent
    if parent is None:
        return
    start, end = resource.start, resource.end
    parent.children.remove(resource)
    resource.parent = None
    if _place(dev.bus, resource, resource.size + more, _alignment(dev, slot)) is None:
        resource.start, resource.end = start, end
        parent.claim(resource)
        messages.cannot_expand(k, dev, slot, more)
        return
    messages.expanded(k, dev, slot, more)


def _assigned(k: Kernel, dev: PciDev, slot: int) -> None:
    dev.resources[slot].flags &= ~IORESOURCE_UNSET
    messages.assigned(k, dev, slot)
    if slot < WINDOWS:
        _write_bar(dev, slot)


def _write_bar(dev: PciDev, slot: int) -> None:
    resource = dev.resources[slot]
    register = (0x38 if dev.is_bridge else 0x30) if slot == ROM else 0x10 + 4 * slot
    if slot >= IOV:
        register = dev.sriov_cap + FIRST_BAR + 4 * (slot - IOV)
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


def pci_setup_bridge(k: Kernel, dev: PciDev, kinds: int = ALL_WINDOWS) -> None:
    """Write a bridge's windows of these kinds and log them. Source: drivers/pci/setup-bus.c:__pci_setup_bridge()"""
    assert dev.subordinate is not None
    k.printk(f"pci {dev.name}: PCI bridge to {dev.subordinate.busn}")
    own = dev.resources[WINDOWS : WINDOWS + WINDOW_SLOTS]
    io, memory, pref = (window if window.parent is not None else None for window in own)
    if kinds & IORESOURCE_IO and dev.io_window:
        low = dev.read(0x1C, 2) & 0x0F0F
        dev.write(0x1C, 2, low | (0x00F0 if io is None else io.start >> 8 & 0xF0 | io.end & 0xF000))
        dev.write(0x30, 4, 0 if io is None else io.start >> 16 | io.end >> 16 << 16)
    if kinds & IORESOURCE_MEM:
        dev.write(0x20, 4, 0xFFF0 if memory is None else memory.start >> 16 & 0xFFF0 | memory.end & 0xFFF0_0000)
    if kinds & IORESOURCE_PREFETCH and dev.pref_window:
        dev.write(0x24, 4, 0xFFF0 if pref is None else pref.start >> 16 & 0xFFF0 | pref.end & 0xFFF0_0000)
        if dev.pref_64_window:
            dev.write(0x28, 4, 0 if pref is None else pref.start >> 32)
            dev.write(0x2C, 4, 0 if pref is None else pref.end >> 32)
    for window, kind in ((io, IORESOURCE_IO), (memory, IORESOURCE_MEM), (pref, IORESOURCE_PREFETCH)):
        if window is not None and kinds & kind:
            k.printk(f"pci {dev.name}:   bridge window {window}")


def pci_bus_dump_resources(k: Kernel, bus: PciBus) -> None:
    """Source: drivers/pci/setup-bus.c:pci_bus_dump_resources() @ v6.12"""
    for index, window in enumerate(bus.windows):
        # A bus keeps its bridge's windows in slots 0 to 2; whatever else reaches it follows from slot 4 on.
        own = 4 if bus.self_dev is not None and bus.self_dev.is_cardbus else 3
        slot = index + 4 if bus.is_root else index if index < own else index + 1
        if window.flags and window.end > 0:
            k.printk(f"pci_bus {bus.name}: resource {slot} {window}")
    for child in bus.children:
        pci_bus_dump_resources(k, child)
