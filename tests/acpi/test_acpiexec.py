"""Values and namespaces of real servers, against what ACPICA's own acpiexec makes of the same tables."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import pytest

from minikern.describe.acpidump import read_acpidump
from tests.acpi import acpiexec
from tests.acpi.support import CORPORA

pytestmark = pytest.mark.oracle
DUMPS = sorted((CORPORA / "acpidump").glob("*.gz")) if CORPORA.is_dir() else []
STOPPED = "Executed AML BreakPoint"
"""The tool's debugger halts there and then sees no value; a kernel goes on."""


@pytest.mark.parametrize("dump", DUMPS, ids=lambda path: path.name.partition("-")[0])
def test_same_values_as_acpiexec(dump: Path) -> None:
    oracle = acpiexec.verdict(dump)
    tables = read_acpidump(gzip.decompress(dump.read_bytes()).decode("latin-1"))
    k = acpiexec.kernel_of([(item.signature, item.data) for item in tables])
    acpiexec.initialize(k)
    seen = Counter[str]()
    for path, text in oracle["eval"].items():
        if STOPPED in text:
            continue
        wanted = acpiexec.parse_result(text)
        seen[type(wanted).__name__] += 1
        assert acpiexec.evaluate(k, path) == wanted, path
    assert sum(seen.values()) > 150 and len(seen) >= 3
