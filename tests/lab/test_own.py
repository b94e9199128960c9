"""A real boot's ladder: its own kernel and words with one change each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import minikern
from minikern.cli import main
from minikern.core.release import load_release
from minikern.core.variant import Variant, load_variants
from minikern.describe.presets import load_machine
from minikern.lab.compare import run_own_ladder
from minikern.lab.own import AS_LOGGED, offers
from minikern.report.tables import ladder_sheets


def log_of(machine: str, *words: str) -> str:
    return CliRunner().invoke(main, ["boot", machine, *words]).stdout


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log whose bring-up is ten times as slow as the unit costs say."""
    path = tmp_path_factory.mktemp("own") / "server.log"
    path.write_text(log_of("laptop", "--cpus", "8", "--kernel", "linux-6.4", "--append", "nokaslr"))
    return path


def test_only_the_difference_is_put_over_the_boot() -> None:
    known = load_variants()
    found = offers(known, [], load_release("linux-6.4"), "ro quiet")
    names = [variant.name for variant in found.to_boot]
    assert "parallel-smp" in names and "deferred" in found.there
    assert "hugepages" not in names and "hvo-skip" not in names  # nobody asked for huge pages
    assert "baseline" not in names and "no-serial" not in names
    parallel = next(variant for variant in found.to_boot if variant.name == "parallel-smp")
    assert parallel.config == {} and set(parallel.behaviour) == {"smp_scheme", "delay_reuse"}
    assert parallel.against == AS_LOGGED


def test_serial_rungs_need_a_serial_console() -> None:
    found = offers(load_variants(), [], load_release("linux-6.4"), "ro console=ttyS0,115200")
    assert {"quiet", "no-serial", "faster-baud"} <= {variant.name for variant in found.to_boot}


def test_a_saving_is_no_larger_than_the_time_that_was_there(logged: Path) -> None:
    import msgspec

    result = CliRunner().invoke(main, ["compare", str(logged), "--json"])
    assert result.exit_code == 0, result.output
    ladder = msgspec.json.decode(result.stdout)
    own, *others = ladder["rungs"]
    assert own["variant"] == AS_LOGGED and own["band"]["low_ms"] <= own["total_ms"] <= own["band"]["high_ms"]
    assert "deferred" in ladder["there"]
    for rung in others:
        assert rung["saved_ms"] <= own["total_ms"]
        width = rung["saved_band"]["high_ms"] - rung["saved_band"]["low_ms"]
        assert width >= 0.05 * abs(rung["saved_ms"])  # over all phases in which it saves something
        if rung["variant"] == "parallel-smp":
            assert 0 < rung["saved_ms"] <= own["phases_ms"]["smp"]


def test_a_variant_is_the_same_change_whoever_boots_it(tmp_path: Path) -> None:
    """A kernel with parallel bring-up keeps it when a sweep, a boot or a program asks for another change."""
    new = tmp_path / "new.log"
    new.write_text(log_of("laptop", "--kernel", "linux-6.8", "--append", "nokaslr"))

    def told(*words: str) -> Any:
        return json.loads(CliRunner().invoke(main, [*words]).stdout)

    _, *rungs = told("compare", str(new), "--variants", "deferred-one-thread,acpi-lazy-cst", "--json")["rungs"]
    for name, total_ns in ((rung["variant"], round(rung["total_ms"] * 1e6)) for rung in rungs):
        assert told("boot", str(new), "--variant", name, "--json")["total_ns"] == pytest.approx(total_ns, abs=1000)
        row = told("sweep", str(new), "--variants", f"as-is,{name}", "--row", "1")
        assert row["total_ns"] == pytest.approx(total_ns, abs=1000)
        assert minikern.boot(str(new), variant=name).total_ms * 1e6 == pytest.approx(total_ns, abs=1000)
    assert len(rungs) == 2


def test_a_rung_that_cannot_boot_costs_its_own_row(logged: Path) -> None:
    greedy = Variant(name="greedy", title="no memory left", append="mem=1M")
    spec = load_machine(str(logged))
    ladder, _ = run_own_ladder(spec, [load_variants()["parallel-smp"], greedy])
    by_name = {rung.variant: rung for rung in ladder.rungs}
    assert by_name["greedy"].failed and not by_name["parallel-smp"].failed
    assert any("no boot:" in cell for sheet in ladder_sheets(ladder) for row in sheet.rows for cell in row)
