"""PciSpec: the validated description of a machine's PCI hierarchy.

Functions are listed one by one (``functions``) or as places of a named kind (``kinds`` and ``places``), which keeps
a server's three hundred functions readable. A function is described, or raw: bytes captured from a real one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta

from hw.errors import InputError
from hw.toml_file import decode_file

Byte = Annotated[int, Meta(ge=0, le=0xFF)]
NonNegative = Annotated[int, Meta(ge=0)]
Size = Annotated[int, Meta(ge=1, le=1 << 52)]
Id = Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{4}:[0-9a-fA-F]{4}$")]

FunctionKind = Literal[
    "root_port",
    "upstream",
    "downstream",
    "endpoint",
    "legacy_endpoint",
    "rciep",
    "event_collector",
    "pcie_pci_bridge",
    "pci_pcie_bridge",
    "pci_bridge",
    "conventional",
    "cardbus",
]
PowerState = Literal["D0", "D1", "D2", "D3hot", "D3cold"]
Capability = Literal["pm", "msi", "msix", "aer", "acs", "ari", "dsn", "dpc"]

BRIDGE_KINDS = frozenset(
    {"root_port", "upstream", "downstream", "pcie_pci_bridge", "pci_pcie_bridge", "pci_bridge"}
)
PCIE_KINDS = frozenset(
    {
        "root_port",
        "upstream",
        "downstream",
        "endpoint",
        "legacy_endpoint",
        "rciep",
        "event_collector",
        "pcie_pci_bridge",
        "pci_pcie_bridge",
    }
)

IO_PORTS_END = 0xFFFF
OSC_GRANTED = 0x3D
"""Native hot-plug, PME, AER, capability structure, LTR; not SHPC. Source: PCI Firmware Specification 3.3, table 4-6"""

_BDF = re.compile(r"^(?:([0-9a-fA-F]{4,8}):)?([0-9a-fA-F]{2}):([0-9a-fA-F]{2})\.([0-7])$")
_PLACE = re.compile(
    r"^((?:[0-9a-fA-F]{4,8}:)?[0-9a-fA-F]{2}):([0-9a-fA-F]{2})(?:-([0-9a-fA-F]{2}))?\.([0-7])(?:-([0-7]))?$"
)


class Address(NamedTuple):
    """Where a function sits; ``devfn`` is device * 8 + function."""

    segment: int
    bus: int
    devfn: int

    def __str__(self) -> str:
        return f"{self.segment:04x}:{self.bus:02x}:{self.devfn >> 3:02x}.{self.devfn & 7}"


@lru_cache(maxsize=1 << 14)
def parse_address(text: str, where: str) -> Address:
    """Address of ``[ssss:]bb:dd.f``; InputError names ``where`` it stood."""
    match = _BDF.match(text)
    if not match or int(match[3], 16) > 31:
        raise InputError(f"{where}: {text!r} is not a PCI address such as 0000:7e:0d.3")
    return Address(int(match[1] or "0", 16), int(match[2], 16), int(match[3], 16) << 3 | int(match[4]))


class BarSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One base address register: bytes it decodes, a power of two. A mem64 BAR takes ``index`` and the next.

    ``address`` is what the register holds in a function that is ``assigned``.
    """

    index: Annotated[int, Meta(ge=0, le=5)]
    type: Literal["io", "mem32", "mem64"]
    size: Size
    prefetch: bool = False
    address: NonNegative = 0


class WindowSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Addresses a bridge forwards to its bus; ``end`` is inclusive, as firmware reports it."""

    type: Literal["io", "mem"]
    start: NonNegative
    end: NonNegative
    prefetch: bool = False
    wide: bool = False  # a 64-bit window of a bridge between buses
    read_only: bool = False  # what a host bridge's firmware says of a memory window


class VirtualFunctions(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Single-root I/O virtualization: how many functions there can be, and what one of them decodes.

    ``at`` is where the capability lies, 0 the next free place.
    """

    total: Annotated[int, Meta(ge=1, le=0xFFFF)]
    bars: list[BarSpec] = []
    at: Annotated[int, Meta(ge=0, le=0xFC0)] = 0
    device: Annotated[int, Meta(ge=0, le=0xFFFF)] = 0xFFFF


class RegisterSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Four bytes of a described function's own registers, behind its header."""

    offset: Annotated[int, Meta(ge=0x40, le=0xFFC)]
    value: Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)]


class LinkSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A PCI Express link: what it could do and what it was trained to. Speeds are 1 (2.5 GT/s) to 6 (64 GT/s)."""

    max_speed: Annotated[int, Meta(ge=1, le=6)] = 4
    max_width: Annotated[int, Meta(ge=1, le=32)] = 16
    speed: Annotated[int, Meta(ge=1, le=6)] = 4
    width: Annotated[int, Meta(ge=1, le=32)] = 16


class SlotSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A port's slot: its capabilities' register with number and features, and what other registers say of it."""

    capabilities: Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)]
    inband_disable: bool = False  # in-band presence detection can be switched off
    link_active: bool = True  # the port reports that its link is up


class PciFunctionSpec(msgspec.Struct, forbid_unknown_fields=True):
    """One function: described by the fields below, or ``raw`` (configuration bytes) with BAR sizes in ``bars``.

    ``secondary`` and ``subordinate`` are the bus numbers the firmware gives a bridge. ``pme`` lists the power states
    from which the function can signal PME#, ``low_power`` the middle states it has. Of an ``assigned`` function the
    firmware's work is known: ``address`` of its BARs, ``rom_address``, a bridge's ``windows``, its ``command``.
    """

    bdf: str
    id: Id = "ffff:ffff"
    class_code: Annotated[int, Meta(ge=0, le=0xFFFFFF)] = 0
    revision: Byte = 0
    subsystem: Id = "0000:0000"
    kind: FunctionKind = "conventional"
    bars: list[BarSpec] = []
    rom_size: NonNegative = 0
    capabilities: list[Capability] = []
    pme: list[PowerState] = []
    ext_tag: bool = False
    hotplug: bool = False
    interrupt_pin: Annotated[int, Meta(ge=0, le=4)] = 0
    secondary: Byte | None = None
    subordinate: Byte | None = None
    raw: bytes = b""
    low_power: list[Literal["D1", "D2"]] = []
    assigned: bool = False
    rom_address: Annotated[int, Meta(ge=0, lt=1 << 32)] = 0
    windows: list[WindowSpec] = []
    command: Annotated[int, Meta(ge=0, le=0xFFFF)] = 0
    bridge_control: Annotated[int, Meta(ge=0, le=0xFFFF)] = 0
    virtual: VirtualFunctions | None = None
    link: LinkSpec | None = None
    registers: list[RegisterSpec] = []
    slot: SlotSpec | None = None
    dpc: Annotated[int, Meta(ge=0, le=0xFFFF)] = 0  # capability register of downstream port containment
    ari_next: Byte | None = None  # next function where device numbers count as functions; 0: the last one

    def address(self) -> Address:
        """Where it sits; InputError if ``bdf`` is no PCI address."""
        return parse_address(self.bdf, "pci function")


class PciPlace(msgspec.Struct, forbid_unknown_fields=True):
    """Functions of one kind: ``at`` holds addresses, device and function ranges allowed (``7f:00-04.0-7``)."""

    kind: str
    at: list[str]
    secondary: Byte | None = None
    subordinate: Byte | None = None


class PciKind(msgspec.Struct, forbid_unknown_fields=True):
    """What the functions of one kind have in common; fields as in PciFunctionSpec."""

    id: Id
    class_code: Annotated[int, Meta(ge=0, le=0xFFFFFF)]
    title: str = ""
    revision: Byte = 0
    subsystem: Id = "0000:0000"
    kind: FunctionKind = "conventional"
    bars: list[BarSpec] = []
    rom_size: NonNegative = 0
    capabilities: list[Capability] = []
    pme: list[PowerState] = []
    ext_tag: bool = False
    hotplug: bool = False
    interrupt_pin: Annotated[int, Meta(ge=0, le=4)] = 0

    def function(self, bdf: str, secondary: int | None, subordinate: int | None) -> PciFunctionSpec:
        """The function of this kind at ``bdf``."""
        fields = {name: getattr(self, name) for name in self.__struct_fields__ if name != "title"}
        return PciFunctionSpec(bdf=bdf, secondary=secondary, subordinate=subordinate, **fields)


class HostBridgeSpec(msgspec.Struct, forbid_unknown_fields=True):
    """A host bridge: the buses ``first_bus`` to ``last_bus`` of a segment, its windows and its ACPI identity."""

    first_bus: Byte
    last_bus: Byte
    segment: Annotated[int, Meta(ge=0, le=0xFFFF)] = 0
    windows: list[WindowSpec] = []
    name: Annotated[str, Meta(pattern=r"^[A-Z_][A-Z0-9_]{0,3}$")] = "PCI0"  # in the ACPI namespace
    uid: NonNegative = 0
    hid: Literal["PNP0A03", "PNP0A08"] = "PNP0A08"
    pxm: Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)] | None = None
    osc: Annotated[int, Meta(ge=0, le=0x1FF)] | None = OSC_GRANTED  # control given to the kernel; None: no _OSC method


class DeviceScope(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A DMAR device scope: type 1 endpoint, 2 bridge, 3 IOAPIC, 4 HPET. Source: VT-d specification, 8.3.1"""

    type: Annotated[int, Meta(ge=1, le=5)]
    bus: Byte
    path: list[tuple[Byte, Byte]]
    enumeration_id: Byte = 0


class DrhdSpec(msgspec.Struct, forbid_unknown_fields=True):
    """One DMA remapping unit: registers at ``base``, and which devices it covers.

    The register defaults are those of QEMU's emulated unit, which do not show in any firmware table.
    """

    base: NonNegative
    segment: Annotated[int, Meta(ge=0, le=0xFFFF)] = 0
    include_all: bool = False
    scopes: list[DeviceScope] = []
    version: Byte = 0x10
    cap: NonNegative = 0xD2008C22260286
    ecap: NonNegative = 0xF00F4E


class EcamSpec(msgspec.Struct, forbid_unknown_fields=True):
    """The memory-mapped configuration window of a segment; ``base`` 0: behind all memory, for whoever places it."""

    segment: Annotated[int, Meta(ge=0, le=0xFFFF)]
    base: NonNegative = 0
    start_bus: Byte = 0
    end_bus: Byte = 0xFF


class VmdSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A volume management device: the endpoint whose first register shows the configuration space of a domain of its
    own. The domain's number is the kernel's; here it only tells which functions are behind which endpoint.
    """

    endpoint: str
    domain: Annotated[int, Meta(ge=0x1_0000, le=0xFFFF_FFFF)] = 0x1_0000
    first_bus: Byte = 0
    last_bus: Byte = 0x1F


class PciSpec(msgspec.Struct, forbid_unknown_fields=True):
    """A machine's PCI: configuration mechanism, host bridges, functions and DMA remapping units in table order."""

    ecam_base: NonNegative | None = None
    ecam_start_bus: Byte = 0
    ecam_end_bus: Byte = 0xFF
    segments: list[EcamSpec] = []  # windows of segments other than 0
    host_bridges: list[HostBridgeSpec] = []
    vmd: list[VmdSpec] = []
    functions: list[PciFunctionSpec] = []
    kinds: dict[str, PciKind] = {}
    places: list[PciPlace] = []
    drhd: list[DrhdSpec] = []
    dmar_address_width: Annotated[int, Meta(ge=32, le=64)] = 46
    breadth_first: bool = False  # the firmware's SMBIOS asks for devices in order of buses (its own type 0xB1)
    needed: list[Id] = []  # vendor:device kinds that a boot of this machine can not do without

    def ecam_windows(self) -> list[EcamSpec]:
        """The configuration windows that are placed, segment 0's first."""
        first = [] if self.ecam_base is None else [EcamSpec(0, self.ecam_base, self.ecam_start_bus, self.ecam_end_bus)]
        return first + [window for window in self.segments if window.base]

    def all_functions(self) -> list[PciFunctionSpec]:
        """Every function, places expanded, by address. InputError: unknown kind, bad address, two at one place."""
        found: dict[Address, PciFunctionSpec] = {}
        for function in [*self.functions, *self._placed()]:
            address = function.address()
            if address in found:
                raise InputError(f"pci: two functions at {address}")
            found[address] = function
        return [found[address] for address in sorted(found)]

    def _placed(self) -> Iterator[PciFunctionSpec]:
        for place in self.places:
            if place.kind not in self.kinds:
                raise InputError(f"pci.places: kind {place.kind!r} is not one of pci.kinds")
            for pattern in place.at:
                for bdf in expand_place(pattern):
                    yield self.kinds[place.kind].function(bdf, place.secondary, place.subordinate)

    def root_buses(self) -> list[HostBridgeSpec]:
        """Host bridges; one for bus 0 to ff when there are functions but no host bridge is described."""
        if self.host_bridges or not (self.functions or self.places):
            return self.host_bridges
        return [HostBridgeSpec(first_bus=0, last_bus=0xFF)]

    def probe_only(self) -> str:
        """The needed kinds as the value of ``pci=probe_only=``."""
        return ";".join(f"pci:{kind}" for kind in self.needed)


def expand_place(pattern: str) -> list[str]:
    """Addresses a place pattern stands for; InputError if it is none."""
    match = _PLACE.match(pattern)
    if not match:
        raise InputError(f"pci.places: {pattern!r} is not a PCI address or range such as 7f:00-04.0-7")
    first, last = int(match[2], 16), int(match[3] or match[2], 16)
    low, high = int(match[4]), int(match[5] or match[4])
    if first > last or last > 31 or low > high:
        raise InputError(f"pci.places: {pattern!r} is an empty range, or goes beyond device 1f")
    return [f"{match[1]}:{dev:02x}.{fn}" for dev in range(first, last + 1) for fn in range(low, high + 1)]


def check_pci(spec: PciSpec, where: str) -> None:
    """Refuse what no hierarchy can be; InputError says which part and why."""
    for bridge in spec.host_bridges:
        if bridge.last_bus < bridge.first_bus:
            raise InputError(f"{where}: host bridge {bridge.name}: last bus {bridge.last_bus:#x} is below the first")
        for window in bridge.windows:
            if window.end < window.start:
                raise InputError(f"{where}: host bridge {bridge.name}: window {window.start:#x} ends before it starts")
            if window.type == "io" and window.end > IO_PORTS_END:
                raise InputError(f"{where}: host bridge {bridge.name}: window {window.end:#x}: the last port is 0xffff")
    endpoints = {function.address() for function in spec.all_functions()} if spec.vmd else set()
    for vmd in spec.vmd:
        if parse_address(vmd.endpoint, f"{where}: pci.vmd") not in endpoints or vmd.last_bus < vmd.first_bus:
            raise InputError(f"{where}: pci.vmd: {vmd.endpoint}: expected a function, and last_bus not below first_bus")
    if spec.ecam_end_bus < spec.ecam_start_bus:
        raise InputError(f"{where}: ecam_end_bus {spec.ecam_end_bus:#x} is below ecam_start_bus")
    for ecam in spec.segments:
        if not ecam.segment or ecam.end_bus < ecam.start_bus:
            raise InputError(f"{where}: pci.segments: expected segments from 1 on, and end_bus not below start_bus")
    for function in spec.all_functions():
        _check_function(function, where)


def _check_function(function: PciFunctionSpec, where: str) -> None:
    if function.raw:
        if len(function.raw) not in (64, 256, 4096):
            raise InputError(f"{where}: {function.bdf}: {len(function.raw)} raw bytes: expected 64, 256 or 4096")
    elif function.kind in BRIDGE_KINDS and None in (function.secondary, function.subordinate):
        raise InputError(f"{where}: {function.bdf}: a bridge needs secondary and subordinate bus numbers")
    taken: set[int] = set()
    for bar in function.bars:
        if bar.size & (bar.size - 1):
            raise InputError(f"{where}: {function.bdf}: BAR {bar.index} size {bar.size:#x} is not a power of two")
        slots = {bar.index, bar.index + 1} if bar.type == "mem64" else {bar.index}
        if slots & taken or max(slots) > (1 if function.kind in BRIDGE_KINDS else 5):
            raise InputError(f"{where}: {function.bdf}: BAR {bar.index} overlaps another or does not fit the header")
        taken |= slots


def load_pci(path: Path) -> PciSpec:
    """Read a PCI description from a TOML file. InputError names file, key path and what was expected."""
    spec = decode_file(path, PciSpec)
    check_pci(spec, str(path))
    return spec
