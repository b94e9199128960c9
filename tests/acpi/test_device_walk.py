"""How often a device is asked whether it is there, and which are not asked at all."""

from __future__ import annotations

from collections import Counter

import pytest

from hw.acpi import aml
from hw.acpi.layout import TableIds, sdt
from minikern.acpi.acpi_init import acpi_initialize_objects
from minikern.acpi.aml_load import acpi_load_tables
from minikern.acpi.device_walk import get_devices
from minikern.acpi.interpreter import Interpreter
from minikern.acpi.scan import acpi_bus_scan
from minikern.core.kernel import Kernel
from minikern.describe.acpidump import DumpedTable
from minikern.lab.acpi_source import bare_kernel
from minikern.state.acpi import PciRoot

ABSENT, PRESENT = aml.ZERO, aml.integer(0x0F)
Asked = Counter[tuple[str, str]]


def device(name: str, *terms: bytes, there: bytes = PRESENT, hid: str = "") -> bytes:
    ids = [aml.name("_HID", aml.string(hid))] if hid else []
    return aml.device(name, [*ids, aml.method("_STA", 0, [aml.return_(there)]), *terms])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    seen: Asked = Counter()
    evaluate = Interpreter.evaluate

    def counted(run: Interpreter, scope, name, default=None, args=None):
        seen[scope.name, name] += scope.child(name) is not None
        return evaluate(run, scope, name, default, args)

    monkeypatch.setattr(Interpreter, "evaluate", counted)
    return seen


def loaded(*devices: bytes) -> tuple[Kernel, Interpreter]:
    table = sdt("DSDT", 2, aml.scope("\\_SB", list(devices)), TableIds())
    k = bare_kernel([DumpedTable("DSDT", 0, table)])
    acpi_load_tables(k)
    assert isinstance(k.acpi.interpreter, Interpreter)
    return k, k.acpi.interpreter


def test_initialisation_asks_only_where_there_is_an_ini_below(asked: Asked) -> None:
    ini = aml.method("_INI", 0, [])
    k, run = loaded(device("DEV0"), device("DEV1", ini), device("DEV2", device("DEV3", ini), device("DEV4")),
                    device("DEV5", ini, there=ABSENT))  # fmt: skip
    acpi_initialize_objects(k, run)
    assert sorted(name for (name, what), count in asked.items() if what == "_STA" and count) == [
        "DEV1", "DEV2", "DEV3", "DEV5"]  # fmt: skip
    assert sorted(name for (name, what), count in asked.items() if what == "_INI" and count) == ["DEV1", "DEV3"]


def test_the_scan_asks_all_once_and_those_it_attaches_once_more(asked: Asked) -> None:
    k, _ = loaded(device("DEV0", device("DEV1"), hid="PNP0001"), device("DEV2", device("DEV3"), there=ABSENT))
    k.acpi.pci_roots.clear()
    acpi_bus_scan(k, lambda root: None)
    assert {name: asked[name, "_STA"] for name in ("DEV0", "DEV1", "DEV2", "DEV3")} == {
        "DEV0": 2, "DEV1": 2, "DEV2": 2, "DEV3": 1}  # fmt: skip
    assert k.ledger.count("acpi_device_scan") == 4 + 2  # and \_SB, \_TZ


def test_an_absent_device_counts_in_its_neighbours_number() -> None:
    bridge = [device(f"PCI{number}", there=ABSENT if number == 0 else PRESENT, hid="PNP0A03") for number in range(2)]
    k, _ = loaded(*bridge)
    found: list[PciRoot] = []
    acpi_bus_scan(k, found.append)
    assert [(root.name, root.instance) for root in found] == [("PCI1", 1)]


def test_only_devices_with_the_id_are_asked_whether_they_are_there(asked: Asked) -> None:
    also = aml.name("_CID", aml.package([aml.string("PNP0001"), aml.string("ABC0001")]))
    _, run = loaded(device("DEV0", hid="ABC0001"), device("DEV1", also, hid="PNP0002"), device("DEV2", hid="PNP0003"),
                    device("DEV3", device("DEV4", hid="ABC0001"), hid="ABC0001", there=ABSENT))  # fmt: skip
    assert [node.name for node in get_devices(run, "ABC0001")] == ["DEV0", "DEV1"]
    assert {name for (name, what), count in asked.items() if what == "_STA" and count} == {"DEV0", "DEV1", "DEV3"}
    assert asked["DEV4", "_HID"] == 0
