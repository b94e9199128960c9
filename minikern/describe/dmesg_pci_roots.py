"""The PCI host bridges of a boot log: names, buses, windows, nodes, and what the firmware lets the kernel control.

Source: drivers/acpi/pci_root.c:acpi_pci_root_add(), drivers/pci/probe.c:pci_register_host_bridge() @ v5.4, v6.12
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from hw.pci.spec import HostBridgeSpec, WindowSpec
from minikern.describe.dmesg_pci_lines import Range, parse_range

MAX_ROOTS, MAX_WINDOWS = 256, 64
OSC_CONTROLS = {
    "PCIeHotplug": 0x01,
    "SHPCHotplug": 0x02,
    "PME": 0x04,
    "AER": 0x08,
    "PCIeCapability": 0x10,
    "LTR": 0x20,
    "DPC": 0x80,
}
"""Bits of the control field. Source: PCI Firmware Specification 3.3, table 4-6"""

_ROOT = re.compile(
    r"^ACPI: PCI Root Bridge \[([^\]]{1,4})\] \(domain ([0-9a-f]{4}) \[bus ([0-9a-f]{2})(?:-([0-9a-f]{2}))?\]\)"
)
_DEVICE = re.compile(r"^acpi (PNP0A0[38]):[0-9a-f]{2,}: (.*)$")
_BUS = re.compile(r"^PCI host bridge to bus ([0-9a-f]{4}):([0-9a-f]{2})\s*$")
_RESOURCE = re.compile(r"^pci_bus ([0-9a-f]{4}):([0-9a-f]{2}): root bus resource (\[(?:io |mem).*\])\s*$")
_NODE = re.compile(r"^pci_bus ([0-9a-f]{4}):([0-9a-f]{2}): on NUMA node (\d{1,4})\s*$")
_CONTROLS = re.compile(r"^_OSC: OS now controls \[([^\]]*)\]")
_NO_METHOD = re.compile(r"^_OSC.*(?:AE_NOT_FOUND)")
_NAME = re.compile(r"^[A-Z_][A-Z0-9_]{0,3}$")


def host_bridges(lines: Iterable[str], pxm_of_node: dict[int, int]) -> list[HostBridgeSpec]:
    """The host bridges in the order they were found. ``pxm_of_node`` gives the proximity domain of a node."""
    found: dict[tuple[int, int], HostBridgeSpec] = {}
    here: HostBridgeSpec | None = None
    for line in lines:
        if match := _ROOT.match(line):
            here = _add(found, match)
        elif here is not None and (match := _DEVICE.match(line)):
            _device(here, match[1], match[2])
        elif match := _RESOURCE.match(line):
            _window(found.get((int(match[1], 16), int(match[2], 16))), parse_range(match[3]))
        elif match := _NODE.match(line):
            root = found.get((int(match[1], 16), int(match[2], 16)))
            if root is not None:
                root.pxm = pxm_of_node.get(int(match[3]))
    return list(found.values())


def _add(found: dict[tuple[int, int], HostBridgeSpec], match: re.Match[str]) -> HostBridgeSpec | None:
    segment, first = int(match[2], 16), int(match[3], 16)
    last = int(match[4] or match[3], 16)
    if last < first or (segment, first) in found or len(found) >= MAX_ROOTS:
        return None
    number = len(found)
    taken = {root.name for root in found.values()}
    name = match[1] if _NAME.match(match[1]) and match[1] not in taken else f"R{number:03X}"
    root = HostBridgeSpec(first_bus=first, last_bus=last, segment=segment, name=name, uid=number)
    found[segment, first] = root
    return root


def _device(root: HostBridgeSpec, hid: str, text: str) -> None:
    root.hid = "PNP0A03" if hid == "PNP0A03" else "PNP0A08"
    if match := _CONTROLS.match(text):
        root.osc = sum(OSC_CONTROLS.get(word, 0) for word in match[1].split())
    elif _NO_METHOD.match(text):
        root.osc = None


def _window(root: HostBridgeSpec | None, found: Range | None) -> None:
    if root is not None and found is not None and len(root.windows) < MAX_WINDOWS:
        before = root.windows[-1] if root.windows else None
        touching = before is not None and (before.type, before.end + 1) == (found.kind, found.start)
        # What the kernel did not join is not of one kind.
        other = touching and before is not None and not before.read_only
        place = (found.start, found.end, found.prefetch)
        root.windows.append(WindowSpec("io" if found.kind == "io" else "mem", *place, read_only=other))
