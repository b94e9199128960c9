"""Rows: what one says, and that it can be made again alone."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import tomli_w

from minikern.core.cost_table import default_costs
from minikern.core.kernel import BootOptions
from minikern.describe.presets import load_machine
from minikern.lab.run import boot
from minikern.lab.sweep.machines import ready
from minikern.lab.sweep.plan import METRICS, Plan, grid
from minikern.lab.sweep.rows import Row, make_row

UNSURE = {
    "struct_page_init": 1.6, "struct_page_free": 1.5, "aml_term": 1.6, "acpi_gpe": 1.5, "pci_device_add": 2.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def unsure(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small machine some of whose costs state intervals; alone on its path, its time is a sum, as bands take it.

    It does not wait for the timer's ticks: what is done before one is done takes no time of the boot's.
    """
    costs = default_costs()
    body = {
        "name": "unsure",
        "memory": "2G",
        "append": "no_timer_check",
        "cpus": {"count": 1},
        "costs": {
            kind: {"ns": (ns := costs[kind].ns), "source": "a test", "low": ns / wide, "high": ns * wide}
            for kind, wide in UNSURE.items()
        },
    }
    path = tmp_path_factory.mktemp("machines") / "unsure.toml"
    path.write_text(tomli_w.dumps(body))
    return str(path)


def made(plan: Plan, row: int = 0) -> Row:
    return make_row(grid(plan).point(row))


def test_a_row_is_the_boot_it_names() -> None:
    row = made(Plan(["tiny"], variants=["quiet"], vary={"memory": ["1G"], "cpus": [1]}))
    spec = load_machine("tiny")
    from minikern.core.variant import load_variant
    from minikern.describe.adjust import Adjustments, adjust

    adjust(spec, Adjustments(cpus="1", memory="1G"))
    done = boot(spec, load_variant("quiet"), options=BootOptions(vmemmap="window"))
    assert row.error == ""
    assert row.times_ns["total"] == done.total_ns
    assert {name: ns for name, ns in row.times_ns.items() if ns and name not in ("total", "residue")} == {
        name: ns for name, ns in done.kernel.phase_ns().items() if ns
    }
    assert row.counts["struct_page_init"] == done.kernel.ledger.count("struct_page_init")
    assert row.kernel == done.kernel.release.name
    assert set(row.times_ns) == set(METRICS)


def test_made_twice_it_is_the_same_also_after_others(unsure: str) -> None:
    plan = Plan([unsure, "tiny"], variants=["as-is", "deferred"], draws=2)
    first = made(plan, 3)
    made(plan, 6)
    ready.cache_clear()
    assert msgspec.json.encode(made(plan, 3)) == msgspec.json.encode(first)


def test_variants_share_a_machines_draws(unsure: str) -> None:
    plan = Plan([unsure], variants=["as-is", "baseline"], draws=3)
    rows = [made(plan, row) for row in range(6)]
    assert len({row.times_ns["total"] for row in rows}) == 6
    acpi = [row.times_ns["acpi"] for row in rows]
    assert acpi[:3] == acpi[3:]


def test_another_seed_is_another_sample(unsure: str) -> None:
    plans = [Plan([unsure], draws=1, seed=seed) for seed in (0, 0, 1)]
    totals = [made(plan).times_ns["total"] for plan in plans]
    assert totals[0] == totals[1] != totals[2]


def test_what_makes_the_total_unsure_is_named(unsure: str) -> None:
    row = made(Plan([unsure]))
    assert set(row.doubt_ns) <= set(UNSURE)
    assert row.total_low_ns is not None and row.total_high_ns is not None
    assert row.total_low_ns < (row.times_ns["total"] or 0) < row.total_high_ns


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (Plan(["no-such-machine"]), "unknown machine"),
        (Plan(["tiny"], variants=["hvo-skip"], vary={"memory": ["64M"]}), ""),
        (Plan(["tiny"], vary={"nodes": [64]}), "too many"),
    ],
)
def test_what_does_not_boot_is_a_row_with_its_reason(plan: Plan, said: str) -> None:
    row = made(plan)
    if said:
        assert said in row.error
        assert row.times_ns["total"] is None
        assert row.counts == {}


def test_the_digest_follows_the_machines_file(unsure: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy.toml"
    copy.write_text(Path(unsure).read_text())
    before = made(Plan([str(copy)])).inputs_sha256
    ready.cache_clear()
    assert made(Plan([str(copy)])).inputs_sha256 == before
    copy.write_text(copy.read_text().replace("2G", "3G"))
    ready.cache_clear()
    assert made(Plan([str(copy)])).inputs_sha256 != before


def test_doubts_follow_what_was_waited_for(tmp_path: Path) -> None:
    """Deferred pages are other CPUs' work, which the boot CPU waits for: the band knows it, and so does the row."""
    costs = default_costs()
    unsure = {kind: costs[kind].ns for kind in ("deferred_page_init", "node_store_per_page", "aml_term")}
    body = {
        "name": "waits",
        "memory": "64G",
        "cpus": {"count": 4, "cores": 4},
        "costs": {kind: {"ns": ns, "source": "a test", "low": ns / 2, "high": ns * 2} for kind, ns in unsure.items()},
    }
    (tmp_path / "waits.toml").write_text(tomli_w.dumps(body))
    row = made(Plan([str(tmp_path / "waits.toml")], variants=["deferred"]))
    assert row.error == ""
    assert set(row.doubt_ns) & {"deferred_page_init", "node_store_per_page"}
    total, high = row.times_ns["total"] or 0, row.total_high_ns or 0
    assert np.hypot.reduce(list(row.doubt_ns.values())) == pytest.approx(total * np.log(high / total), rel=0.02)
