"""What pci= asks for."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntFlag, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass



class Probe(IntFlag):
    """The bits of pci_probe that are modelled. Source: arch/x86/include/asm/pci_x86.h @ v6.12"""

    CONF1 = auto()
    CONF2 = auto()
    MMCONF = auto()
    ASSIGN_ALL_BUSSES = auto()
    ROOT_NO_CRS = auto()
    USE_E820 = auto()
    NO_E820 = auto()



ACCESS = Probe.CONF1 | Probe.CONF2 | Probe.MMCONF


@dataclass
class PciOptions:
    """What ``pci=`` left. ``last_bus`` is None unless given; ``probe_only`` holds the lists of that word."""

    probe: Probe = ACCESS
    last_bus: int | None = None
    msi: bool = True
    ari: bool = True
    ats: bool = True
    scan_all: bool = False
    bfsort: bool | None = None  # None: as the firmware wants it
    probe_only: list[str] = field(default_factory=list)

    @property
    def off(self) -> bool:
        """No way to configuration space is to be tried."""
        return not self.probe & ACCESS

