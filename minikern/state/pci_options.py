"""What pci= and its kin ask for."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntFlag, auto
from typing import Literal

BusConfig = Literal["default", "tune_off", "safe", "perf", "peer2peer"]
PortServices = Literal["", "compat", "native", "dpc-native"]


class Probe(IntFlag):
    """The bits of pci_probe that are modelled. Source: arch/x86/include/asm/pci_x86.h @ v6.12"""

    CONF1 = auto()
    CONF2 = auto()
    MMCONF = auto()
    ASSIGN_ALL_BUSSES = auto()
    ROOT_NO_CRS = auto()
    USE_E820 = auto()
    NO_E820 = auto()
    ASSIGN_ROMS = auto()
    NOASSIGN_ROMS = auto()
    NOASSIGN_BARS = auto()


ACCESS = Probe.CONF1 | Probe.CONF2 | Probe.MMCONF


@dataclass
class PciOptions:
    """What the words left. ``last_bus`` is None unless given; ``probe_only`` holds the lists of that word.

    ``hotplug_*`` is what a hot-plug bridge gets on top of what is behind it.
    Source: drivers/pci/pci.c:DEFAULT_HOTPLUG_IO_SIZE and others @ v6.12
    """

    probe: Probe = ACCESS
    last_bus: int | None = None
    msi: bool = True
    ari: bool = True
    ats: bool = True
    aer: bool = True
    scan_all: bool = False
    early_dump: bool = False
    bfsort: bool | None = None  # None: as the firmware wants it
    realloc: bool | None = None  # None: as the build has it
    hotplug_io: int = 256
    hotplug_mem: int = 2 << 20
    hotplug_pref: int = 2 << 20
    hotplug_buses: int = 1
    cardbus_io: int = 256
    cardbus_mem: int = 64 << 20
    bus_config: BusConfig = "default"
    ports: PortServices = ""
    resource_alignment: str = ""
    disable_acs_redir: str = ""
    config_acs: str = ""
    probe_only: list[str] = field(default_factory=list)

    @property
    def off(self) -> bool:
        """No way to configuration space is to be tried."""
        return not self.probe & ACCESS
