"""Expressions of every kind, evaluated by acpiexec and by us."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acpi import acpiexec
from tests.acpi.expressions import BODIES, paths, table_text

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(not acpiexec.have_tools(), reason="acpiexec or iasl is not installed"),
]


def test_every_expression_gives_what_acpiexec_gives(tmp_path: Path) -> None:
    assert len(set(BODIES)) >= 150
    table = acpiexec.compile_asl(tmp_path, table_text())
    assert table is not None
    different, failed = [], 0
    for body, path in zip(BODIES, paths(), strict=True):
        answers = acpiexec.ask([table], [path])  # each in a run of its own: some leave the tool a broken heap
        k = acpiexec.kernel_of([("DSDT", table.read_bytes())])
        acpiexec.initialize(k)
        wanted, got = acpiexec.parse_result(answers[path]), acpiexec.evaluate(k, path)
        failed += isinstance(wanted, tuple) and wanted[0] == "failed"
        if got != wanted:
            different.append(f"{body}: acpiexec {wanted}, here {got}")
    assert not different, "\n".join(different)
    assert 20 < failed < len(BODIES) // 2  # both what works and what does not is tried
