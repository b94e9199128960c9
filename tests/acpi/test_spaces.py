"""Address spaces: handlers that are there, that come with a driver, and that nobody installs."""

from __future__ import annotations

from hw.acpi import aml
from hw.acpi.layout import TableIds, sdt
from hw.bus import Bus
from minikern.acpi.acpi_init import acpi_initialize_objects
from minikern.acpi.aml_load import acpi_load_tables
from minikern.acpi.cmos import acpi_install_cmos_rtc
from minikern.state.acpi import AcpiState, Table
from tests.acpi.support import SmallKernel, small_kernel


class FakeClock:
    """CMOS memory behind ports 0x70 and 0x71."""

    def __init__(self) -> None:
        self.bytes, self.index = bytearray(128), 0

    def port_read(self, port: int, size: int) -> int:
        return self.bytes[self.index]

    def port_write(self, port: int, size: int, value: int) -> None:
        if port == 0x70:
            self.index = value & 0x7F
        else:
            self.bytes[self.index] = value


def region(space: int, bits: int = 16) -> list[bytes]:
    """A region of 256 bytes with one field at byte 0x20, a reader, a writer and a _REG that keeps what it is told."""
    field = aml.field("AREA", 1, [("", 0x20 * 8), ("DATA", bits)])
    return [
        aml.operation_region("AREA", space, aml.integer(0), aml.integer(0x100)),
        field,
        aml.name("TOLD", aml.integer(0)),
        aml.method("_REG", 2, [aml.store(aml.add(aml.arg(0), aml.arg(1)), b"TOLD")]),
        aml.method("GETV", 0, [aml.return_(b"DATA")]),
        aml.method("PUTV", 1, [aml.store(aml.arg(0), b"DATA")]),
    ]


def load(bus: Bus, *terms: bytes) -> SmallKernel:
    k = small_kernel(bus)
    data = sdt("DSDT", 2, aml.device("DEV0", list(terms)), TableIds())
    k.acpi = AcpiState(tables=[Table("DSDT", 0x1000, len(data), data)])
    assert acpi_load_tables(k)
    return k


def call(k: SmallKernel, name: str, *args: int) -> object:
    return k.acpi.interpreter.evaluate(k.acpi.namespace.find("\\DEV0"), name, args=list(args))


def test_a_space_without_a_handler_ends_the_method_with_linux_lines() -> None:
    k = load(Bus(), *region(7))
    assert call(k, "GETV") is None
    first, second, third = k.lines[-3:]
    assert first.startswith("ACPI Error: No handler for Region [AREA] (") and "[IPMI]" in first
    assert second.startswith("ACPI Error: Region IPMI (ID=7) has no handler (20240827/exfldio-")
    assert third.startswith("ACPI Error: Aborting method \\DEV0.GETV due to previous error (AE_NOT_EXIST)")


def test_cmos_memory_comes_with_the_clock() -> None:
    bus, clock = Bus(), FakeClock()
    bus.map_ports(0x70, 2, clock)
    k = load(bus, *region(5, bits=8))
    assert call(k, "GETV") is None
    acpi_install_cmos_rtc(k.acpi.interpreter)
    call(k, "PUTV", 0x5A)
    assert clock.bytes[0x20] == 0x5A and call(k, "GETV") == 0x5A


def test_pci_configuration_space_is_announced() -> None:
    k = load(Bus(), aml.name("_ADR", aml.integer(0)), *region(2))
    acpi_initialize_objects(k, k.acpi.interpreter)
    assert call(k, "TOLD") == 2 + 1
