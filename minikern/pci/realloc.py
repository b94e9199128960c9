"""Assigning what is unassigned, and under ``pci=realloc`` letting bridges' windows go to try again with larger ones.

Source: drivers/pci/setup-bus.c:pci_assign_unassigned_root_bus_resources() @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.pci.assign import Failure, pci_bus_assign_resources, pci_bus_dump_resources, pci_setup_bridge
from minikern.pci.sizing import Extra, pci_bus_size_bridges
from minikern.state.pci import (
    IORESOURCE_IO,
    IORESOURCE_MEM,
    IORESOURCE_MEM_64,
    IORESOURCE_PREFETCH,
    IOV,
    WINDOWS,
    PciBus,
    Resource,
)

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

KINDS = IORESOURCE_IO | IORESOURCE_MEM | IORESOURCE_PREFETCH | IORESOURCE_MEM_64
CLASS_PCI_BRIDGE = 0x0604
WHOLE_SUBTREE_FROM = 3  # the try from which on not only the last bridges let go


def pci_assign_unassigned_root_bus_resources(k: Kernel, root: PciBus) -> None:
    """Size, assign, and as often as it is allowed let go and try again; then list every bus's resources."""
    enabled, automatic = _detect(k, root)
    tries = 1
    if enabled:
        depth = _depth(root)
        tries = depth + 1
        k.printk(f"pci_bus {root.name}: max bus depth: {depth} pci_try_num: {tries}")
    for number in range(1, tries + 1):
        extra: Extra | None = {} if number == tries else None  # before the last try what is good to have must be
        pci_bus_size_bridges(k, root, extra)
        failed = pci_bus_assign_resources(k, root, {} if extra is None else extra)
        if not failed:
            break
        if number == tries:
            _gave_up(k, root, automatic)
            break
        k.printk(f"pci_bus {root.name}: No. {number + 1} try to assign unassigned res")
        _let_go(k, failed, number + 1 >= WHOLE_SUBTREE_FROM)
    pci_bus_dump_resources(k, root)


def _gave_up(k: Kernel, root: PciBus, automatic: bool) -> None:
    if automatic:
        text = "Automatically enabled pci realloc, if you have problem, try booting with pci=realloc=off"
    elif k.pci.options.realloc is None:
        text = "Some PCI device resources are unassigned, try booting with pci=realloc"
    else:
        return
    k.printk(f"pci_bus {root.name}: {text}")


def _detect(k: Kernel, root: PciBus) -> tuple[bool, bool]:
    """(whether to try again, whether nobody asked for it). Source: setup-bus.c:pci_realloc_detect() @ v6.12"""
    if k.pci.options.realloc is not None:
        return k.pci.options.realloc, False
    automatic = k.config.enabled("CONFIG_PCI_REALLOC_ENABLE_AUTO") and _virtual_functions_unassigned(root)
    return automatic, automatic


def _virtual_functions_unassigned(bus: PciBus) -> bool:
    """Source: drivers/pci/setup-bus.c:iov_resources_unassigned() @ v6.12"""
    own = any(one.flags and not one.start for dev in bus.devices for one in dev.resources[IOV:WINDOWS])
    return own or any(map(_virtual_functions_unassigned, bus.children))


def _depth(bus: PciBus) -> int:
    return max((_depth(child) + 1 for child in bus.children), default=0)


def _let_go(k: Kernel, failed: list[Failure], whole: bool) -> None:
    for failure in failed:
        _release_below(k, failure.dev.bus, failure.before.flags & KINDS, whole)
    for failure in failed:
        resource, before = failure.dev.resources[failure.slot], failure.before
        flags = 0 if failure.dev.is_bridge and failure.slot >= WINDOWS else before.flags
        resource.start, resource.end, resource.flags = before.start, before.end, flags


def _release_below(k: Kernel, bus: PciBus, kind: int, whole: bool) -> None:
    """Source: drivers/pci/setup-bus.c:pci_bus_release_bridge_resources() @ v6.12"""
    leaf = not bus.children
    for dev in bus.devices:
        if whole and dev.subordinate is not None and dev.class_code >> 8 == CLASS_PCI_BRIDGE:
            _release_below(k, dev.subordinate, kind, whole)
    if bus.self_dev is not None and bus.self_dev.class_code >> 8 == CLASS_PCI_BRIDGE and (whole or leaf):
        _release_window(k, bus, kind)


def _release_window(k: Kernel, bus: PciBus, kind: int) -> None:
    """Let go of the window that what failed would go through. Source: setup-bus.c:pci_bridge_release_resources()"""
    dev = bus.self_dev
    assert dev is not None
    slot = WINDOWS + _window_of(dev.resources[WINDOWS + 2], kind)
    window = dev.resources[slot]
    if window.parent is None:
        return
    _release_children(window)
    window.parent.children.remove(window)
    window.parent = None
    flags = window.flags & KINDS
    k.printk(f"pci {dev.name}: resource {slot} {window} released")
    window.start, window.end = 0, window.size - 1
    pci_setup_bridge(k, dev, IORESOURCE_PREFETCH if flags & IORESOURCE_PREFETCH else flags)
    window.flags = flags


def _window_of(pref: Resource, kind: int) -> int:
    if kind & IORESOURCE_IO:
        return 0
    if not kind & IORESOURCE_PREFETCH:
        return 1
    wide = bool(pref.flags & IORESOURCE_MEM_64)
    fits = bool(kind & IORESOURCE_MEM_64) if wide else bool(pref.flags & IORESOURCE_PREFETCH)
    return 2 if fits else 1


def _release_children(window: Resource) -> None:
    """What lies in a window loses its place, and keeps its size. Source: kernel/resource.c:release_child_resources()"""
    for child in window.children:
        _release_children(child)
        child.start, child.end, child.parent = 0, child.size - 1, None
    window.children.clear()
