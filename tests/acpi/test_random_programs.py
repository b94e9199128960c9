"""Random ASL programs, run by acpiexec and by us: every value they leave behind is the same."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings

from tests.acpi import acpiexec
from tests.acpi.asl_programs import OBSERVED, programs

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(not acpiexec.have_tools(), reason="acpiexec or iasl is not installed"),
]
WANTED = os.environ.get("ASL_PROGRAMS", "")
"""How many programs, other ones each time; unset: a few, always the same."""
PATHS = ["\\MAIN", *("\\" + name for name in OBSERVED)]


@settings(
    max_examples=int(WANTED or 40),
    derandomize=not WANTED,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink] if WANTED else [Phase.generate],
)
@given(programs())
def test_a_random_program_ends_as_acpiexec_ends_it(text: str) -> None:
    assume("Return (Index (" not in text)  # the tool follows such a reference into the void
    with tempfile.TemporaryDirectory() as folder:
        table = acpiexec.compile_asl(Path(folder), text)
        assume(table is not None)
        assert table is not None
        answers = acpiexec.ask([table], PATHS)
        assume(answers)
        k = acpiexec.kernel_of([("DSDT", table.read_bytes())])
    acpiexec.initialize(k)
    for path in PATHS:
        assert acpiexec.evaluate(k, path) == acpiexec.parse_result(answers[path]), path
