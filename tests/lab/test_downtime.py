"""Updates of a host under its guests: the peer's longest silence is what the parts make it."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner

from hw.errors import InputError
from minikern.cli import main
from minikern.commands.downtime import downtime
from minikern.core.cost_table import default_costs
from minikern.core.variant import load_variant
from minikern.describe.presets import load_machine
from minikern.lab.downtime import (
    HOST_PARTS,
    PARTS,
    Downtime,
    Guests,
    Link,
    Update,
    measure,
    migrate,
    percentile,
    published,
)
from minikern.report.downtime_plot import bar_parts

MS = 1_000_000
HOST = dict.fromkeys(HOST_PARTS, 100 * MS)
ONE = Guests(count=1)


def update(guests: Guests) -> Update:
    done = Update(guests, HOST, default_costs())
    done.run()
    return done


def test_one_guest_is_silent_for_the_sum_of_the_parts() -> None:
    done = update(ONE)
    expected = sum(HOST.values()) + sum(done.spent[0].values()) + round(default_costs()["vmm_start"].ns)
    assert expected <= done.gaps[0] <= expected + ONE.packet_ns


def test_guests_that_wait_for_a_place_are_silent_longer() -> None:
    together = update(Guests(count=8, at_once=8)).gaps
    in_turn = update(Guests(count=8, at_once=1)).gaps
    assert min(in_turn) > max(together)
    saved = sum(default_costs()[kind].ns for kind in ("vm_pause", "vm_snapshot", "vm_restore", "vm_resume"))
    assert max(in_turn) - min(together) > 7 * min(saved, default_costs()["vm_restore"].ns)


def test_the_silence_counts_from_the_last_packet() -> None:
    coarse, fine = (max(update(Guests(count=1, packet_ns=ns)).gaps) for ns in (40 * MS, 100_000))
    assert 0 <= coarse - fine <= 40 * MS


@pytest.mark.parametrize(
    "guests",
    [
        ONE, Guests(count=5, at_once=2), Guests(7, 3, packet_ns=7 * MS + 1, at_once=1),
        Guests(count=3, packet_ns=900 * MS), Guests(count=4, packet_ns=5000 * MS),
    ],
)  # fmt: skip
def test_the_silence_is_what_a_peer_hears_packet_by_packet(guests: Guests) -> None:
    done = update(guests)
    for guest, gap in enumerate(done.gaps):
        paused, resumed = done.paused[guest], done.resumed[guest]
        due, heard = guests.packet_ns * guest // guests.count, []
        while due <= resumed + 2 * guests.packet_ns:
            due = resumed if paused < due < resumed else due
            heard.append(due)
            due += guests.packet_ns
        assert gap == max(b - a for a, b in pairwise(heard))


def test_as_many_guests_as_there_may_be() -> None:
    assert len(update(Guests(count=4096, packet_ns=10_000, at_once=1)).gaps) == 4096


@pytest.mark.big
def test_the_published_downtime_holds() -> None:
    spec = load_machine("lpc2023")
    known = published(spec)
    assert known is not None
    row = measure(spec, load_variant(known.variant), Guests(), "zstd")
    assert known.total_ms[0] <= row.p50_ms <= known.total_ms[1]
    assert abs(row.boot_share - known.boot_share) <= known.boot_share_tolerance
    assert list(row.parts_ms) == list(PARTS)
    assert abs(row.parts_ms["purgatory"] / 200 - 1) < 0.2
    assert published(load_machine("tiny")) is None


def test_migration_by_hand() -> None:
    """8 GiB at 1 GiB/s, a quarter of it dirtied again: 8 s, 2 s, 0.5 s, then 0.125 s of silence."""
    gib = 1 << 30
    moved = migrate(load_machine("tiny"), Guests(2, memory_bytes=8 * gib), Link(gib, gib / 4))
    switch = default_costs()["migration_switchover"].ns / MS
    assert (moved.rounds, moved.converged) == (3, True)
    assert moved.downtime_ms == pytest.approx(125 + switch)
    assert moved.total_ms == pytest.approx(2 * (10_500 + 125 + switch))


def test_a_guest_faster_than_the_link_never_converges() -> None:
    moved = migrate(load_machine("tiny"), ONE, Link(1e9, 2e9))
    assert not moved.converged
    assert moved.downtime_ms >= ONE.memory_bytes / 1e9 * 1e3


def test_percentiles() -> None:
    values = list(range(1, 101))
    assert [percentile(values, p) for p in (1, 50, 99, 100)] == [1, 50, 99, 100]
    assert percentile([7], 50) == 7


@pytest.mark.parametrize("guests", [Guests(0), Guests(5000), Guests(vcpus=0), Guests(packet_ns=1), Guests(at_once=0)])
def test_impossible_guests_are_refused(guests: Guests) -> None:
    with pytest.raises(InputError):
        guests.check()


def test_the_command() -> None:
    words = ["tiny", "--variants", "deferred", "--vms", "3", "--vm-memory", "32M"]
    done = CliRunner().invoke(downtime, words)
    assert done.exit_code == 0, done.output
    assert "live migration" in done.stdout
    rows = json.loads(CliRunner().invoke(downtime, [*words, "--json"]).stdout)["variants"]
    assert [row["variant"] for row in rows] == ["deferred"]
    assert len(rows[0]["gaps_ms"]) == 3
    for bad in (["--vms", "0"], ["--vm-memory", "1G"], ["--vm-memory", "much"], ["--bandwidth", "0"],
                ["--bandwidth", "nan"], ["--bandwidth", "inf"]):  # fmt: skip
        assert CliRunner().invoke(downtime, [*words, *bad]).exit_code == 2


def test_the_ladder_as_it_is_asked_for_without_options(tmp_path: Path) -> None:
    """Guests live in the huge pages that are kept for them; a rung without room for them is named, the others stay."""
    shown = CliRunner().invoke(downtime, ["laptop", "--json"])
    assert shown.exit_code == 0, shown.output
    rows = {row["variant"]: row for row in json.loads(shown.stdout)["variants"]}
    assert {"baseline", "hugepages", "no-purgatory", "purgatory-parallel"} <= rows.keys()
    spent = {name: row["parts_ms"]["purgatory"] for name, row in rows.items()}
    assert spent["parallel-smp"] > spent["purgatory-parallel"] > spent["purgatory-accelerated"] > 0.0
    assert spent["no-purgatory"] == 0.0
    (tmp_path / "big.toml").write_text('extends = "parallel-smp"\nappend = "hugepagesz=2M hugepages=20 mem=400M"\n')
    tight = ["laptop", "--vms", "1", "--vm-memory", "8G", "--variants", f"deferred,{tmp_path / 'big.toml'}", "--json"]
    found = json.loads(CliRunner().invoke(downtime, tight).stdout)
    assert [row["variant"] for row in found["variants"]] == ["deferred"]
    assert found["refused"][0]["variant"] == "big" and "do not fit" in found["refused"][0]["why"]


def test_a_log_is_held_against_its_own_boot(tmp_path: Path) -> None:
    log = tmp_path / "new.log"
    log.write_text(CliRunner().invoke(main, ["boot", "tiny", "--cpus", "4", "--kernel", "linux-6.8"]).stdout)
    shown = CliRunner().invoke(downtime, [str(log), "--json"])
    assert shown.exit_code == 0, shown.output
    first, *others = json.loads(shown.stdout)["variants"]
    assert first["variant"] == "as logged" and first["parts_ms"]["purgatory"] > 0
    assert {"deferred", "no-purgatory"} <= {row["variant"] for row in others}
    assert all(row["p50_ms"] <= first["p50_ms"] * 1.1 for row in others)


@pytest.mark.big
def test_ways_to_check_side_by_side() -> None:
    """Each saves what it says: fewer cycles a byte, fewer bytes, the largest segment only, all of it."""
    spec = load_machine("lpc2023")
    names = ("parallel-smp", "purgatory-accelerated", "purgatory-file-bytes", "purgatory-parallel", "no-purgatory")
    rows = {name: measure(spec, load_variant(name), Guests(1), "zstd") for name in names}
    spent = {name: row.parts_ms["purgatory"] for name, row in rows.items()}
    generic, accelerated, file_bytes, parallel, none = spent.values()
    assert generic > parallel > accelerated > none == 0.0
    assert generic > file_bytes > none
    costs = default_costs()
    faster = costs["sha256_accelerated_byte"].ns / costs["sha256_generic_byte"].ns
    assert accelerated / generic == pytest.approx(faster, rel=0.1)
    digested = {name: row.digested_bytes for name, row in rows.items()}
    assert digested["purgatory-file-bytes"] < digested["purgatory-parallel"] == digested["parallel-smp"]
    assert rows["no-purgatory"].gives_up == "every change between loading and the jump"
    for row in rows.values():
        saved = rows["parallel-smp"].p50_ms - row.p50_ms
        assert saved == pytest.approx(generic - row.parts_ms["purgatory"], abs=4)


def test_the_picture_is_made_of_the_parts(tmp_path: Path) -> None:
    known = dict.fromkeys(PARTS, 10.0)
    row = Downtime("x", 130.0, 131.0, 131.0, known, 0.1, [130.0], "generic", 1, "nothing")
    assert bar_parts(row) == {**known, "waiting": 30.0}
    pictures = [tmp_path / "a.svg", tmp_path / "b.svg"]
    for path in pictures:
        asked = CliRunner().invoke(downtime, ["tiny", "--variants", "baseline,no-purgatory", "--plot", str(path)])
        assert asked.exit_code == 0, asked.output
    first, second = (path.read_bytes() for path in pictures)
    assert first == second and b"<svg" in first
    refused = CliRunner().invoke(downtime, ["tiny", "--plot", str(tmp_path / "a.txt")])
    assert refused.exit_code == 2 and not (tmp_path / "a.txt").exists()
