"""``pci=probe_only=``: set up only the functions a boot needs.

The list is made of Linux's device specifications, separated by semicolons: ``[<domain>:]<bus>:<dev>.<func>`` or
``pci:<vendor>:<device>``. Upstream has no such option; the talk proposes one.
Source: Documentation/admin-guide/kernel-parameters.txt @ v6.12, "pci="; the talk, "PCI device probe skipping"
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from minikern.pci.types import PciDev

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

_IDS = re.compile(r"^pci:([0-9a-fA-F]{1,8}):([0-9a-fA-F]{1,8})(?::[0-9a-fA-F]{1,8}:[0-9a-fA-F]{1,8})?$")
_PLACE = re.compile(r"^(?:([0-9a-fA-F]{1,8}):)?([0-9a-fA-F]{1,2}):([0-9a-fA-F]{1,2})\.([0-7])$")
ANY = 0  # an id of 0 in a specification matches every device


class ProbeList:
    """Which functions to set up: everything, or those matching one of the specifications."""

    def __init__(self, specs: list[str] | None) -> None:
        self.limited = specs is not None
        self.bad: list[str] = []
        self._ids: set[tuple[int, int]] = set()
        self._places: set[tuple[int, int, int]] = set()
        for spec in specs or []:
            self._add(spec)

    def _add(self, spec: str) -> None:
        ids, place = _IDS.match(spec), _PLACE.match(spec)
        if ids:
            self._ids.add((int(ids[1], 16), int(ids[2], 16)))
        elif place:
            devfn = int(place[3], 16) << 3 | int(place[4])
            self._places.add((int(place[1] or "0", 16), int(place[2], 16), devfn))
        else:
            self.bad.append(spec)

    def admits(self, dev: PciDev) -> bool:
        """True if the function is to be set up."""
        if not self.limited or (dev.bus.segment, dev.bus.number, dev.devfn) in self._places:
            return True
        keys = ((dev.vendor, dev.device), (dev.vendor, ANY), (ANY, dev.device), (ANY, ANY))
        return any(key in self._ids for key in keys)


def probe_list(k: Kernel) -> ProbeList:
    """The list the command line gives; a specification it can not read is logged and left out."""
    given = k.pci.options.probe_only
    specs = [spec for value in given for spec in value.split(";") if spec]
    found = ProbeList(specs if given else None)
    for spec in found.bad:
        k.printk(f"PCI: Can't parse probe_only parameter: {spec}")
    return found
