"""Logs of real machines, fitted on themselves: phases and totals come out, and what pays is what the log shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from minikern.core.variant import load_variants
from minikern.describe.presets import load_machine
from minikern.describe.stamps import Stamped, StampedLog, read_stamped
from minikern.lab.compare import run_own_ladder
from minikern.lab.fit.timed import timed
from minikern.lab.phase_marks import INSIDE, phase_marks, phase_times
from minikern.lab.run import boot
from tests.support import SHARED

LEAST_NS = 5_000_000  # phases below this are blurred by the stamps
WITHIN, TOTAL_WITHIN = 0.03, 0.01


def given(name: str) -> Path:
    path = SHARED / "corpora" / name
    if not path.is_file():
        pytest.skip(f"no shared/corpora/{name} beside the checkout")
    return path


def fitted_boot(path: Path) -> StampedLog:
    """The log of the fitted machine's boot."""
    lines = boot(timed(load_machine(str(path)), str(path)).spec).kernel.log.lines
    start = next(at for at, line in enumerate(lines) if line.ts_ns)
    return StampedLog("emulated", [Stamped(line.text, line.ts_ns) for line in lines], start)


@pytest.mark.parametrize("name", ["timed/z690-16cpu-5.15-run1.log.gz", "timed/s2600wp-2s-48cpu-5.10rc5-lkp.log.gz"])
def test_a_log_fitted_on_itself(name: str) -> None:
    path = given(name)
    real, again = phase_times(phase_marks(read_stamped(path)), phase_marks(fitted_boot(path)))
    assert again["total"] == pytest.approx(real["total"], rel=TOTAL_WITHIN)
    scored = [phase for phase, ns in real.items() if ns >= LEAST_NS and phase not in INSIDE]
    assert len(scored) > 7
    for phase in scored:
        assert again[phase] == pytest.approx(real[phase], rel=WITHIN), phase


def first(log: StampedLog, pattern: str, last: bool = False) -> int:
    hits = [line.at_ns for line in log.lines if re.search(pattern, line.text) and line.at_ns]
    return hits[-1 if last else 0]


def test_tables_and_functions_of_a_server_take_as_long_as_its_stamps_say() -> None:
    path = given("dmesg/csl-2s-96cpu-lkp.log.gz")
    again = fitted_boot(path)
    osi, loaded = first(again, r"_OSI\(Module"), first(again, "AML tables successfully")
    assert (loaded - osi) / 1e6 == pytest.approx(80.8, rel=WITHIN)
    assert (first(again, "ACPI: Interpreter enabled") - loaded) / 1e6 == pytest.approx(326.1, rel=WITHIN)
    assert sum("Dynamic OEM Table Load" in line.text for line in again.lines) == 3
    spent = first(again, r"type 0[01] class", last=True) - first(again, "PCI host bridge to")
    assert spent / 1e6 == pytest.approx(11.2, rel=0.05)


def test_what_pays_on_a_machine_with_a_serial_console_is_to_be_quiet() -> None:
    path = given("dmesg/genoa-1s-256cpu-kvmhost.log.gz")
    spec = timed(load_machine(str(path)), str(path)).spec
    known = load_variants()
    ladder, _ = run_own_ladder(spec, [known[name] for name in ("quiet", "no-serial", "pci-needed")])
    saved = {rung.variant: rung.saved_ms or 0.0 for rung in ladder.rungs}
    assert ladder.rungs[0].total_ms == pytest.approx(14_830, rel=0.02)
    assert min(saved["quiet"], saved["no-serial"]) > 8000 > saved["pci-needed"]
    assert ladder.verdict.startswith(("What pays most here: no-serial", "What pays most here: quiet"))
