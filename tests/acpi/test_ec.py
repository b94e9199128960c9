"""The embedded controller: its driver's lines by release, and accesses that take the controller's own time."""

from __future__ import annotations

import gzip
import re

import pytest

from hw.acpi.ec import ec_device, ecdt
from hw.acpi.layout import TableIds, sdt
from hw.acpi.spec import EcSpec
from hw.bus import Bus
from hw.embedded_controller import READ, EmbeddedController
from minikern.acpi.acpi_init import acpi_initialize_objects
from minikern.acpi.aml_load import acpi_load_tables
from minikern.acpi.ec_driver import acpi_ec_dsdt_probe, acpi_ec_ecdt_probe, acpi_ec_init
from minikern.acpi.interpreter import Interpreter
from minikern.acpi.loaded import loaded_interpreter
from minikern.acpi.scan import acpi_bus_scan
from minikern.describe.dmesg_ec import embedded_controller
from minikern.describe.presets import load_machine
from minikern.lab.run import boot
from minikern.state.acpi import AcpiState, Table
from tests.acpi.support import SmallKernel, small_kernel
from tests.support import SHARED

SPEC = EcSpec(path="\\_SB_.PCI0.LPCB.EC0_", gpe=0x50)
PORTS = "EC_CMD/EC_SC=0x66, EC_DATA=0x62"
PATH = "ACPI: \\_SB_.PCI0.LPCB.EC0_:"
START = ["ACPI: EC: EC started", "ACPI: EC: interrupt blocked"]
END = ["ACPI: EC: interrupt unblocked", "ACPI: EC: event unblocked"]


def kernel(spec: EcSpec = SPEC, answers: bool = True, lines: str = "ports") -> SmallKernel:
    k = small_kernel(Bus(), acpi_ec_lines=lines)
    if answers:
        chip = EmbeddedController(k.machine.clock, spec.byte_ns)
        chip.bytes[:] = range(256)
        chip.attach(k.machine.bus, spec.data_port, spec.command_port)
    dsdt = sdt("DSDT", 2, ec_device(spec, []), TableIds())
    tables = {"DSDT": dsdt} | ({"ECDT": ecdt(spec, TableIds())} if spec.ecdt else {})
    k.acpi = AcpiState(tables=[Table(name, 0x1000, len(data), data) for name, data in tables.items()])
    assert acpi_load_tables(k)
    return k


def bring_up(k: SmallKernel) -> Interpreter:
    """What the kernel does up to where the scan is over."""
    run = loaded_interpreter(k)
    acpi_ec_ecdt_probe(k, run)
    acpi_initialize_objects(k, run)
    acpi_ec_dsdt_probe(k, run)
    acpi_bus_scan(k, lambda root: None)
    acpi_ec_init(k, run)
    return run


def field(run: Interpreter, number: int) -> object:
    node = run.namespace.find(SPEC.path)
    assert node is not None
    return run.evaluate(node, f"EB{number:02X}")


@pytest.mark.parametrize(("words", "before", "after"), [
    ("boot", [f"{PATH} Used as first EC", f"{PATH} GPE=0x50, {PORTS}",
              f"{PATH} Used as boot DSDT EC to handle transactions"],
     [f"{PATH} GPE=0x50, {PORTS}", f"{PATH} Used as boot DSDT EC to handle transactions and events"]),
    ("first", [f"{PATH} Used as first EC", f"{PATH} GPE=0x50, {PORTS}",
               f"{PATH} Boot DSDT EC used to handle transactions"],
     [f"{PATH} GPE=0x50, {PORTS}", f"{PATH} Boot DSDT EC used to handle transactions and events"]),
    ("irq", [f"{PATH} Used as first EC", f"{PATH} GPE=0x50, IRQ=-1, {PORTS}",
             f"{PATH} Boot DSDT EC used to handle transactions"],
     [f"{PATH} GPE=0x50, IRQ=-1, {PORTS}", f"{PATH} Boot DSDT EC used to handle transactions and events"]),
    ("ports", [f"ACPI: EC: {PORTS}", f"{PATH} Boot DSDT EC used to handle transactions"],
     [f"ACPI: EC: {PORTS}", "ACPI: EC: GPE=0x50", f"{PATH} Boot DSDT EC initialization complete",
      f"{PATH} EC: Used to handle transactions and events"]),
])  # fmt: skip
def test_lines_of_a_controller_of_the_namespace(words: str, before: list[str], after: list[str]) -> None:
    k = kernel(lines=words)
    bring_up(k)
    assert [line for line in k.lines if "EC" in line] == [*START, *before, *END, *after]


@pytest.mark.parametrize(("words", "before", "kind"), [
    ("first", ["ACPI: \\: Used as first EC", f"ACPI: \\: GPE=0x50, {PORTS}"], "DSDT"),
    ("ports", [f"ACPI: EC: {PORTS}"], "ECDT"),
])  # fmt: skip
def test_lines_of_a_controller_with_its_own_table(words: str, before: list[str], kind: str) -> None:
    k = kernel(EcSpec(path=SPEC.path, gpe=0x50, ecdt=True), lines=words)
    bring_up(k)
    said = [line for line in k.lines if "EC" in line]
    assert said[: len(before) + 3] == [*START, *before, "ACPI: EC: Boot ECDT EC used to handle transactions"]
    assert any(line.startswith(f"{PATH} Boot {kind} EC ") for line in said[len(before) + 3 :])


def test_an_access_takes_the_controllers_own_time_in_looks_at_its_status() -> None:
    slow, fast = (kernel(EcSpec(path=SPEC.path, byte_ns=byte_ns)) for byte_ns in (400_000, 10_000))
    for k, byte_ns in ((slow, 400_000), (fast, 10_000)):
        run = bring_up(k)
        looks, begin = k.charges["aml_ec_poll"], k.machine.clock.now
        assert field(run, 3) == 3
        assert 2 * byte_ns <= k.machine.clock.now - begin < 2.1 * byte_ns + 20_000
        assert k.charges["aml_ec_poll"] - looks == pytest.approx(2 * byte_ns / 1000, rel=0.05, abs=4)
        assert k.charges["aml_ec_access"] == 0


def test_what_is_written_stays() -> None:
    k = kernel()
    run = bring_up(k)
    handler = run.spaces[3]
    node = run.namespace.find("\\_SB_.PCI0.LPCB.EC0_.ECRM")
    assert node is not None
    handler(run, node.value, 0x20, 2, 0xABCD)
    assert handler(run, node.value, 0x20, 2, None) == 0xABCD


def test_where_no_controller_answers_there_is_no_driver() -> None:
    k = kernel(answers=False)
    run = bring_up(k)
    assert not any("ACPI: EC" in line for line in k.lines)
    assert 3 not in run.spaces


def test_a_controller_that_never_answers_ends_the_method_after_its_time() -> None:
    k = kernel(EcSpec(path=SPEC.path, byte_ns=1_000_000_000))
    run = loaded_interpreter(k)
    acpi_ec_dsdt_probe(k, run)
    begin = k.machine.clock.now
    k.machine.boot_cpu.outb(SPEC.command_port, READ)
    k.machine.boot_cpu.outb(SPEC.command_port, READ)
    assert field(run, 0) is not None  # 1 s for a byte is within five times half a second
    assert k.machine.clock.now - begin > 2_000_000_000


@pytest.mark.parametrize("lines", [
    [f"ACPI: EC: {PORTS}", f"{PATH} Boot DSDT EC used to handle transactions", "ACPI: EC: GPE=0x50"],
    [f"{PATH} GPE=0x50, {PORTS}"],
])  # fmt: skip
def test_a_log_tells_where_it_is(lines: list[str]) -> None:
    assert embedded_controller(lines) == SPEC
    assert embedded_controller(lines, range(0x60, 0x70)) is None
    assert embedded_controller(lines[1:] if len(lines) == 3 else []) is None


def test_a_described_machine_boots_with_its_controller() -> None:
    machine = load_machine("tiny")
    machine.acpi.ec = EcSpec(path="\\_SB_.PCI0.LPC0.EC0_", ecdt=True)
    k = boot(machine).kernel
    said = [line.text for line in k.log.lines if "EC" in line.text]
    assert f"ACPI: EC: {PORTS}" in said and any(line.startswith("ACPI: ECDT 0x") for line in said)
    assert k.ledger.count("aml_ec_poll") > 100
    assert not any("Error" in line.text for line in k.log.lines)


LOGS = ("timed/e7250-4cpu-5.4-initcall", "timed/z690-16cpu-5.15-run1", "dmesg/laptop-kexec-efi-esrt-2boots",
        "timed/framework-desktop-32cpu-6.14")  # fmt: skip
TOLD = re.compile(
    r"Low-power S0|ACPI: (?:EC: .*|\\.*: (?:Used as first EC|GPE=.*|Boot DSDT EC .*|EC: .*)|Interpreter enabled)$"
)


@pytest.mark.parametrize("name", LOGS)
def test_the_lines_of_real_logs_in_their_places(name: str) -> None:
    path = SHARED / "corpora" / f"{name}.log.gz"
    if not path.is_file():
        pytest.skip(f"no shared/corpora/{name} beside the checkout")
    lines = [line.rpartition("] ")[2] if line.startswith("[") else line
             for line in gzip.decompress(path.read_bytes()).decode("utf-8", "replace").splitlines()]  # fmt: skip
    wanted = [line for line in lines if TOLD.match(line)]
    said = [line.text for line in boot(load_machine(str(path))).kernel.log.lines if TOLD.match(line.text)]
    assert len(said) >= 8
    assert said == wanted[: len(said)]  # of several boots in a log the first
