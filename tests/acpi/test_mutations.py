"""Mutated DSDTs: run, never an exception, never a hang, never more memory than a table can ask for."""

from __future__ import annotations

import os

from tests.acpi import mutations

MUTANTS = int(os.environ.get("MINIKERN_MUTANTS", "60"))  # 10000 take some minutes
MOST_MIB = 1024


def test_the_sound_table_meets_no_limit() -> None:
    found = mutations.run_mutants(0, 1)
    assert found.mutants == 0
    assert len(mutations.sound()) > 3000


def test_mutants_are_executed_and_end() -> None:
    found = mutations.run_mutants(MUTANTS, 1)
    assert found.mutants == MUTANTS
    assert found.changed > MUTANTS // 2  # the damage was read, not passed over
    assert found.limits  # endless loops and calls came and were ended
    assert found.peak_mib < MOST_MIB
