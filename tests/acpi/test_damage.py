"""Damaged tables: a line in the log, never an exception, never a hang."""

from __future__ import annotations

import functools
import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hw.acpi import static
from hw.acpi.spec import AcpiSpec
from hw.acpi.tables import build_tables
from hw.bus import Bus
from hw.spec import CpuSpec
from minikern.acpi import acpi_init, processor_setup, tables
from minikern.acpi.srat import parse_slit, parse_srat
from minikern.smp import io_apic, madt
from tests.acpi import acpiexec
from tests.acpi.support import FakeIoApic, SmallKernel, small_kernel

SPEC = AcpiSpec(base=0x10_0000, size=0x1_0000, aml="server", oem_loads=1)


@functools.cache
def image() -> tuple[tuple[int, bytes], ...]:
    return tuple(build_tables(SPEC, CpuSpec(count=2, cores=2).topology()))


def boot(bus: Bus) -> SmallKernel:
    bus.map_mmio(0xFEC0_0000, 0x1000, FakeIoApic(0x20, 24))
    k = small_kernel(bus)
    tables.acpi_boot_table_init(k)
    madt.acpi_boot_init(k)
    tables.acpi_early_init(k)
    io_apic.setup_io_apic_irqs(k)
    acpi_init.acpi_subsystem_init(k)
    acpi_init.acpi_pci_init(k)
    acpi_init.acpi_init(k, lambda root: None)
    processor_setup.acpi_processor_init(k)
    return k


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_flipped_bytes(data: st.DataObject) -> None:
    bus = Bus()
    for address, content in image():
        bus.write_bytes(address, content)
    for _ in range(data.draw(st.integers(1, 6))):
        address, content = data.draw(st.sampled_from(image()))
        at = data.draw(st.integers(0, len(content) - 1))
        bus.write_bytes(address + at, bytes([data.draw(st.integers(0, 255))]))
    assert boot(bus).lines


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_as_aml(body: bytes) -> None:
    from hw.acpi.layout import TableIds, sdt
    from minikern.acpi.aml_load import acpi_load_tables
    from minikern.state.acpi import AcpiState, Table

    k = small_kernel(Bus())
    data = sdt("DSDT", 2, body, TableIds())
    k.acpi = AcpiState(tables=[Table("DSDT", 0, len(data), data)])
    assert acpi_load_tables(k)
    k.acpi.namespace.check()


@given(st.binary(max_size=200))
def test_any_bytes_as_affinity(data: bytes) -> None:
    parse_srat(data)
    matrix = parse_slit(data)
    assert matrix is None or all(len(row) == len(matrix) for row in matrix)


def test_sound_tables_boot() -> None:
    bus = Bus()
    for address, content in image():
        bus.write_bytes(address, content)
    k = boot(bus)
    assert "ACPI: Interpreter enabled" in k.lines
    assert not any("rror" in line for line in k.lines)
    assert static.facs()[:4] == b"FACS"


def test_damaged_aml_is_run_whatever_it_says() -> None:
    sound = next(bytes(content) for _, content in image() if content[:4] == b"DSDT")
    names = acpiexec.namespace_of(acpiexec.kernel_of([("DSDT", sound)]))
    draw, changed = random.Random(1), 0
    for _ in range(80):
        damaged = bytearray(sound)
        for _ in range(draw.randint(1, 8)):
            damaged[draw.randrange(36, len(damaged))] = draw.randrange(256)
        k = acpiexec.kernel_of([("DSDT", bytes(damaged))])
        changed += acpiexec.namespace_of(k) != names
        acpiexec.initialize(k)
        k.acpi.namespace.check()
        for node in list(k.acpi.namespace.walk())[:200]:
            acpiexec.evaluate(k, node.path)
    assert changed > 20  # the damage was read, not passed over
