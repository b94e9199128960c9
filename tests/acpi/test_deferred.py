"""Secondary tables that are loaded when an object of theirs is touched: which are, when, and for how much work."""

from __future__ import annotations

from collections import Counter

from hw.acpi import aml
from hw.acpi.layout import TableIds, sdt
from minikern.acpi.aml_load import acpi_load_tables
from minikern.acpi.interpreter import Interpreter
from minikern.acpi.scan import acpi_bus_scan
from minikern.core.experiment import Experiment
from minikern.core.kernel import Kernel
from minikern.describe.acpidump import DumpedTable
from minikern.lab.acpi_source import bare_kernel
from minikern.state.namespace import Node

KINDS = ("acpi_table_load", "aml_term", "aml_object_create", "aml_method_byte")
LISTS = aml.scope("\\_SB.DEV0", [aml.name("LIST", aml.package([aml.integer(number) for number in range(50)]))])
USES = aml.scope("\\_SB.DEV0", [aml.name("COPY", aml.ZERO), aml.store(aml.name_path("\\DATA"), aml.name_path("COPY"))])
TABLES = {
    "LISTS": LISTS,
    "DEVICE": aml.scope("\\_SB", [aml.device("DEV1", [aml.name("_ADR", aml.ZERO)])]),
    "DATA": aml.name("\\DATA", aml.integer(7)),
    "USES": USES,
}


def loaded(tables: str) -> tuple[Kernel, Interpreter]:
    dsdt = sdt("DSDT", 2, aml.scope("\\_SB", [aml.device("DEV0", [aml.name("_ADR", aml.ZERO)])]), TableIds())
    more = [sdt("SSDT", 2, body, TableIds(oem_table_id=name)) for name, body in TABLES.items()]
    k = bare_kernel([DumpedTable(data[:4].decode(), 0, data) for data in (dsdt, *more)])
    k.experiment = Experiment(acpi_tables=tables)  # type: ignore[arg-type]
    assert acpi_load_tables(k)
    run = k.acpi.interpreter
    assert isinstance(run, Interpreter)
    return k, run


def device(run: Interpreter, name: str = "DEV0") -> Node:
    found = run.namespace.find(f"\\_SB.{name}")
    assert found is not None
    return found


def work(k: Kernel) -> Counter[str]:
    return Counter({kind: k.ledger.count(kind) for kind in KINDS})


def touched(run: Interpreter) -> list[str]:
    assert run.deferred is not None
    return [name.removeprefix("SSDT ") for name in run.deferred.touched]


def test_nothing_is_loaded_before_it_is_touched() -> None:
    (_, _), (k, run) = loaded("all"), loaded("needed")
    assert k.ledger.count("acpi_table_load") == 1
    assert k.ledger.count("aml_index_name") >= 4
    assert touched(run) == []
    assert k.log.lines[-1].text == "ACPI: 1 ACPI AML tables successfully acquired and loaded"


def test_an_object_that_is_asked_for_brings_its_table_once() -> None:
    k, run = loaded("needed")
    before = work(k)
    assert run.evaluate(device(run), "LIST") == list(range(50))
    first = work(k)
    run.evaluate(device(run), "LIST")
    assert touched(run) == ["LISTS"]
    assert first["acpi_table_load"] - before["acpi_table_load"] == 1
    assert work(k)["acpi_table_load"] == first["acpi_table_load"]


def test_the_scan_brings_tables_with_devices_only() -> None:
    k, run = loaded("needed")
    acpi_bus_scan(k, lambda root: None)
    assert touched(run) == ["DEVICE"]


def test_a_table_brings_those_it_needs_first() -> None:
    _, run = loaded("needed")
    assert run.evaluate(device(run), "COPY") == 7
    assert touched(run) == ["DATA", "USES"]


def test_all_touched_is_all_the_work_and_the_same_namespace() -> None:
    (every, at_once), (k, run) = loaded("all"), loaded("needed")
    acpi_bus_scan(k, lambda root: None)
    for name in ("LIST", "COPY"):
        run.evaluate(device(run), name)
    assert {name: work(k)[name] for name in KINDS} == {name: work(every)[name] for name in KINDS}
    assert [node.path for node in run.namespace.walk()] == [node.path for node in at_once.namespace.walk()]
