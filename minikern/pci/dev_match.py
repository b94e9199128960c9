"""Linux's way to name PCI devices on the command line: places with the path to them, or ids.

``[<domain>:]<bus>:<device>.<function>[/<device>.<function>]*`` or ``pci:<vendor>:<device>[:<subvendor>:<subdevice>]``,
separated by ``;`` (a ``,`` ends the word before it gets here).
Source: drivers/pci/pci.c:pci_dev_str_match(), pci_dev_str_match_path() @ v6.12
"""

from __future__ import annotations

import re

from minikern.state.pci import PciDev

HEX = r"\s*(?:0[xX])?([0-9a-fA-F]+)"
SEPARATORS = ";,"
_IDS = re.compile(rf"pci:{HEX}:{HEX}(?::{HEX}:{HEX})?")
_PLACE = re.compile(rf"^(?:{HEX}:)?{HEX}:{HEX}\.{HEX}$")
_STEP = re.compile(rf"^{HEX}\.{HEX}$")


class NoDeviceError(ValueError):
    """The text names no device; ``rest`` is from where it does not."""

    def __init__(self, rest: str) -> None:
        super().__init__(rest)
        self.rest = rest


def dev_str_match(dev: PciDev, text: str) -> tuple[bool, str]:
    """(whether the first name of ``text`` is the device's, what follows it). NoDeviceError: it is no name."""
    if text.startswith("pci:"):
        match = _IDS.match(text)
        if match is None:
            raise NoDeviceError(text)
        return _has_ids(dev, [int(part or "0", 16) & 0xFFFF for part in match.groups()]), text[match.end() :]
    path, separator, rest = text.partition(";")
    return _at(dev, path, text), separator + rest


def list_match(dev: PciDev, text: str) -> bool:
    """True if one of the names in ``text`` is the device's. NoDeviceError: one before it is no name."""
    while text:
        found, text = dev_str_match(dev, text)
        if found:
            return True
        if not text or text[0] not in SEPARATORS:
            return False
        text = text[1:]
    return False


def _has_ids(dev: PciDev, ids: list[int]) -> bool:
    vendor, device, subvendor, subdevice = ids
    if (vendor and vendor != dev.vendor) or (device and device != dev.device):
        return False
    if not subvendor and not subdevice:
        return True
    own = (dev.read(0x2C, 2), dev.read(0x2E, 2)) if dev.hdr_type == 0 else (0, 0)
    return (not subvendor or subvendor == own[0]) and (not subdevice or subdevice == own[1])


def _at(dev: PciDev, path: str, text: str) -> bool:
    root, *steps = path.split("/")
    here = dev
    for step in reversed(steps):
        match = _STEP.match(step)
        if match is None:
            raise NoDeviceError(text)
        above = here.bus.self_dev
        if here.devfn != _devfn(match[1], match[2]) or above is None:
            return False
        here = above
    match = _PLACE.match(root)
    if match is None:
        raise NoDeviceError(text)
    place = (int(match[1] or "0", 16), int(match[2], 16), _devfn(match[3], match[4]))
    return (here.bus.segment, here.bus.number, here.devfn) == place


def _devfn(device: str, function: str) -> int:
    return (int(device, 16) & 0x1F) << 3 | int(function, 16) & 7
