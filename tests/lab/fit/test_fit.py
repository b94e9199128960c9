"""A boot with known unit costs and a known unexplained second is printed, read as a log, and fitted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from hw.errors import InputError
from minikern.core.cost_table import machine_costs
from minikern.core.costs import Cost, Residue
from minikern.core.kernel import BootOptions
from minikern.describe.case import Case
from minikern.describe.presets import load_machine
from minikern.lab.fit.calibrate import fit_log, metered, read_timeline
from minikern.lab.fit.corrected import settled
from minikern.lab.fit.fitted import FittedMachine
from minikern.lab.fit.predict import predict
from minikern.lab.fit.rows import match
from minikern.lab.fit.write import write_spec
from minikern.lab.run import boot
from minikern.report.dmesg import format_dmesg

FACTORS = {"struct_page_init": 2.5, "struct_page_free": 2.5, "aml_term": 0.4, "initramfs_byte": 3.0}
HIDDEN_MS = 700.0


def printed(tmp_path: Path, append: str = "") -> Path:
    """The log of a boot of ``laptop`` with changed costs, without deferral, with a second nobody explains."""
    spec = load_machine("laptop")
    known = machine_costs(spec.name, spec.costs)
    costs = {kind: Cost(known[kind].ns * factor, "test") for kind, factor in FACTORS.items()}
    hidden = Residue("hidden", "", HIDDEN_MS, "test", before="Freeing unused decrypted memory: #K")
    spec = msgspec.structs.replace(spec, costs={**spec.costs, **costs}, residue=[hidden])
    done = boot(spec, append=append, options=BootOptions())
    path = tmp_path / "boot.log"
    path.write_text(format_dmesg(done.kernel))
    return path


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return printed(tmp_path_factory.mktemp("log"))


@pytest.fixture(scope="module")
def fitted(log: Path) -> FittedMachine:
    return fit_log(str(log), load_machine)


def total_ms(spec: Case) -> float:
    return boot(spec).total_ns / 1e6


def test_the_fitted_boot_takes_as_long_as_the_log(fitted: FittedMachine) -> None:
    assert total_ms(fitted.spec) == pytest.approx(fitted.real_total_ns / 1e6, rel=0.01)


def test_a_measured_cost_is_found_and_its_interval_holds_it(fitted: FittedMachine) -> None:
    cost = fitted.costs["initramfs_byte"]
    laptop = load_machine("laptop")
    true = machine_costs(laptop.name, laptop.costs)["initramfs_byte"].ns * FACTORS["initramfs_byte"]
    assert cost.status == "fitted" and cost.low is not None and cost.high is not None
    assert cost.low <= true <= cost.high


def test_time_that_nothing_explains_is_named_after_its_line(fitted: FittedMachine) -> None:
    largest = max(fitted.residue, key=lambda item: item.ms)
    assert largest.name.startswith("Freeing unused decrypted memory")
    assert largest.ms == pytest.approx(HIDDEN_MS, rel=0.05)


def test_a_fitted_machine_is_a_description_like_any_other(fitted: FittedMachine, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    write_spec(fitted.spec, path)
    assert total_ms(load_machine(str(path))) == total_ms(fitted.spec)


def test_a_boot_without_stamps_takes_its_times_from_another(fitted: FittedMachine, log: Path, tmp_path: Path) -> None:
    path = tmp_path / "erased.log"
    path.write_text("\n".join("[    0.000000] " + line[15:] for line in log.read_text().splitlines()))
    spec = predict(str(path), [fitted], load_machine(str(path)))
    assert total_ms(spec) == pytest.approx(fitted.real_total_ns / 1e6, rel=0.02)


def test_a_log_without_stamps_cannot_be_fitted(log: Path, tmp_path: Path) -> None:
    path = tmp_path / "erased.log"
    path.write_text("\n".join("[    0.000000] " + line[15:] for line in log.read_text().splitlines()))
    with pytest.raises(InputError, match="no time stamps"):
        fit_log(str(path), load_machine)


def test_a_second_look_makes_lines_come_when_the_logs_did(fitted: FittedMachine) -> None:
    costs = {**fitted.spec.costs, "aml_opcode": Cost(fitted.spec.costs["aml_opcode"].ns + 40_000, "test")}
    off = replace(fitted, spec=msgspec.structs.replace(fitted.spec, costs=costs))
    again = settled(off)
    matched = match(again.matched.timeline, metered(again.spec))
    late = [sum(row.emulated_ns - row.real_ns for row in matched.rows[: at + 1]) for at in range(len(matched.rows))]
    assert abs(late[-1]) < 0.001 * again.real_total_ns
    assert total_ms(off.spec) > total_ms(again.spec) == pytest.approx(fitted.real_total_ns / 1e6, rel=0.001)
    assert all(item.ms >= 0 for item in again.residue)


def test_lines_that_say_nothing_are_no_places(log: Path, tmp_path: Path) -> None:
    path = tmp_path / "blank.log"
    lines = log.read_text().splitlines()
    path.write_text("\n".join(part for line in lines for part in (line, line[:15])))
    real = read_timeline(str(path))
    assert any(not step.mask for step in real.steps)
    kernel = metered(load_machine(str(path)))
    blank = [line for line in kernel.log.lines if line.text][-3]
    blank.text = ""
    assert all(real.steps[row.last].mask for row in match(real, kernel).rows)
