"""The machine of the talk: counts of its own tables times unit costs give the intervals of the talk's log."""

from __future__ import annotations

import time
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

from hw.acpi.tables import build_tables
from hw.bus import Bus
from hw.spec import parse_cpulist
from minikern.acpi import acpi_init, tables
from minikern.describe.case import read_case
from minikern.smp import madt
from tests.acpi.support import StubIoApic, StubKernel

MACHINE = Path(__file__).parents[2] / "hw" / "machines" / "lpc2023.toml"
DEFAULTS = Path(__file__).parents[2] / "hw" / "costs" / "acpi.toml"


@pytest.fixture(scope="module")
def boot() -> StubKernel:
    spec = read_case(MACHINE)
    area = next(entry for entry in spec.e820 if entry.type == 3)
    spec.acpi.base, spec.acpi.size = area.start, area.end - area.start
    nodes = [(pxm, parse_cpulist(node.cpus, "node"), node.memory) for pxm, node in enumerate(spec.nodes)]
    start = time.perf_counter()
    placed = build_tables(spec.acpi, spec.cpus.topology(), nodes, spec.distances, spec.pci)
    assert time.perf_counter() - start < 3.0
    bus = Bus()
    for address, data in placed:
        bus.write_bytes(address, data)
    for ioapic in spec.acpi.ioapics:
        bus.map_mmio(ioapic.address, 0x1000, StubIoApic(ioapic.version, ioapic.pins))
    k = StubKernel(bus, acpi_osi_scp=True, acpi_osi_makers=False, acpi_core_revision="20230331")
    tables.acpi_boot_table_init(k)
    madt.acpi_boot_init(k)
    tables.acpi_early_init(k)
    start = time.perf_counter()
    acpi_init.acpi_init(k, lambda root: None)
    assert time.perf_counter() - start < 3.0
    k.printk("before processors")
    assert acpi_init.acpi_processor_init(k) == 128
    k.printk("after processors")
    return k


def costs() -> dict[str, float]:
    units = {kind: entry["ns"] for kind, entry in tomllib.loads(DEFAULTS.read_text()).items()}
    own = tomllib.loads(MACHINE.read_text())["costs"]
    return units | {kind: entry["ns"] for kind, entry in own.items()}


def at(k: StubKernel, prefix: str, instance: int = 0) -> float:
    """Milliseconds booked up to the ``instance``-th line that starts with ``prefix``."""
    units = costs()
    charges = [charges for text, charges in k.marks if text.startswith(prefix)][instance]
    return sum(units[kind] * count for kind, count in charges.items()) / 1e6


def test_every_kind_is_declared(boot: StubKernel) -> None:
    assert boot.charges.keys() <= tomllib.loads(DEFAULTS.read_text()).keys()


def test_lines(boot: StubKernel) -> None:
    start = boot.lines.index("ACPI: Added _OSI(Module Device)")
    assert boot.lines[start : start + 11] == [
        "ACPI: Added _OSI(Module Device)",
        "ACPI: Added _OSI(Processor Device)",
        "ACPI: Added _OSI(3.0 _SCP Extensions)",
        "ACPI: Added _OSI(Processor Aggregator Device)",
        "ACPI: 6 ACPI AML tables successfully acquired and loaded",
        "ACPI: Dynamic OEM Table Load:",
        "ACPI: Dynamic OEM Table Load:",
        "ACPI: Interpreter enabled",
        "ACPI: PM: (supports S0 S5)",
        "ACPI: Using IOAPIC for interrupt routing",
        "ACPI: Enabled 5 GPEs in block 00 to 7F",
    ]
    assert not any("rror" in line for line in boot.lines)


def test_intervals_of_the_talk(boot: StubKernel) -> None:
    times = [
        at(boot, "ACPI: Added _OSI(Processor Agg"),
        at(boot, "ACPI: 6 ACPI AML"),
        at(boot, "ACPI: Dynamic", 0),
        at(boot, "ACPI: Dynamic", 1),
        at(boot, "ACPI: Interpreter"),
        at(boot, "ACPI: Enabled"),
    ]
    intervals = [later - earlier for earlier, later in pairwise(times)]
    assert intervals == pytest.approx([49.1, 20.7, 44.1, 104.3, 9.7], rel=0.03)


def test_total_of_the_talk(boot: StubKernel) -> None:
    total = at(boot, "after processors") - at(boot, "ACPI: Added _OSI(Processor Agg")
    assert total == pytest.approx(301, rel=0.02)
    idle = at(boot, "after processors") - at(boot, "before processors")
    assert idle == pytest.approx(70.6, rel=0.02)
