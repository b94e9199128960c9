"""What the kernel knows about PCI: resources, devices, buses, and the state of the whole subsystem.

Source: include/linux/ioport.h, include/linux/pci.h @ v6.12
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from minikern.state.interrupts import InterruptNumbers
from minikern.state.pci_options import PciOptions

if TYPE_CHECKING:
    from minikern.state.dmar import DmarState
    from minikern.state.namespace import Node
    from minikern.state.pci_access import ConfigAccess
    from minikern.state.pci_select import ProbeList

IORESOURCE_IO = 0x100
IORESOURCE_MEM = 0x200
IORESOURCE_MEM_WRITEABLE = 0x1
IORESOURCE_BUS = 0x1000
IORESOURCE_PREFETCH = 0x2000
IORESOURCE_MEM_64 = 0x10_0000
IORESOURCE_WINDOW = 0x20_0000
IORESOURCE_ROM_SHADOW, IORESOURCE_PCI_FIXED = 0x2, 0x10
IORESOURCE_UNSET = 0x2000_0000
TYPE_BITS = IORESOURCE_IO | IORESOURCE_MEM | IORESOURCE_BUS

STD_BARS, ROM, IOV, WINDOWS = 6, 6, 7, 13
"""Resource slots of a device: BARs 0-5, the ROM, BARs 0-5 of all its virtual functions, then a bridge's I/O, memory and
prefetchable windows. Source: include/linux/pci.h @ v6.12, with CONFIG_PCI_IOV"""
WINDOW_SLOTS = 3
DEVICE_SLOTS = WINDOWS + WINDOW_SLOTS
MAX_TRANSPARENT_WINDOWS = 64  # windows a subtractive bridge inherits

TYPE_ENDPOINT, TYPE_LEGACY, TYPE_ROOT_PORT, TYPE_UPSTREAM, TYPE_DOWNSTREAM = 0, 1, 4, 5, 6
TYPE_PCI_BRIDGE, TYPE_PCIE_BRIDGE, TYPE_RC_END, TYPE_RC_EC = 7, 8, 9, 10
"""PCI Express device/port types. Source: include/uapi/linux/pci_regs.h @ v6.12"""
SLOT_WORDS = {
    "AttnBtn": 0x01, "PwrCtrl": 0x02, "MRL": 0x04, "AttnInd": 0x08, "PwrInd": 0x10, "HotPlug": 0x40, "Surprise": 0x20,
    "Interlock": 0x2_0000, "NoCompl": 0x4_0000,
}  # fmt: skip
"""Bits of the slot capabilities by the words of a port's line, in its order. Source: PCIe specification, 7.5.3.9"""
DPC_WORDS = {"RPExt": 0x20, "PoisonedTLP": 0x40, "SwTrigger": 0x80, "DL_ActiveErr": 0x1000}
"""Of the DPC capability, the same way. Source: PCI Express Base Specification, 7.9.15"""


@dataclass(slots=True)
class Resource:
    """An address range, ``end`` inclusive; empty when end < start. ``parent`` is set once it is claimed."""

    start: int = 0
    end: int = -1
    flags: int = 0
    parent: Resource | None = None
    children: list[Resource] = field(default_factory=list)
    align: int = 0  # for a window that is being sized; BARs align to their size

    @property
    def size(self) -> int:
        """Bytes in the range."""
        return self.end - self.start + 1

    def contains(self, other: Resource) -> bool:
        """True if ``other`` is of the same type and lies inside."""
        same = self.flags & TYPE_BITS == other.flags & TYPE_BITS
        return same and self.start <= other.start and other.end <= self.end

    def conflict(self, start: int, end: int) -> Resource | None:
        """A claimed range inside this one that overlaps [start, end]; None if there is none."""
        return next((child for child in self.children if child.start <= end and start <= child.end), None)

    def claim(self, child: Resource) -> None:
        """Make ``child`` part of this range."""
        self.children.append(child)
        child.parent = self

    def __str__(self) -> str:
        """The range as the log prints resources. Source: lib/vsprintf.c:resource_string() @ v6.12"""
        if self.flags & IORESOURCE_BUS:
            single = self.start == self.end
            return f"[bus {self.start:02x}]" if single else f"[bus {self.start:02x}-{self.end:02x}]"
        kind, digits = ("io ", 4) if self.flags & IORESOURCE_IO else ("mem", 8)
        if self.flags & IORESOURCE_UNSET:
            text = f"[{kind} size 0x{self.size:0{digits}x}"
        elif self.start == self.end:
            text = f"[{kind} 0x{self.start:0{digits}x}"
        else:
            end = self.end & (1 << 64) - 1
            text = f"[{kind} 0x{self.start:0{digits}x}-0x{end:0{digits}x}"
        text += " 64bit" if self.flags & IORESOURCE_MEM_64 else ""
        text += " pref" if self.flags & IORESOURCE_PREFETCH else ""
        text += " window" if self.flags & IORESOURCE_WINDOW else ""
        return text + "]"


@dataclass(eq=False, slots=True)
class PciDev:
    """One function the kernel has set up."""

    access: ConfigAccess
    bus: PciBus
    devfn: int
    vendor: int
    device: int
    class_code: int = 0
    revision: int = 0
    hdr_type: int = 0
    multifunction: bool = False
    pcie_cap: int = 0
    pcie_type: int = 0
    pcie_version: int = 0
    cfg_size: int = 256
    acs_cap: int = 0
    acs_by_quirk: bool = False  # isolation was turned on by other registers than the capability's
    dma_aliases: set[int] = field(default_factory=set)  # devfns of its bus whose ids its requests carry too
    sriov_cap: int = 0
    total_vfs: int = 0
    vf_bytes: dict[int, int] = field(default_factory=dict)  # bytes of one virtual function's share, by slot
    transparent: bool = False
    is_hotplug_bridge: bool = False
    ari_enabled: bool = False
    io_window: bool = False
    pref_window: bool = False
    pref_64_window: bool = False
    pin: int = 0
    irq: int = 0  # its interrupt line; once it is enabled, the number the kernel gave it
    irq_managed: bool = False  # the interrupt of its pin is routed
    msi_count: int = 0  # vectors it signals by messages
    enabled: bool = False
    driver: str = "pci"  # what its lines begin with
    subordinate: PciBus | None = None
    resources: list[Resource] = field(default_factory=lambda: [Resource() for _ in range(DEVICE_SLOTS)])
    iommu_group: int | None = None
    reads: int = 0  # configuration accesses made to it so far
    writes: int = 0

    @property
    def name(self) -> str:
        """The device's name in the log."""
        return f"{self.bus.segment:04x}:{self.bus.number:02x}:{self.devfn >> 3:02x}.{self.devfn & 7}"

    @property
    def is_bridge(self) -> bool:
        """True for a type 1 header."""
        return self.hdr_type == 1

    @property
    def is_cardbus(self) -> bool:
        """True for a type 2 header: a bridge to a slot for cards."""
        return self.hdr_type == 2

    @property
    def is_pcie(self) -> bool:
        """True if it has a PCI Express capability."""
        return self.pcie_cap != 0

    def read(self, register: int, size: int) -> int:
        """Configuration read of 1, 2 or 4 bytes."""
        self.reads += 1
        return self.access.read(self.bus.segment, self.bus.number, self.devfn, register, size)

    def write(self, register: int, size: int, value: int) -> None:
        """Configuration write of 1, 2 or 4 bytes."""
        self.writes += 1
        self.access.write(self.bus.segment, self.bus.number, self.devfn, register, size, value)


@dataclass(eq=False, slots=True)
class PciBus:
    """One bus: ``self_dev`` is the bridge above it (None for a root bus); ``windows`` are what reaches it."""

    segment: int
    number: int
    busn: Resource
    parent: PciBus | None = None
    self_dev: PciDev | None = None
    devices: list[PciDev] = field(default_factory=list)
    children: list[PciBus] = field(default_factory=list)
    windows: list[Resource] = field(default_factory=list)
    ext_config: bool = True
    firmware_node: Node | None = None  # of the bridge above, in the firmware's namespace
    control: int = 0  # of a root bus: what the firmware lets the kernel control
    vmd: PciDev | None = None  # of a root bus: the device it is behind, in whose name its devices access memory

    @property
    def name(self) -> str:
        """The bus's name in the log."""
        return f"{self.segment:04x}:{self.number:02x}"

    @property
    def root(self) -> PciBus:
        """The root bus of its hierarchy."""
        here = self
        while here.parent is not None:
            here = here.parent
        return here

    @property
    def is_root(self) -> bool:
        """True if a host bridge leads to it."""
        return self.parent is None


@dataclass
class Slot:
    """A slot that a bus has; ``hotplug``: somebody drives it."""

    name: str
    hotplug: bool = False


@dataclass
class EcamRegion:
    """An ECAM window: ``base`` is where bus 0 of the segment would be. ``end_bus`` is inclusive."""

    base: int
    segment: int
    start_bus: int
    end_bus: int

    @property
    def start(self) -> int:
        """First address."""
        return self.base + (self.start_bus << 20)

    @property
    def end(self) -> int:
        """Last address."""
        return self.base + (self.end_bus + 1 << 20) - 1


@dataclass
class PciState:
    """Everything the kernel knows about PCI. ``devices`` is in discovery order."""

    devices: list[PciDev] = field(default_factory=list)
    roots: list[PciBus] = field(default_factory=list)
    ecam: list[EcamRegion] = field(default_factory=list)
    options: PciOptions = field(default_factory=PciOptions)
    access: ConfigAccess | None = None
    dmar: DmarState | None = None
    groups: int = 0
    skipped: int = 0  # functions found but not set up
    acs_requested: bool = False
    only: ProbeList | None = None  # limits which functions are set up
    passthrough: bool = False
    amd_remapping: str = ""  # how AMD's IOMMUs remap interrupts: "xapic" or "x2apic"; empty: not at all
    breadth_first: bool = False  # devices are put in order of their buses once all are found
    slots: dict[tuple[int, int, int], Slot] = field(default_factory=dict)  # by (segment, bus, device)
    said: set[str] = field(default_factory=set)  # lines that come but once
    interrupts: InterruptNumbers = field(default_factory=InterruptNumbers)
    map_graphics: bool = True  # DMA of integrated graphics is translated too

    @classmethod
    def empty(cls) -> PciState:
        """The state before pci_arch_init."""
        return cls()

    def find_bus(self, segment: int, number: int) -> PciBus | None:
        """The bus with that number, if it was found."""
        pending = list(self.roots)
        while pending:
            bus = pending.pop()
            if (bus.segment, bus.number) == (segment, number):
                return bus
            pending.extend(bus.children)
        return None

    def check(self) -> None:
        """Raise AssertionError unless buses, devices and resources hang together."""
        for device in self.devices:
            assert device in device.bus.devices, f"{device.name} is not on its bus"
            if device.subordinate is not None:
                assert device.subordinate.self_dev is device, f"{device.name}: its bus has another bridge"
                assert device.subordinate.number > device.bus.number, f"{device.name}: bus numbers do not grow"
            for resource in device.resources:
                if resource.parent is not None:
                    assert resource.parent.contains(resource), f"{device.name}: {resource} is outside its parent"
