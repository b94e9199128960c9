"""Bands end where draws do: of a boot that is a sum but for a tick, and of one that waits for work beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from click.testing import CliRunner

from minikern.cli import main
from minikern.core.cost_table import default_costs
from minikern.core.kernel import BootOptions
from minikern.describe.case import Case
from minikern.describe.presets import load_machine
from minikern.lab.bands import boot_bands
from minikern.lab.believed import Doubts
from minikern.lab.course import Course
from minikern.lab.run import boot
from minikern.lab.sweep.draws import drawn

DRAWS = 400
WIDE = {"struct_page_init": 1.6, "struct_page_free": 1.5, "aml_term": 1.6, "acpi_gpe": 1.5, "pci_device_add": 3.0}
COUNTED = BootOptions(vmemmap="counted")


def unsure(folder: Path, **body: object) -> Case:
    """A small machine some of whose costs state intervals."""
    costs = default_costs()
    stated = {
        kind: {"ns": (ns := costs[kind].ns), "source": "a test", "low": ns / wide, "high": ns * wide}
        for kind, wide in WIDE.items()
    }
    path = folder / "unsure.toml"
    path.write_text(tomli_w.dumps({"name": "unsure", "memory": "1G", "cpus": {"count": 1}, "costs": stated, **body}))
    return load_machine(str(path))


def serial(folder: Path) -> Case:
    """Alone on its path, its time is a sum, but before a tick of the timer, which swallows what is done before it."""
    return unsure(folder)


def fitted(folder: Path) -> Case:
    """A log whose CPUs, initramfs and deferred pages are other CPUs' work."""
    log, own = folder / "fitted.log", folder / "fitted.toml"
    log.write_text(CliRunner().invoke(main, ["boot", "laptop"]).stdout)
    result = CliRunner().invoke(main, ["fit", str(log), "-o", str(own)])
    assert result.exit_code == 0, result.output
    return load_machine(str(own))


@pytest.mark.parametrize(("made", "turns"), [(serial, ["tick"]), (fitted, ["tick", "fork", "join", "join"])])
def test_bands_end_where_draws_do(made: Callable[[Path], Case], turns: list[str], tmp_path: Path) -> None:
    spec = made(tmp_path)
    done = boot(spec, options=COUNTED)
    assert [turn.kind for turn in done.kernel.turns] == turns
    phases: dict[str, list[int]] = {}
    for draw in range(DRAWS):
        kernel = boot(drawn(spec, "a test", 0, draw), options=COUNTED).kernel
        spent = kernel.phase_ns()
        for name, ns in {**spent, "total": sum(spent.values())}.items():
            phases.setdefault(name, []).append(ns)
    for name, band in boot_bands(done).items():
        times = np.array(phases[name]) / 1e6
        if name not in ("total", "rest", "pci", "early memory"):
            continue
        # Three deviations of a sample of 400, and of the band's own sample; times are whole ns, and bands whole us.
        low, high = np.mean(times < band.low_ms - 0.001), np.mean(times > band.high_ms + 0.001)
        assert low <= 0.15 and high <= 0.15, (name, low, high)
        inside_low, inside_high = np.mean(times <= band.low_ms + 0.001), np.mean(times >= band.high_ms - 0.001)
        assert inside_low >= 0.05 and inside_high >= 0.05, (name, inside_low, inside_high)


def test_a_boot_at_stated_costs_is_the_boot() -> None:
    """Where nothing is unsure there is nothing to draw, whatever the boot waits for."""
    done = boot(load_machine("laptop"), options=COUNTED)
    assert {turn.kind for turn in done.kernel.turns} == {"tick", "fork", "join"}
    for off in Course(done.kernel).off(Doubts({"no such work": 0.3})).values():
        assert not off.any()
