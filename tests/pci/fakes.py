"""A kernel with just what the PCI room touches, on a real bus with real configuration spaces."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from hw.bus import Bus
from hw.pci.assign import assign_resources
from hw.pci.host import PciTopology, attach_pci
from hw.pci.spec import PciSpec
from minikern import pci
from minikern.acpi import options as acpi_options
from minikern.acpi.interpreter import Interpreter
from minikern.core.cmdline import CommandLine
from minikern.core.config import Config
from minikern.core.experiment import Experiment
from minikern.pci import options as pci_options
from minikern.state.acpi import PciRoot, Window
from minikern.state.acpi_options import AcpiOptions
from tests.support import behaviour_of, early_options

ROOT = Path(__file__).resolve().parents[2]
CAPTURES = ROOT.parent / "shared" / "captures"
OSC_GRANTED = 0x1E  # everything but native hot-plug and LTR, as QEMU grants
LPC2023 = ROOT / "hw" / "machines" / "lpc2023-pci.toml"


class Cpu:
    """Ports and memory of one CPU, straight to the bus."""

    def __init__(self, bus: Bus) -> None:
        self.read, self.write = bus.read, bus.write
        self.inl = lambda port: bus.port_in(port, 4)
        self.inw = lambda port: bus.port_in(port, 2)
        self.inb = lambda port: bus.port_in(port, 1)
        self.outl = lambda port, value: bus.port_out(port, 4, value)
        self.outw = lambda port, value: bus.port_out(port, 2, value)
        self.outb = lambda port, value: bus.port_out(port, 1, value)


class Names:
    """A namespace that finds everything, and nothing in it."""

    def __init__(self) -> None:
        self.children: dict[str, object] = {}

    def find(self, path: str) -> object:
        return self


class Osc(Interpreter):
    """An interpreter whose only method is _OSC; it grants ``granted`` of what is asked."""

    def __init__(self, granted: int = OSC_GRANTED) -> None:
        self.granted = granted
        self.namespace = SimpleNamespace(root=SimpleNamespace(children={}))

    def evaluate(self, node: object, name: str, default: Any = None, args: list[Any] | None = None) -> Any:
        if args is None:
            return default
        uuid, revision, count, request = args
        assert (name, len(uuid), revision, count, len(request)) == ("_OSC", 16, 1, 3, 12)
        request[8:12] = (int.from_bytes(request[8:12], "little") & self.granted).to_bytes(4, "little")
        return bytearray(request)


class FakeKernel:
    """Log, ledger, command line, ACPI answers."""

    def __init__(self, spec: PciSpec, append: str = "", release: str = "debian-6.12", **behaviour: Any) -> None:
        self.bus = Bus()
        self.topology: PciTopology = attach_pci(self.bus, spec)
        assign_resources(self.topology)
        self.machine = SimpleNamespace(boot_cpu=Cpu(self.bus), bus=self.bus, spec=SimpleNamespace(dmi=[], pci=spec))
        self.cmdline = CommandLine(append)
        self.config = Config({"CONFIG_IRQ_REMAP": True})
        self.behaviour = behaviour_of(release, **behaviour)
        self.experiment = Experiment()
        self.nodes: list[object] = []
        self.numa = SimpleNamespace(pxm_to_node={})
        self.e820 = SimpleNamespace(table=[])
        self.lines: list[str] = []
        self.charged: Counter[str] = Counter()
        self.tables: dict[str, bytes] = {}
        self.acpi = SimpleNamespace(mcfg=[], pci_roots=[], table=self.tables.get, fadt=None, disabled=False)
        self.acpi.have_ioapic, self.acpi.ioapics = False, []
        self.acpi.namespace, self.acpi.interpreter = Names(), Osc()
        self.pci = pci.PciState.empty()
        self.acpi_options = AcpiOptions()
        if spec.ecam_base is not None:
            self.acpi.mcfg = [(spec.ecam_base, 0, spec.ecam_start_bus, spec.ecam_end_bus)]
            size = (spec.ecam_end_bus + 1) << 20
            self.e820.table = [SimpleE820(spec.ecam_base, size, 2)]
        instances: Counter[str] = Counter()
        for bridge in spec.root_buses():
            windows = [Window(w.type, w.start, w.end, frozenset()) for w in bridge.windows]
            buses = (bridge.segment, bridge.first_bus, bridge.last_bus)
            root = PciRoot(*buses, bridge.name, bridge.hid, str(bridge.uid), windows, pxm=bridge.pxm)
            root.instance, root.osc = instances[bridge.hid], True
            instances[bridge.hid] += 1
            self.acpi.pci_roots.append(root)
        if spec.drhd:
            self.tables["DMAR"] = dmar_bytes(spec)
        early_options(self, acpi_options, pci_options)
        k: Any = self
        for value in self.cmdline.getall("pcie_ports"):
            pci_options.pcie_port_setup(k, value)

    def printk(self, text: str, level: object = None) -> None:
        self.lines.append(text)

    def charge(self, kind: str, count: int = 1) -> None:
        self.charged[kind] += count

    def boot(self) -> FakeKernel:
        """Every entry point, in boot order."""
        k: Any = self
        for value in k.cmdline.getall("intel_iommu"):
            pci.intel_iommu_setup(k, value)
        pci.detect_intel_iommu(k)
        pci.enable_irq_remapping(k)
        pci.pci_arch_init(k)
        pci.pci_acpi_crs_quirks(k)
        for root in self.acpi.pci_roots:
            span = f"{root.bus_start:02x}" + (f"-{root.bus_end:02x}" if root.bus_end != root.bus_start else "")
            self.printk(f"ACPI: PCI Root Bridge [{root.name}] (domain {root.segment:04x} [bus {span}])")
            pci.acpi_pci_root_add(k, root)
        pci.iommu_subsys_init(k)
        pci.pci_subsys_init(k)
        pci.vga_arb_init(k)
        pci.pcibios_assign_resources(k)
        pci.pci_apply_final_quirks(k)
        pci.pci_iommu_init(k)
        self.pci.check()
        return self

    def class_lines(self, pattern: str) -> list[str]:
        return [line.rstrip() for line in self.lines if re.search(pattern, line)]


class SimpleE820(NamedTuple):
    addr: int
    size: int
    type: int


def dmar_bytes(spec: PciSpec) -> bytes:
    """A DMAR table with the description's units (checksum not needed here)."""
    body = b""
    for unit in spec.drhd:
        scopes = b"".join(
            bytes([scope.type, 6 + 2 * len(scope.path), 0, 0, scope.enumeration_id, scope.bus])
            + bytes(number for step in scope.path for number in step)
            for scope in unit.scopes
        )
        head = (0).to_bytes(2, "little") + (16 + len(scopes)).to_bytes(2, "little") + bytes([unit.include_all, 0])
        body += head + unit.segment.to_bytes(2, "little") + unit.base.to_bytes(8, "little") + scopes
    length = (48 + len(body)).to_bytes(4, "little")
    return b"DMAR" + length + bytes(28) + bytes([spec.dmar_address_width - 1, 1]) + bytes(10) + body


def dmesg(folder: Path) -> list[str]:
    """A captured log without its time stamps."""
    text = (folder / "dmesg.txt").read_text("utf-8", "replace")
    return [re.sub(r"^\[ *[0-9.]+\](?:\[[^\]]*\])? ?", "", line) for line in text.splitlines()]


def windows_from_log(log: list[str]) -> list[Window]:
    """Root bus windows as a captured log shows them: they come from AML, which this room does not read."""
    found = []
    for line in log:
        match = re.match(r"pci_bus 0000:00: root bus resource \[(io|mem) +0x([0-9a-f]+)-0x([0-9a-f]+) window\]", line)
        if match:
            found.append(Window(match[1], int(match[2], 16), int(match[3], 16), frozenset()))
    return found
