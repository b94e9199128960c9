"""Namespaces of real servers, against what ACPICA's own acpiexec makes of the same tables."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from hw.bus import Bus
from minikern.acpi.aml_load import acpi_load_tables
from minikern.describe.acpidump import read_acpidump
from minikern.state.acpi import AcpiState, Table
from tests.acpi.support import CORPORA, small_kernel

pytestmark = pytest.mark.oracle
DUMPS = sorted((CORPORA / "acpidump").glob("*.gz")) if CORPORA.is_dir() else []


class Zeros:
    """Ports that read zero, as acpiexec's operation regions do at first."""

    def port_read(self, port: int, size: int) -> int:
        return 0

    def port_write(self, port: int, size: int, value: int) -> None:
        pass


@pytest.mark.parametrize("dump", DUMPS, ids=lambda path: path.name.partition("-")[0])
def test_same_objects_as_acpiexec(dump: Path) -> None:
    name = dump.name.removesuffix(".acpidump.txt.gz")
    oracle = json.loads(gzip.decompress((CORPORA / "acpiexec" / f"{name}.json.gz").read_bytes()))
    tables = read_acpidump(gzip.decompress(dump.read_bytes()).decode("latin-1"))
    bus = Bus()
    bus.map_ports(0, 0x10000, Zeros())
    k = small_kernel(bus)
    k.acpi = AcpiState(tables=[Table(item.signature, item.address, len(item.data), item.data) for item in tables])
    assert acpi_load_tables(k)
    mine = {node.path: node.kind.value for node in k.acpi.namespace.walk()}
    # \_TI_ holds acpiexec's own temporary object
    wanted = {path: kind for path, kind, *_ in oracle["namespace"] if not path.startswith("\\_TI_")}
    assert mine == wanted
    assert f"ACPI: {len(oracle['tables'])} ACPI AML tables successfully acquired and loaded" in k.lines
