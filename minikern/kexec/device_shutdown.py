"""device_shutdown(): every driver quiesces its device, children before the bridge above them.

Linux goes over the devices one by one, the last found first. A series under review starts them all and lets a device
wait only for those that need it: the time is then the longest way down the tree, not the sum.
Source: drivers/base/core.c:device_shutdown(), drivers/pci/pci-driver.c:pci_device_shutdown() @ v6.12; "shut down
devices asynchronously", under review in 2026
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import simpy

from minikern.state.pci import PciDev

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

CLASSES: tuple[tuple[int, int, str], ...] = (
    (0xFFFF, 0x0108, "device_shutdown_nvme"),
    (0xFF00, 0x0100, "device_shutdown_hba"),
    (0xFFFF, 0x0C04, "device_shutdown_hba"),
    (0xFF00, 0x0200, "device_shutdown_nic"),
    (0xFFFF, 0x0207, "device_shutdown_nic"),
    (0xFF00, 0x0300, "device_shutdown_gpu"),
    (0xFF00, 0x1200, "device_shutdown_gpu"),
    (0xFFFF, 0x0604, "device_shutdown_bridge"),
)
"""(mask, class and subclass, kind of work), the first that fits; what is not listed has no driver that waits."""
OTHER = "device_shutdown_other"


def shutdown_kind(class_code: int) -> str:
    """What shutting a function of this class down costs: a kind of work. ``class_code``: class, subclass, interface."""
    number = class_code >> 8
    return next((kind for mask, wanted, kind in CLASSES if number & mask == wanted), OTHER)


def dependents(devices: Sequence[PciDev]) -> dict[PciDev, list[PciDev]]:
    """What must be down before each device: all that is on the bus behind it."""
    below: dict[PciDev, list[PciDev]] = {device: [] for device in devices}
    for device in devices:
        above = device.bus.self_dev
        if above in below:
            below[above].append(device)
    return below


def longest_way(below: dict[PciDev, list[PciDev]], cost_ns: dict[PciDev, int]) -> int:
    """The least a shutdown can take: ns along the dearest chain from a device up to its root."""
    done: dict[PciDev, int] = {}
    for device in reversed(list(below)):  # discovery finds a bridge before what is behind it
        done[device] = cost_ns[device] + max((done[one] for one in below[device]), default=0)
    return max(done.values(), default=0)


def device_shutdown(k: Kernel) -> None:
    """Shut all PCI devices down; booked in the open phase, a kind of work for each class.

    ``Experiment.device_shutdown`` says whether one after the other or each as soon as what is behind it is down.
    """
    devices = k.pci.devices
    if k.experiment.device_shutdown == "serial":
        for kind in (shutdown_kind(device.class_code) for device in reversed(devices)):
            k.charge(kind)
        return
    below = dependents(devices)
    done = {device: k.machine.clock.event() for device in devices}
    workers = [k.machine.clock.process(_shutdown(k, device, below[device], done)) for device in devices]
    if workers:
        k.wait(simpy.AllOf(k.machine.clock.env, workers))


def _shutdown(
    k: Kernel, device: PciDev, below: Iterable[PciDev], done: dict[PciDev, simpy.Event]
) -> Generator[simpy.Event, Any, None]:
    # A worker sleeps until the hardware has answered, so CPUs are no limit. Booked on the CPU that waits for all.
    yield simpy.AllOf(k.machine.clock.env, [done[one] for one in below])
    kind = shutdown_kind(device.class_code)
    start, spent = k.machine.clock.now, round(k.unit_ns(kind))
    yield k.machine.clock.timeout(spent)
    k.book_span(0, kind, 1, start, spent)
    done[device].succeed()
