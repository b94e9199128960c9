"""The real kernel on a machine of just a CPU, memory and what else a test needs, for tests of the ACPI room."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from hw.acpi.spec import AcpiSpec
from hw.acpi.tables import build_tables
from hw.bus import Bus
from hw.machine import Machine
from minikern.acpi import options as acpi_options
from minikern.core.cmdline import CommandLine
from minikern.core.cost_table import machine_costs
from minikern.core.forks import changed
from minikern.core.kernel import Kernel
from minikern.core.release import load_release
from minikern.describe.presets import load_machine
from minikern.smp import interrupt_mode
from minikern.state.cpuinfo import CpuInfo
from minikern.state.cpus import CpuMaps
from minikern.state.memblock import Memblock
from tests.support import early_options

CAPTURES = Path(__file__).parents[3] / "shared" / "captures"
CORPORA = Path(__file__).parents[3] / "shared" / "corpora" / "acpi"
MEMORY = 1 << 32  # bytes that can be reserved


class FakeIoApic:
    """Just the version register."""

    def __init__(self, version: int, pins: int) -> None:
        self.value = (pins - 1) << 16 | version

    def mmio_read(self, offset: int, size: int, cpu: object) -> int:
        return self.value if offset == 0x10 else 0

    def mmio_write(self, offset: int, size: int, value: int, cpu: object) -> None:
        pass


class FakeHpet:
    """Identification and period registers."""

    def mmio_read(self, offset: int, size: int, cpu: object) -> int:
        return (10_000_000 << 32 | 0x8086_A201) >> 8 * offset & ((1 << 8 * size) - 1) if offset < 8 else 0

    def mmio_write(self, offset: int, size: int, value: int, cpu: object) -> None:
        pass


class ConfigSpace:
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


class SmallKernel(Kernel):
    """A kernel that has not begun to boot, on a CPU whose bus has just what a test puts there."""

    @property
    def lines(self) -> list[str]:
        """Texts of the log so far."""
        return [line.text for line in self.log.lines]

    @property
    def charges(self) -> Counter[str]:
        """Pieces of work by kind, of all CPUs."""
        counts: Counter[str] = Counter()
        for entry in self.ledger.entries():
            counts[entry.kind] += entry.pieces
        return counts


def small_kernel(bus: Bus, cmdline: str = "", **behaviour: Any) -> SmallKernel:
    """The kernel of Debian's 6.12, ``behaviour`` set otherwise, with its command line's early words taken in."""
    spec = load_machine("tiny")
    release = load_release("debian-6.12")
    release = msgspec.structs.replace(release, behaviour=changed(release.behaviour, behaviour))
    machine = Machine.power_on(spec)
    machine.bus = bus
    for cpu in machine.cpus:
        cpu.bus = bus
    k = SmallKernel(machine, release, None, machine_costs(spec.name, spec.costs), [])
    k.cmdline = CommandLine(cmdline)
    k.memblock = Memblock()
    k.memblock.add(0, MEMORY)
    k.cpus = CpuMaps(CpuInfo("GenuineIntel", 6, 1, 1, "", 0, 0, frozenset({"apic"})))
    early_options(k, acpi_options, interrupt_mode)
    return k


def machine_of(spec: AcpiSpec, **parts: Any) -> Bus:
    """A bus whose memory holds the firmware's tables, with the I/O APICs mapped."""
    bus = Bus()
    for address, data in build_tables(spec, **parts):
        bus.write_bytes(address, data)
    for ioapic in spec.ioapics:
        bus.map_mmio(ioapic.address, 0x1000, FakeIoApic(ioapic.version, ioapic.pins))
    if spec.hpet_address:
        bus.map_mmio(spec.hpet_address, 0x400, FakeHpet())
    return bus


def capture_folders() -> list[Path]:
    """Every captured boot."""
    return sorted(path.parent for path in CAPTURES.rglob("dmesg.txt")) if CAPTURES.is_dir() else []


def pci_config(folder: Path, firmware_state: bool = True) -> ConfigSpace:
    """The captured configuration space; the interrupt links as firmware left them (the kernel set their bit 7)."""
    functions = {}
    for path in (folder / "pci" / "config").glob("*.bin"):
        bus, dev, function = int(path.stem[5:7], 16), int(path.stem[8:10], 16), int(path.stem[11:12])
        space = bytearray(path.read_bytes()[:256].ljust(256, b"\0"))
        if firmware_state:
            for at in (*range(0x60, 0x64), *range(0x68, 0x6C)):
                space[at] &= 0x7F
        functions[bus, dev << 3 | function] = space
    return ConfigSpace(functions)
