"""A kernel on a machine of just memory, ports and I/O APICs, for tests of the ACPI room."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hw.acpi.spec import AcpiSpec
from hw.acpi.tables import build_tables
from hw.bus import Bus
from minikern.acpi import options as acpi_options
from minikern.core.cmdline import CommandLine
from minikern.core.config import Config
from minikern.core.experiment import Experiment
from minikern.smp import interrupt_mode
from minikern.state.acpi_options import AcpiOptions
from minikern.state.cpuinfo import CpuInfo
from minikern.state.cpus import CpuMaps
from tests.support import behaviour_of, early_options

CAPTURES = Path(__file__).parents[3] / "shared" / "captures"
CORPORA = Path(__file__).parents[3] / "shared" / "corpora" / "acpi"


WIDTHS = (("b", 1), ("w", 2), ("l", 4))


class StubIoApic:
    """Just the version register."""

    def __init__(self, version: int, pins: int) -> None:
        self.value = (pins - 1) << 16 | version

    def mmio_read(self, offset: int, size: int, cpu: object) -> int:
        return self.value if offset == 0x10 else 0

    def mmio_write(self, offset: int, size: int, value: int, cpu: object) -> None:
        pass


class StubHpet:
    """Identification and period registers."""

    def mmio_read(self, offset: int, size: int, cpu: object) -> int:
        return (10_000_000 << 32 | 0x8086_A201) >> 8 * offset & ((1 << 8 * size) - 1) if offset < 8 else 0

    def mmio_write(self, offset: int, size: int, value: int, cpu: object) -> None:
        pass


class StubConfig:
    """Configuration mechanism 1 over a dictionary of (bus, devfn) to 256 bytes."""

    def __init__(self, functions: dict[tuple[int, int], bytearray]) -> None:
        self.functions, self.address = functions, 0

    def port_read(self, port: int, size: int) -> int:
        if port < 0xCFC:
            return self.address
        space = self.functions.get((self.address >> 16 & 0xFF, self.address >> 8 & 0xFF))
        at = (self.address & 0xFC) + port - 0xCFC
        return (1 << 8 * size) - 1 if space is None else int.from_bytes(space[at : at + size], "little")

    def port_write(self, port: int, size: int, value: int) -> None:
        if port < 0xCFC:
            self.address = value
            return
        space = self.functions.get((self.address >> 16 & 0xFF, self.address >> 8 & 0xFF))
        at = (self.address & 0xFC) + port - 0xCFC
        if space is not None:
            space[at : at + size] = value.to_bytes(size, "little")


class StubMemblock:
    """Records what was reserved."""

    def __init__(self) -> None:
        self.reserved: list[tuple[int, int]] = []

    def reserve(self, base: int, size: int, flags: int = 0, nid: int = -1) -> None:
        self.reserved.append((base, size))

    def alloc(self, size: int, align: int, **_: Any) -> int:
        return 0x1000


class StubKernel:
    """The parts of Kernel the ACPI room uses."""

    def __init__(self, bus: Bus, cmdline: str = "", **behaviour: Any) -> None:
        boot_cpu = SimpleNamespace(
            read=bus.read,
            write=bus.write,
            **{f"in{kind}": (lambda port, size=size: bus.port_in(port, size)) for kind, size in WIDTHS},
            **{f"out{kind}": (lambda port, value, size=size: bus.port_out(port, size, value)) for kind, size in WIDTHS},
        )
        self.machine = SimpleNamespace(bus=bus, boot_cpu=boot_cpu)
        self.cmdline = CommandLine(cmdline)
        self.config = Config({})
        self.behaviour = behaviour_of("debian-6.12", **behaviour)
        self.memblock = StubMemblock()
        self.boot_params = SimpleNamespace(acpi_rsdp=0)
        self.acpi_options = AcpiOptions()
        self.experiment = Experiment()
        self.acpi: Any = None
        self.pci = SimpleNamespace(dmar=None)
        self.cpus = CpuMaps(CpuInfo("GenuineIntel", 6, 1, 1, "", 0, 0, frozenset({"apic"})))
        self.lines: list[str] = []
        self.charges: defaultdict[str, int] = defaultdict(int)
        self.marks: list[tuple[str, dict[str, int]]] = []
        early_options(self, acpi_options, interrupt_mode)

    def printk(self, text: str, level: int = 6) -> None:
        self.lines.append(text)
        self.marks.append((text, dict(self.charges)))

    def pr_cont(self, text: str) -> None:
        self.lines[-1] += text

    def charge(self, kind: str, count: int = 1) -> None:
        assert count >= 0
        self.charges[kind] += count


def machine_of(spec: AcpiSpec, **parts: Any) -> Bus:
    """A bus whose memory holds the firmware's tables, with the I/O APICs mapped."""
    bus = Bus()
    for address, data in build_tables(spec, **parts):
        bus.write_bytes(address, data)
    for ioapic in spec.ioapics:
        bus.map_mmio(ioapic.address, 0x1000, StubIoApic(ioapic.version, ioapic.pins))
    if spec.hpet_address:
        bus.map_mmio(spec.hpet_address, 0x400, StubHpet())
    return bus


def capture_folders() -> list[Path]:
    """Every captured boot."""
    return sorted(path.parent for path in CAPTURES.rglob("dmesg.txt")) if CAPTURES.is_dir() else []


def pci_config(folder: Path, firmware_state: bool = True) -> StubConfig:
    """The captured configuration space; the interrupt links as firmware left them (the kernel set their bit 7)."""
    functions = {}
    for path in (folder / "pci" / "config").glob("*.bin"):
        bus, dev, function = int(path.stem[5:7], 16), int(path.stem[8:10], 16), int(path.stem[11:12])
        space = bytearray(path.read_bytes()[:256].ljust(256, b"\0"))
        if firmware_state:
            for at in (*range(0x60, 0x64), *range(0x68, 0x6C)):
                space[at] &= 0x7F
        functions[bus, dev << 3 | function] = space
    return StubConfig(functions)
