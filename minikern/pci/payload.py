"""The largest payload of a packet: what both ends of a link are set to, by default or as ``pci=pcie_bus_*`` asks.

Source: drivers/pci/probe.c:pci_configure_mps(), pcie_bus_configure_settings() @ v6.12
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from minikern.core.printk import Level
from minikern.pci.caps import EXP_DEVCAP, EXP_DEVCTL
from minikern.state.pci import TYPE_RC_END, TYPE_ROOT_PORT, PciBus, PciDev

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

PAYLOAD, PAYLOAD_SHIFT, READ_REQUEST, READ_REQUEST_SHIFT = 0xE0, 5, 0x7000, 12
LEAST = 128
REPORT = 'if necessary, use "pci=pcie_bus_safe" and report a bug'


def _most(dev: PciDev) -> int:
    return LEAST << (dev.read(dev.pcie_cap + EXP_DEVCAP, 4) & 7)


def _payload(dev: PciDev) -> int:
    return LEAST << ((dev.read(dev.pcie_cap + EXP_DEVCTL, 2) & PAYLOAD) >> PAYLOAD_SHIFT)


def _read_request(dev: PciDev) -> int:
    return LEAST << ((dev.read(dev.pcie_cap + EXP_DEVCTL, 2) & READ_REQUEST) >> READ_REQUEST_SHIFT)


def _set_payload(dev: PciDev, size: int) -> bool:
    """False if the device can not have packets that large. Source: drivers/pci/pci.c:pcie_set_mps() @ v6.12"""
    if size > _most(dev):
        return False
    _put(dev, PAYLOAD, PAYLOAD_SHIFT, size)
    return True


def _put(dev: PciDev, mask: int, shift: int, size: int) -> None:
    control = dev.read(dev.pcie_cap + EXP_DEVCTL, 2)
    code = (size // LEAST).bit_length() - 1
    dev.write(dev.pcie_cap + EXP_DEVCTL, 2, control & ~mask | code << shift)


def pci_configure_mps(k: Kernel, dev: PciDev) -> None:
    """Fit a new device to the bridge above it. Source: drivers/pci/probe.c:pci_configure_mps() @ v6.12"""
    config, bridge = k.pci.options.bus_config, dev.bus.self_dev
    if dev.pcie_type == TYPE_RC_END:
        _set_payload(dev, LEAST if config == "peer2peer" else _most(dev))
        return
    if bridge is None or not bridge.is_pcie:
        return
    own, above = _payload(dev), _payload(bridge)
    if own == above:
        return
    if config == "tune_off":
        text = f"Max Payload Size {own}, but upstream {bridge.name} set to {above}; {REPORT}"
        k.printk(f"pci {dev.name}: {text}", Level.WARNING)
        return
    if config != "default":
        return
    most = _most(dev)
    if most < above and bridge.pcie_type == TYPE_ROOT_PORT:
        _set_payload(bridge, most)
        text = f"Upstream bridge's Max Payload Size set to {most} (was {above}, max {_most(bridge)})"
        k.printk(f"pci {dev.name}: {text}")
        above = _payload(bridge)
    if not _set_payload(dev, above):
        k.printk(f"pci {dev.name}: can't set Max Payload Size to {above}; {REPORT}", Level.WARNING)
        return
    k.printk(f"pci {dev.name}: Max Payload Size set to {above} (was {own}, max {most})")


def pcie_bus_configure_settings(k: Kernel, root: PciBus) -> None:
    """Tune the hierarchies below a root bus, each port with what is behind it."""
    config = k.pci.options.bus_config
    for bus in root.children if config in ("safe", "perf", "peer2peer") else ():
        port = bus.self_dev
        if port is None or not port.is_pcie:
            continue
        below = list(_below(bus))
        least = LEAST
        if config == "safe":
            least = min(map(_most, [port, *below]))
            # What is plugged in later may be able to no more, but right behind a root port nobody else minds.
            if any(dev.is_hotplug_bridge and dev.pcie_type != TYPE_ROOT_PORT for dev in (port, *below)):
                least = LEAST
        for dev in (port, *below):
            _configure(k, dev, least)


def _below(bus: PciBus) -> Iterator[PciDev]:
    for dev in bus.devices:
        if dev.is_pcie:
            yield dev
        if dev.subordinate is not None:
            yield from _below(dev.subordinate)


def _configure(k: Kernel, dev: PciDev, size: int) -> None:
    """Source: drivers/pci/probe.c:pcie_bus_configure_set(), pcie_write_mps(), pcie_write_mrrs() @ v6.12"""
    before = _payload(dev)
    if k.pci.options.bus_config == "perf":
        size = _most(dev)
        if dev.pcie_type != TYPE_ROOT_PORT and dev.bus.self_dev is not None and dev.bus.self_dev.is_pcie:
            size = min(size, _payload(dev.bus.self_dev))
    if not _set_payload(dev, size):
        k.printk(f"pci {dev.name}: Failed attempting to set the MPS", Level.ERR)
    if k.pci.options.bus_config == "perf":
        _put(dev, READ_REQUEST, READ_REQUEST_SHIFT, _payload(dev))
    k.printk(
        f"pci {dev.name}: Max Payload Size set to {_payload(dev):4}/{_most(dev):4} (was {before:4}),"
        f" Max Read Rq {_read_request(dev):4}"
    )
