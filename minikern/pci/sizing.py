"""How large the windows of bridges must be that came without: what is behind, and spare room for hot-plug.

Source: drivers/pci/setup-bus.c @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.pci.bars import IO_WINDOW, MEM_WINDOW, PREF_WINDOW
from minikern.pci.cardbus import pci_bus_size_cardbus
from minikern.state.pci import (
    IORESOURCE_IO,
    IORESOURCE_MEM,
    IORESOURCE_MEM_64,
    IORESOURCE_PCI_FIXED,
    IORESOURCE_PREFETCH,
    IOV,
    TYPE_BITS,
    WINDOWS,
    PciBus,
    PciDev,
    Resource,
)

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

Extra = dict[int, int]
"""Optional bytes by id() of a resource: room to be given if there is enough."""

IO_ALIGN, MEM_ALIGN = 0x1000, 0x10_0000
MEM_KIND = IORESOURCE_MEM | IORESOURCE_PREFETCH | IORESOURCE_MEM_64


def pci_bus_size_bridges(k: Kernel, bus: PciBus, extra: Extra | None) -> None:
    """Size the unclaimed windows of every bridge below ``bus``, deepest first; ``extra`` takes what is optional.

    None: what is good to have must be. Source: drivers/pci/setup-bus.c:__pci_bus_size_bridges() @ v6.12
    """
    for child in bus.children:
        if child.self_dev is not None and child.self_dev.is_cardbus:
            pci_bus_size_cardbus(k, child.self_dev, extra)
        else:
            pci_bus_size_bridges(k, child, extra)
    dev = bus.self_dev
    if dev is None or not dev.is_bridge:
        return
    hotplug, options = dev.is_hotplug_bridge, k.pci.options
    _check_ranges(dev)
    _size_io(k, bus, dev, options.hotplug_io if hotplug else 0, extra)
    spare = options.hotplug_mem if hotplug else 0
    spare_pref = options.hotplug_pref if hotplug else 0
    pref = dev.resources[PREF_WINDOW]
    kinds = {IORESOURCE_MEM}
    if pref.flags & IORESOURCE_PREFETCH:
        wide = pref.flags & MEM_KIND
        _size_mem(k, bus, dev, PREF_WINDOW, {wide}, wide, spare_pref, extra)
        if wide & IORESOURCE_MEM_64:
            # Behind a 64-bit window goes only what is both; the rest shares the plain one.
            kinds |= {IORESOURCE_MEM | IORESOURCE_PREFETCH, IORESOURCE_MEM | IORESOURCE_MEM_64}
        mask = wide
    else:
        mask = IORESOURCE_MEM
        spare += spare_pref
    _size_mem(k, bus, dev, MEM_WINDOW, kinds, mask, spare, extra)


def _check_ranges(dev: PciDev) -> None:
    """Source: drivers/pci/setup-bus.c:pci_bridge_check_ranges() @ v6.12"""
    dev.resources[MEM_WINDOW].flags |= IORESOURCE_MEM
    if dev.io_window:
        dev.resources[IO_WINDOW].flags |= IORESOURCE_IO
    if dev.pref_window:
        wide = IORESOURCE_MEM_64 if dev.pref_64_window else 0
        dev.resources[PREF_WINDOW].flags |= IORESOURCE_MEM | IORESOURCE_PREFETCH | wide


def _alignment(dev: PciDev, slot: int) -> int:
    resource = dev.resources[slot]
    return resource.align if slot >= WINDOWS else dev.vf_bytes.get(slot, resource.size)


def _size_io(k: Kernel, bus: PciBus, dev: PciDev, spare: int, extra: Extra | None) -> None:
    """Source: drivers/pci/setup-bus.c:pbus_size_io() @ v6.12"""
    window = dev.resources[IO_WINDOW]
    if not window.flags & IORESOURCE_IO or window.parent is not None:
        return
    size, children_extra, align = 0, 0, IO_ALIGN
    for child in bus.devices:
        for slot, resource in enumerate(child.resources):
            if resource.parent is None and resource.flags & IORESOURCE_IO:
                size += resource.size
                align = max(align, _alignment(child, slot))
                children_extra += extra.get(id(resource), 0) if extra is not None else 0
    required = _align_up(max(size, window.size, spare if extra is None else 0), align)
    wanted = required
    if extra is not None and (spare or children_extra):
        wanted = _align_up(max(max(size, window.size), spare) + children_extra, align)
    _set_window(k, bus, dev, window, required, wanted, align, extra, "")


def _size_mem(
    k: Kernel, bus: PciBus, dev: PciDev, slot: int, kinds: set[int], mask: int, spare: int, extra: Extra | None
) -> None:
    """Source: drivers/pci/setup-bus.c:pbus_size_mem() @ v6.12"""
    window = dev.resources[slot]
    if window.parent is not None:
        return
    size, children_extra = 0, 0
    by_order: dict[int, int] = {}
    for child in bus.devices:
        for own_slot, resource in enumerate(child.resources):
            fixed = resource.parent is not None or resource.flags & IORESOURCE_PCI_FIXED
            if fixed or resource.flags & (mask | TYPE_BITS) not in kinds:
                continue
            align = max(_alignment(child, own_slot), 1)
            if extra is not None and IOV <= own_slot < WINDOWS:  # room for virtual functions may be, but need not
                extra[id(resource)] = resource.size
                children_extra += resource.size
                resource.end = resource.start - 1
                continue
            order = max(0, align.bit_length() - 1 - 20)
            size += max(resource.size, align)
            by_order.setdefault(order, 0)
            if resource.size <= align:
                by_order[order] += align
            children_extra += extra.get(id(resource), 0) if extra is not None else 0
    align = max(_mem_align(by_order), MEM_ALIGN)
    required = _align_up(max(size, window.size, spare if extra is None else 0), align)
    wanted = required
    if extra is not None and (spare or children_extra):
        wanted = _align_up(max(max(size, window.size), spare) + children_extra, align)
    _set_window(k, bus, dev, window, required, wanted, align, extra, f" add_align {align:x}")


def _mem_align(by_order: dict[int, int]) -> int:
    """Source: drivers/pci/setup-bus.c:calculate_mem_align() @ v6.12"""
    total, least = 0, 0
    for order in range(max(by_order, default=-1) + 1):
        this = 1 << order + 20
        if not total:
            least = this
        elif _align_up(total + least, least) < this:
            least = this >> 1
        total += by_order.get(order, 0)
    return least


def _align_up(value: int, align: int) -> int:
    return -(-value // align) * align


def _set_window(
    k: Kernel,
    bus: PciBus,
    dev: PciDev,
    window: Resource,
    required: int,
    wanted: int,
    align: int,
    extra: Extra | None,
    tail: str,
) -> None:
    if not required and not wanted:
        if window.start or window.end > 0:
            k.printk(f"pci {dev.name}: disabling bridge window {window} to {bus.busn} (unused)")
        window.start, window.end, window.flags = 0, -1, 0
        return
    window.start, window.end, window.align = align, align + required - 1, align
    if extra is not None and wanted > required:
        extra[id(window)] = wanted - required
        k.printk(f"pci {dev.name}: bridge window {window} to {bus.busn} add_size {wanted - required:x}{tail}")
