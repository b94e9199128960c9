"""The host bridge: where a configuration access goes, through ports 0xCF8/0xCFC or the ECAM window.

Routing follows the bridges' own bus number registers, so a function behind a bridge answers only once somebody
(firmware or the kernel) has numbered the buses on the way.
Source: PCI Local Bus Specification 3.0, 3.2.2.3.2; PCI Express Base Specification, 7.2.2
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from hw.bus import Bus
from hw.errors import BusError, InputError
from hw.pci.build import build_config
from hw.pci.config import ConfigSpace
from hw.pci.spec import Address, HostBridgeSpec, PciFunctionSpec, PciSpec, parse_address
from hw.pci.vtd import REGISTER_BYTES, RemappingUnit

CONFIG_ADDRESS, CONFIG_DATA = 0xCF8, 0xCFC
ENABLE = 1 << 31
ADDRESS_BITS = 0x80FF_FFFC
FIRST_BUS_NUMBER, LAST_BUS_NUMBER = 0x18, 0x1A  # primary, secondary and subordinate bus number registers


@dataclass
class Function:
    """A function in the tree; ``children`` sit on a bridge's secondary bus, by devfn."""

    address: Address
    spec: PciFunctionSpec
    config: ConfigSpace
    children: dict[int, Function] = field(default_factory=dict)


@dataclass
class RootBus:
    """What a host bridge leads to."""

    spec: HostBridgeSpec
    functions: dict[int, Function] = field(default_factory=dict)


class PciTopology:
    """All functions of a machine, by root bus, and the routing of configuration accesses to them."""

    def __init__(self, roots: list[RootBus]) -> None:
        self.roots = roots
        self._answering: dict[tuple[int, int, int], Function | None] = {}  # as bridges' bus numbers are now

    def functions(self) -> Iterator[Function]:
        """Every function, bridges before what is behind them."""
        for root in self.roots:
            pending = [root.functions[devfn] for devfn in sorted(root.functions)]
            while pending:
                function = pending.pop(0)
                yield function
                pending[:0] = [function.children[devfn] for devfn in sorted(function.children)]

    def _find(self, segment: int, bus: int, devfn: int) -> Function | None:
        """The function that answers there now; looked for until a bridge's bus numbers change."""
        functions = self._route(segment, bus)
        found = None if functions is None else functions.get(devfn)
        self._answering[segment, bus, devfn] = found
        return found

    def _route(self, segment: int, bus: int) -> dict[int, Function] | None:
        for root in self.roots:
            if root.spec.segment == segment and root.spec.first_bus <= bus <= root.spec.last_bus:
                return _descend(root, bus)
        return None

    def read(self, segment: int, bus: int, devfn: int, offset: int, size: int) -> int:
        """Configuration read; all ones where nothing answers."""
        try:
            function = self._answering[segment, bus, devfn]
        except KeyError:
            function = self._find(segment, bus, devfn)
        return (1 << 8 * size) - 1 if function is None else function.config.read(offset, size)

    def write(self, segment: int, bus: int, devfn: int, offset: int, size: int, value: int) -> None:
        """Configuration write; lost where nothing answers."""
        try:
            function = self._answering[segment, bus, devfn]
        except KeyError:
            function = self._find(segment, bus, devfn)
        if function is None:
            return
        function.config.write(offset, size, value)
        if offset <= LAST_BUS_NUMBER and offset + size > FIRST_BUS_NUMBER and function.config.is_bridge:
            self._answering.clear()


def _descend(root: RootBus, bus: int) -> dict[int, Function] | None:
    here, number = root.functions, root.spec.first_bus
    for _ in range(256):
        if number == bus:
            return here
        for function in here.values():
            secondary, subordinate = function.config.data[0x19], function.config.data[0x1A]
            if function.config.is_bridge and number < secondary <= bus <= subordinate:
                here, number = function.children, secondary
                break
        else:
            return None
    return None


def build_topology(spec: PciSpec) -> PciTopology:
    """The tree of functions a description stands for. InputError: a function whose bus nothing leads to."""
    roots = [RootBus(bridge) for bridge in spec.root_buses()]
    roots += [RootBus(HostBridgeSpec(one.first_bus, one.last_bus, one.domain)) for one in spec.vmd]
    buses: dict[tuple[int, int], dict[int, Function]] = {
        (root.spec.segment, root.spec.first_bus): root.functions for root in roots
    }
    specs = {function.address(): function for function in spec.all_functions()}
    multi = {(at.segment, at.bus, at.devfn >> 3) for at in specs if at.devfn & 7}
    functions = {
        at: Function(at, function, build_config(function, (at.segment, at.bus, at.devfn >> 3) in multi))
        for at, function in specs.items()
    }
    for at, function in functions.items():
        if function.config.is_bridge:
            secondary = function.config.data[0x19] if function.spec.raw else function.spec.secondary
            if secondary:
                buses.setdefault((at.segment, secondary), function.children)
    for at, function in functions.items():
        if (at.segment, at.bus) not in buses:
            raise InputError(f"pci: no host bridge and no bridge leads to bus {at.bus:02x} of {at}")
        buses[at.segment, at.bus][at.devfn] = function
    return PciTopology(roots)


class ConfigPorts:
    """Configuration mechanism 1: an address register at 0xCF8 and a data window at 0xCFC, segment 0 only.

    Only a 32-bit access at 0xCF8 reaches the address register; smaller ones there belong to other devices.
    """

    def __init__(self, topology: PciTopology) -> None:
        self._topology = topology
        self._address = 0

    def port_read(self, port: int, size: int) -> int:
        """Address register, or configuration bytes; all ones for anything else."""
        if port < CONFIG_DATA:
            return self._address if port == CONFIG_ADDRESS and size == 4 else (1 << 8 * size) - 1
        if not self._address & ENABLE or (port & 3) + size > 4:
            return (1 << 8 * size) - 1
        address = self._address
        return self._topology.read(0, address >> 16 & 0xFF, address >> 8 & 0xFF, address & 0xFC | port & 3, size)

    def port_write(self, port: int, size: int, value: int) -> None:
        """Set the address register, or write configuration bytes."""
        if port < CONFIG_DATA:
            if port == CONFIG_ADDRESS and size == 4:
                self._address = value & ADDRESS_BITS
            return
        if self._address & ENABLE and (port & 3) + size <= 4:
            address = self._address
            register = address & 0xFC | port & 3
            self._topology.write(0, address >> 16 & 0xFF, address >> 8 & 0xFF, register, size, value)


class EcamWindow:
    """The memory-mapped configuration window of a segment; 1 MiB a bus, 4 KiB a function."""

    def __init__(self, topology: PciTopology, start_bus: int, segment: int = 0) -> None:
        self._topology = topology
        self._segment = segment
        self._start_bus = start_bus

    def mmio_read(self, offset: int, size: int, cpu: object) -> int:
        """Configuration bytes at ``offset`` of the window."""
        bus = self._start_bus + (offset >> 20)
        return self._topology.read(self._segment, bus, offset >> 12 & 0xFF, offset & 0xFFF, size)

    def mmio_write(self, offset: int, size: int, value: int, cpu: object) -> None:
        """Write configuration bytes at ``offset`` of the window."""
        bus = self._start_bus + (offset >> 20)
        self._topology.write(self._segment, bus, offset >> 12 & 0xFF, offset & 0xFFF, size, value)


def attach_vmd(bus: Bus, spec: PciSpec, topology: PciTopology) -> None:
    """Let each volume management device show its domain where the firmware has put its first register.

    InputError: it lies over something else.
    """
    by_address = {function.address: function for function in topology.functions()} if spec.vmd else {}
    for vmd in spec.vmd:
        endpoint = by_address[parse_address(vmd.endpoint, "pci.vmd")]
        base = endpoint.config.read(0x10, 4) & ~0xF | endpoint.config.read(0x14, 4) << 32
        if base:
            count = vmd.last_bus - vmd.first_bus + 1
            try:
                bus.map_mmio(base, count << 20, EcamWindow(topology, vmd.first_bus, vmd.domain))
            except BusError as error:
                raise InputError(f"pci.vmd: {vmd.endpoint}: {error}") from error


def attach_pci(bus: Bus, spec: PciSpec) -> PciTopology:
    """Build a machine's PCI and let it answer on the bus: ports, ECAM window, DMA remapping units.

    BARs and bus numbers are still unassigned; that is firmware's work (hw.pci.assign). A machine without PCI claims
    nothing. InputError: functions nothing leads to, windows that overlap.
    """
    topology = build_topology(spec)
    if not topology.roots:
        return topology
    try:
        _claim(bus, spec, topology)
    except BusError as error:
        raise InputError(f"pci: {error}") from error
    return topology


def _claim(bus: Bus, spec: PciSpec, topology: PciTopology) -> None:
    bus.map_ports(CONFIG_ADDRESS, 8, ConfigPorts(topology))
    for window in spec.ecam_windows():
        start, count = window.start_bus, window.end_bus - window.start_bus + 1
        bus.map_mmio(window.base + (start << 20), count << 20, EcamWindow(topology, start, window.segment))
    for unit in {drhd.base: drhd for drhd in spec.drhd}.values():
        bus.map_mmio(unit.base, REGISTER_BYTES, RemappingUnit(unit.version, unit.cap, unit.ecap))
