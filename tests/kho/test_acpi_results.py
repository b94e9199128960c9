"""Answers of firmware's methods that the next kernel does not ask for again, and when it does."""

from __future__ import annotations

import msgspec
import pytest

from hw.acpi import aml
from hw.acpi.layout import TableIds, sdt
from minikern.acpi.aml_load import acpi_load_tables
from minikern.acpi.device_walk import status
from minikern.acpi.loaded import loaded_interpreter
from minikern.acpi.results import BLOB, Record, Results, tables_digest, take_results
from minikern.core.experiment import Experiment
from minikern.describe.acpidump import DumpedTable
from minikern.describe.presets import load_preset
from minikern.kexec.load import Kexec
from minikern.kho import incoming
from minikern.lab.acpi_source import bare_kernel
from minikern.lab.kexec import Rebooted, reboot
from minikern.lab.run import Boot, boot
from tests.kexec.images import make_bzimage
from tests.support import texts

KEEPS = Experiment(acpi_results=True)
VERSION = b"7.2.13-kho (root@vm) #1 SMP PREEMPT_DYNAMIC"
ASKED = ("acpi_sta_evaluate", "acpi_crs_evaluate")


def cold(experiment: Experiment = KEEPS) -> Boot:
    machine = load_preset("tiny")
    machine.acpi.dsdt_standin = 12_000
    return boot(machine, release="kho-7.2", append="kho=on", experiment=experiment)


def again(first: Boot) -> Rebooted:
    kernel = bytes(make_bzimage(init_size=0x1000000, version=VERSION))
    return reboot(first, Kexec(first.kernel).kexec_file_load(kernel, b"initrd" * 999, first.kernel.cmdline.text))


@pytest.fixture(scope="module")
def pair() -> tuple[Boot, Rebooted]:
    first = cold()
    return first, again(first)


def test_the_second_kernel_asks_for_nothing_it_was_left(pair: tuple[Boot, Rebooted]) -> None:
    first, second = pair[0].kernel, pair[1].boot.kernel
    asked, left = (sum(k.ledger.count(kind) for kind in ASKED) for k in (first, second))
    assert asked > 10 and left < asked / 4
    assert second.ledger.count("acpi_result_restore") == asked - left
    assert first.ledger.count("acpi_result_restore") == 0


def test_it_finds_the_same_devices(pair: tuple[Boot, Rebooted]) -> None:
    first, second = (done for done in (pair[0], pair[1].boot))
    assert first.kernel.acpi.pci_roots == second.kernel.acpi.pci_roots
    results = first.kernel.acpi.results
    assert isinstance(results, Results)
    left = len(results.leaves.status) + len(results.leaves.resources)
    assert f"ACPI: {left} results of the last kernel" in texts(second)


def test_what_is_left_again_is_what_came(pair: tuple[Boot, Rebooted]) -> None:
    first, second = (done.kernel.acpi.results for done in (pair[0], pair[1].boot))
    assert isinstance(first, Results) and isinstance(second, Results)
    assert first.leaves == second.leaves and first.leaves.status and first.leaves.resources


def test_without_the_experiment_nothing_is_left() -> None:
    second = again(cold(Experiment())).boot
    assert second.kernel.ledger.count("acpi_result_restore") == 0
    assert not any("last kernel" in text for text in texts(second))
    assert incoming.blob(second.kernel, BLOB, 100) is None


@pytest.mark.parametrize(("blob", "why"), [
    (b"\xff\xff", "it cannot be read"), (b"", "it cannot be read"),
    (msgspec.msgpack.encode(Record("other", {"\\_SB_._STA": 0})), "the firmware's tables are others"),
])  # fmt: skip
def test_what_does_not_fit_is_not_used(blob: bytes, why: str) -> None:
    k = cold(Experiment()).kernel
    take_results(k, blob)
    assert k.log.lines[-1].text == f"ACPI: results of the last kernel are not used: {why}"
    assert isinstance(k.acpi.results, Results) and k.acpi.results.came is None


def test_a_changed_table_has_another_digest() -> None:
    state = cold(Experiment()).kernel.acpi
    before = tables_digest(state)
    table = next(item for item in state.tables if item.signature == "DSDT")
    assert table.data is not None
    table.data = table.data[:-1] + bytes([table.data[-1] ^ 1])
    assert tables_digest(state) != before


def test_an_answer_that_comes_from_a_register_is_asked_for_anew() -> None:
    region = aml.operation_region("REGN", 0, aml.integer(0x1000), aml.integer(8))
    register = [region, aml.field("REGN", 1, [("FLD0", 8)])]
    devices = [
        aml.device("DEV0", [aml.method("_STA", 0, [aml.return_(aml.integer(0x0F))])]),
        aml.device("DEV1", [*register, aml.method("_STA", 0, [aml.return_(aml.name_path("FLD0"))])]),
    ]
    k = bare_kernel([DumpedTable("DSDT", 0, sdt("DSDT", 2, aml.scope("\\_SB", devices), TableIds()))])
    take_results(k, None)
    acpi_load_tables(k)
    run = loaded_interpreter(k)
    for name in ("DEV0", "DEV1"):
        node = run.namespace.find(f"\\_SB.{name}")
        assert node is not None
        status(run, node)
    assert isinstance(k.acpi.results, Results)
    assert k.acpi.results.leaves.status == {"\\_SB_.DEV0._STA": 0x0F}
