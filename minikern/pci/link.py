"""The bandwidth of a device's link, and what on the way to it holds it down.

Source: drivers/pci/pci.c:__pcie_print_link_status(), pcie_bandwidth_available() @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.pci.caps import EXP_LNKCAP, EXP_LNKCAP2, EXP_LNKSTA
from minikern.state.pci import TYPE_ENDPOINT, TYPE_LEGACY, TYPE_UPSTREAM, PciDev

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

SPEED_NAMES = {1: "2.5", 2: "5.0", 3: "8.0", 4: "16.0", 5: "32.0", 6: "64.0"}
LANE_MBITS = {
    1: 2500 * 8 // 10,
    2: 5000 * 8 // 10,
    3: 8000 * 128 // 130,
    4: 16000 * 128 // 130,
    5: 32000 * 128 // 130,
    6: 64000,
}
"""Net rate of a lane by speed, after 8b/10b or 128b/130b. Source: drivers/pci/pci.h:PCIE_SPEED2MBS_ENC() @ v6.12"""


def pcie_report_downtraining(k: Kernel, dev: PciDev) -> None:
    """One line if a device could do more than the links on its way allow. Source: drivers/pci/probe.c @ v6.12"""
    if not dev.is_pcie or dev.pcie_type not in (TYPE_ENDPOINT, TYPE_LEGACY, TYPE_UPSTREAM) or dev.devfn & 7:
        return
    speed, width = _capable(dev)
    wanted = LANE_MBITS.get(speed, 0) * width
    available, where, link = _available(dev)
    if where is None or available >= wanted:
        return
    k.printk(
        f"pci {dev.name}: {_gbits(available)} Gb/s available PCIe bandwidth, limited by {_speed(k, link[0])}"
        f" x{link[1]} link at {where.name} (capable of {_gbits(wanted)} Gb/s with {_speed(k, speed)} x{width} link)"
    )


def _capable(dev: PciDev) -> tuple[int, int]:
    """(speed, width) of the device itself. Source: pci.c:pcie_bandwidth_capable(), pcie_get_speed_cap()"""
    best = (dev.read(dev.pcie_cap + EXP_LNKCAP2, 4) >> 1 & 0x7F).bit_length() if dev.pcie_version > 1 else 0
    link = dev.read(dev.pcie_cap + EXP_LNKCAP, 4)
    return best or link & 0xF, link >> 4 & 0x3F


def _available(dev: PciDev) -> tuple[int, PciDev | None, tuple[int, int]]:
    """(Mb/s, the device nearest to the root whose link is the narrowest, its speed and width)."""
    least, where, link = 0, None, (0, 0)
    here: PciDev | None = dev
    while here is not None:
        status = here.read(here.pcie_cap + EXP_LNKSTA, 2) if here.is_pcie else 0
        speed, width = status & 0xF, status >> 4 & 0x3F
        rate = LANE_MBITS.get(speed, 0) * width
        if where is None or rate <= least:
            least, where, link = rate, here, (speed, width)
        here = here.bus.self_dev
    return least, where, link


def _speed(k: Kernel, speed: int) -> str:
    text = SPEED_NAMES.get(speed)
    if text is None:
        return "Unknown"
    if k.behaviour.pci_link_speed == "pcie":
        return f"{text} GT/s PCIe"
    return f"{text.removesuffix('.0')} GT/s"


def _gbits(mbits: int) -> str:
    return f"{mbits // 1000}.{mbits % 1000:03}"
