"""How configuration space is reached."""

from __future__ import annotations

from typing import Any, Protocol

from minikern.state.pci import EcamRegion

ADDRESS_PORT, DATA_PORT = 0xCF8, 0xCFC
ENABLE = 0x8000_0000


class Worker(Protocol):
    """Whose time passes: a kernel."""

    def charge(self, kind: str, count: int = 1) -> None: ...


class ConfigAccess:
    """Reads and writes configuration space, and counts both until they are charged.

    Registers below 256 of segment 0 go through the ports when mechanism 1 works, all others through ECAM. An access
    nothing can make reads as all ones.
    """

    def __init__(self, cpu: Any, conf1: bool) -> None:
        self._cpu = cpu
        self.conf1 = conf1
        self.regions: list[EcamRegion] = []
        self.reads = 0
        self.writes = 0

    def read(self, segment: int, bus: int, devfn: int, register: int, size: int) -> int:
        """Value of ``size`` (1, 2, 4) bytes at ``register``."""
        self.reads += 1
        if self.conf1 and segment == 0 and register < 256:
            ports = self._cpu.bus
            ports.port_out(ADDRESS_PORT, 4, ENABLE | bus << 16 | devfn << 8 | register & 0xFC)
            value: int = ports.port_in(DATA_PORT + (register & 4 - size), size)
            return value
        address = self._ecam(segment, bus, devfn, register)
        return (1 << 8 * size) - 1 if address is None else int(self._cpu.read(address, size))

    def write(self, segment: int, bus: int, devfn: int, register: int, size: int, value: int) -> None:
        """Write ``size`` (1, 2, 4) bytes at ``register``."""
        self.writes += 1
        value &= (1 << 8 * size) - 1
        if self.conf1 and segment == 0 and register < 256:
            ports = self._cpu.bus
            ports.port_out(ADDRESS_PORT, 4, ENABLE | bus << 16 | devfn << 8 | register & 0xFC)
            ports.port_out(DATA_PORT + (register & 4 - size), size, value)
            return
        address = self._ecam(segment, bus, devfn, register)
        if address is not None:
            self._cpu.write(address, size, value)

    def _ecam(self, segment: int, bus: int, devfn: int, register: int) -> int | None:
        for region in self.regions:
            if region.segment == segment and region.start_bus <= bus <= region.end_bus:
                return region.base + (bus << 20 | devfn << 12 | register)
        return None

    @property
    def works(self) -> bool:
        """There is a way to configuration space."""
        return self.conf1 or bool(self.regions)

    def covers(self, segment: int, bus: int) -> bool:
        """True if extended configuration space of that bus can be reached."""
        return self._ecam(segment, bus, 0, 0) is not None

    def forget(self) -> None:
        """Take the accesses made since the last call for counted elsewhere."""
        self.reads = self.writes = 0

    def charge(self, k: Worker) -> None:
        """Let the time of the accesses made since the last call pass."""
        reads, writes, self.reads, self.writes = self.reads, self.writes, 0, 0
        if reads:
            k.charge("config_read", reads)
        if writes:
            k.charge("config_write", writes)

