"""Which functions are set up."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from minikern.state.pci import PciDev

if TYPE_CHECKING:
    pass

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

