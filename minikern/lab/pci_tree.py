"""A booted machine's PCI as a tree: what each function is, holds and costs, and which of them a boot needs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from hw.errors import InputError
from minikern.lab.run import Boot
from minikern.state.pci import IOV, ROM, WINDOWS, PciBus, PciDev

CLASSES = {
    "disk": ((0x01, None),),
    "network": ((0x02, None),),
    "display": ((0x03, None),),
    "sound": ((0x04, None),),
    "serial": ((0x07, 0x00),),
    "usb": ((0x0C, 0x03),),
}
DRIVERS = {
    "nvme": ((0x01, 0x08),),
    "ahci": ((0x01, 0x06),),
    "xhci_hcd": ((0x0C, 0x03),),
    "serial8250": ((0x07, 0x00),),
}
"""What drivers of whole classes take: (base class, subclass or None). Source: PCI Code and ID Assignment 1.11"""
NAMES = {
    0x0100: "SCSI controller", 0x0101: "IDE interface", 0x0104: "RAID controller", 0x0106: "SATA controller",
    0x0107: "SAS controller", 0x0108: "NVMe controller", 0x0200: "network adapter", 0x0300: "display",
    0x0302: "3D controller", 0x0401: "sound", 0x0403: "sound", 0x0500: "memory controller", 0x0600: "host bridge",
    0x0601: "ISA bridge", 0x0604: "PCI bridge", 0x0607: "CardBus bridge", 0x0700: "serial port",
    0x0780: "communication controller", 0x0800: "interrupt controller", 0x0806: "IOMMU", 0x0807: "event collector",
    0x0880: "system peripheral", 0x0C03: "USB controller", 0x0C05: "SMBus", 0x1080: "crypto accelerator",
    0x1101: "performance counters", 0x1180: "signal processing", 0x1200: "accelerator", 0x1300: "dummy function",
}  # fmt: skip
"""Source: PCI Code and ID Assignment Specification 1.11"""
VIRTIO = 0x1AF4

_IDS = re.compile(r"^[0-9a-f]{4}:[0-9a-f]{4}$")
_PLACE = re.compile(r"^(?:[0-9a-f]{4}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$")


@dataclass
class FunctionRow:
    """One function that was set up; ``behind`` is the bus it leads to, ``cost_ns`` what setting it up took."""

    name: str
    id: str
    class_code: int
    what: str
    ranges: list[str]
    group: int | None
    reads: int
    writes: int
    cost_ns: int
    buses: str = ""
    needed: bool = True
    behind: list[FunctionRow] = field(default_factory=list)

    def all(self) -> Iterable[FunctionRow]:
        """This function and those behind it."""
        yield self
        for row in self.behind:
            yield from row.all()


@dataclass
class RootRow:
    """A host bridge: its buses, windows and functions."""

    name: str
    buses: str
    windows: list[str]
    functions: list[FunctionRow]


def pci_tree(done: Boot, needed: str = "") -> list[RootRow]:
    """The host bridges of a finished boot. ``needed`` names what is needed; empty: everything. InputError: no such."""
    roots = [_root(done, bus) for bus in done.kernel.pci.roots]
    if needed:
        choose(roots, needed)
    return roots


def choose(roots: list[RootRow], words: str) -> None:
    """Mark what the words name and every bridge before it: classes, drivers, ids, places, commas between."""
    tests = [_test(word) for word in words.lower().split(",") if word]
    for root in roots:
        for row in root.functions:
            _mark(row, tests)


def _mark(row: FunctionRow, tests: list[Callable[[FunctionRow], bool]]) -> bool:
    behind = [_mark(one, tests) for one in row.behind]
    row.needed = any(behind) or any(test(row) for test in tests)
    return row.needed


def _test(word: str) -> Callable[[FunctionRow], bool]:
    kinds = {**CLASSES, **DRIVERS}.get(word)
    if kinds is not None:
        return lambda row: any(row.class_code >> 16 == base and sub in (None, row.class_code >> 8 & 0xFF)
                               for base, sub in kinds)  # fmt: skip
    if word == "virtio":
        return lambda row: int(row.id[:4], 16) == VIRTIO
    if _IDS.match(word):
        return lambda row: row.id == word
    if _PLACE.match(word):
        return lambda row: row.name in (word, f"0000:{word}")
    known = ", ".join([*CLASSES, *DRIVERS, "virtio"])
    raise InputError(f"--needed: {word!r}: expected vendor:device, a place as 00:1f.2, or one of {known}")


def _root(done: Boot, bus: PciBus) -> RootRow:
    windows = [str(window) for window in bus.windows if window.flags]
    return RootRow(bus.name, str(bus.busn), windows, [_row(done, dev) for dev in bus.devices])


def _row(done: Boot, dev: PciDev) -> FunctionRow:
    child = dev.subordinate
    slots = [*range(ROM), ROM, *range(IOV, WINDOWS)]
    ranges = [str(one) for slot in slots if (one := dev.resources[slot]).flags and one.size > 0]
    ranges += [f"window {one}" for one in dev.resources[WINDOWS:] if one.flags and one.size > 0]
    row = FunctionRow(
        name=dev.name,
        id=f"{dev.vendor:04x}:{dev.device:04x}",
        class_code=dev.class_code,
        what=NAMES.get(dev.class_code >> 8, f"class {dev.class_code >> 8:04x}"),
        ranges=ranges,
        group=dev.iommu_group,
        reads=dev.reads,
        writes=dev.writes,
        cost_ns=_cost_ns(done, dev),
        buses=str(child.busn) if child is not None else "",
    )
    row.behind = [_row(done, one) for one in child.devices] if child is not None else []
    return row


def _cost_ns(done: Boot, dev: PciDev) -> int:
    k = done.kernel
    cost = dev.reads * k.unit_ns("config_read") + dev.writes * k.unit_ns("config_write") + k.unit_ns("pci_device_add")
    return round(cost + (k.unit_ns("iommu_group_add") if dev.iommu_group is not None else 0))


def skipping(roots: list[RootRow]) -> list[FunctionRow]:
    """The topmost functions that are not needed: with each goes all that is behind it."""
    found: list[FunctionRow] = []
    pending = [row for root in roots for row in root.functions]
    while pending:
        row = pending.pop(0)
        if not row.needed:
            found.append(row)
        else:
            pending = row.behind + pending
    return found


def probe_only(roots: list[RootRow]) -> str:
    """The needed functions as the value of ``pci=probe_only=``."""
    rows = (row for root in roots for top in root.functions for row in top.all() if row.needed)
    return ";".join(row.name for row in rows)
