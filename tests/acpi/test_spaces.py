"""Address spaces: handlers that are there, that come with a driver, and that nobody installs."""

from __future__ import annotations

from hw.acpi import aml
from hw.acpi.layout import TableIds, sdt
from hw.bus import Bus
from minikern.acpi.acpi_init import acpi_initialize_objects
from minikern.acpi.aml_load import acpi_load_tables
from minikern.acpi.cmos import acpi_install_cmos_rtc
from minikern.acpi.ec import acpi_ec_add, acpi_ec_ecdt_probe
from minikern.state.acpi import AcpiState, Table
from tests.acpi.support import StubKernel

EC_PORTS = bytes.fromhex("4701620062000101" "4701660066000101" "7900")


class FakeController:
    """256 bytes behind ports 0x62 and 0x66; ``slow`` looks at the status find it busy first."""

    def __init__(self, slow: int = 0) -> None:
        self.bytes = bytearray(range(256))
        self.steps: list[int] = []
        self.answer: int | None = None
        self.slow, self.left = slow, slow

    def port_read(self, port: int, size: int) -> int:
        if port == 0x66:
            if self.left:
                self.left -= 1
                return 0x02
            return 0x01 if self.answer is not None else 0
        value, self.answer = self.answer or 0, None
        return value

    def port_write(self, port: int, size: int, value: int) -> None:
        self.left = self.slow
        self.steps = [value] if port == 0x66 else [*self.steps, value]
        if self.steps[0] == 0x80 and len(self.steps) == 2:
            self.answer = self.bytes[value]
        elif self.steps[0] == 0x81 and len(self.steps) == 3:
            self.bytes[self.steps[1]] = value


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


def load(bus: Bus, *terms: bytes, ecdt: bytes = b"") -> StubKernel:
    k = StubKernel(bus)
    data = sdt("DSDT", 2, aml.device("DEV0", list(terms)), TableIds())
    tables = [Table("DSDT", 0x1000, len(data), data)]
    tables += [Table("ECDT", 0x2000, len(ecdt), ecdt)] if ecdt else []
    k.acpi = AcpiState(tables=tables)
    assert acpi_load_tables(k)
    return k


def call(k: StubKernel, name: str, *args: int) -> object:
    return k.acpi.interpreter.evaluate(k.acpi.namespace.find("\\DEV0"), name, args=list(args))


def test_a_space_without_a_handler_ends_the_method_with_linux_lines() -> None:
    k = load(Bus(), *region(7))
    assert call(k, "GETV") is None
    first, second, third = k.lines[-3:]
    assert first.startswith("ACPI Error: No handler for Region [AREA] (") and "[IPMI]" in first
    assert second.startswith("ACPI Error: Region IPMI (ID=7) has no handler (20240827/exfldio-")
    assert third.startswith("ACPI Error: Aborting method \\DEV0.GETV due to previous error (AE_NOT_EXIST)")


def test_the_embedded_controller_is_found_by_its_device() -> None:
    bus, controller = Bus(), FakeController(slow=3)
    bus.map_ports(0x62, 1, controller)
    bus.map_ports(0x66, 1, controller)
    k = load(bus, aml.name("_CRS", aml.buffer(EC_PORTS)), *region(3))
    assert call(k, "GETV") is None
    acpi_ec_add(k.acpi.interpreter, k.acpi.namespace.find("\\DEV0"))
    assert call(k, "GETV") == 0x2120
    assert call(k, "TOLD") == 3 + 1
    call(k, "PUTV", 0xABCD)
    assert controller.bytes[0x20:0x22] == b"\xcd\xab"
    assert k.charges["aml_sleep_us"] > 0


def test_the_embedded_controller_of_the_ecdt_works_before_the_scan() -> None:
    bus, controller = Bus(), FakeController()
    bus.map_ports(0x62, 1, controller)
    bus.map_ports(0x66, 1, controller)
    places = b"".join(bytes([1, 8, 0, 1]) + port.to_bytes(8, "little") for port in (0x66, 0x62))
    k = load(bus, *region(3), ecdt=sdt("ECDT", 1, places + bytes(4) + b"\x17" + b"\\DEV0\0", TableIds()))
    acpi_ec_ecdt_probe(k, k.acpi.interpreter)  # type: ignore[arg-type]
    assert call(k, "GETV") == 0x2120


def test_a_controller_that_never_answers_ends_the_method_after_its_time() -> None:
    bus, controller = Bus(), FakeController(slow=1 << 30)
    bus.map_ports(0x62, 1, controller)
    bus.map_ports(0x66, 1, controller)
    k = load(bus, aml.name("_CRS", aml.buffer(EC_PORTS)), *region(3))
    controller.left = 1 << 30
    acpi_ec_add(k.acpi.interpreter, k.acpi.namespace.find("\\DEV0"))
    assert call(k, "GETV") is None
    assert "(AE_TIME)" in k.lines[-1]
    assert 2_000_000 < k.charges["aml_sleep_us"] < 3_000_000


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
    acpi_initialize_objects(k, k.acpi.interpreter)  # type: ignore[arg-type]
    assert call(k, "TOLD") == 2 + 1
