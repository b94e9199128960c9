"""Trace, lanes and explained log of one boot."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner

from hw.errors import InputError
from hw.faults import FaultSpec
from hw.presets import load_preset
from minikern.commands.boot import boot as boot_command
from minikern.kernel import BootOptions
from minikern.lab.run import Boot, boot
from minikern.recorder import Span
from minikern.report.dmesg import format_dmesg
from minikern.report.explain import explained_dmesg, load_explanations
from minikern.report.lanes import ALIVE, PREPARE, lane_bars, plot_lanes
from minikern.report.trace import FLOW_NAME, chrome_trace, joined, write_trace


@pytest.fixture(scope="module")
def laptop() -> Boot:
    spec = load_preset("laptop")
    spec.memory = "512M"
    spec.boot.ramdisk_address = spec.boot.ramdisk_bytes = 0
    spec.faults = FaultSpec(dead="5")
    return boot(spec, options=BootOptions(record=True))


def test_slices_nest_on_every_thread(laptop: Boot) -> None:
    events = chrome_trace(laptop)["traceEvents"]
    for tid in range(8):
        slices = [(round(e["ts"] * 1000), round(e["dur"] * 1000)) for e in events if e["ph"] == "X" and e["tid"] == tid]
        stack: list[int] = []
        for start, length in sorted(slices, key=lambda item: (item[0], -item[1])):
            while stack and stack[-1] <= start:
                stack.pop()
            assert not stack or start + length <= stack[-1]
            stack.append(start + length)


def test_flows_lead_from_the_boot_cpu_to_every_cpu_that_came(laptop: Boot) -> None:
    events = chrome_trace(laptop)["traceEvents"]
    flows = [event for event in events if event["name"] == FLOW_NAME]
    starts = {event["id"]: event for event in flows if event["ph"] == "s"}
    ends = {event["id"]: event for event in flows if event["ph"] == "f"}
    assert set(starts) == set(ends) == {1, 2, 3, 4, 6, 7}
    for cpu, start in starts.items():
        assert start["tid"] == 0 and ends[cpu]["tid"] == cpu and start["ts"] < ends[cpu]["ts"]
        at = ends[cpu]["ts"]
        inside = [e for e in events if e["ph"] == "X" and e["tid"] == cpu and e["ts"] <= at < e["ts"] + e["dur"]]
        assert inside  # an arrow that ends in no slice is not drawn


def test_the_trace_holds_all_time_the_ledger_holds(laptop: Boot) -> None:
    assert laptop.kernel.recorder is not None
    ledger = sum(entry.total_ns for entry in laptop.kernel.ledger.entries() if entry.modelled)
    assert sum(span.total_ns for span in laptop.kernel.recorder.spans) == ledger


def test_files_are_written_whole_and_the_same_each_time(laptop: Boot, tmp_path: Path) -> None:
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    write_trace(laptop, first)
    write_trace(laptop, second)
    assert first.read_bytes() == second.read_bytes()
    body = json.loads(first.read_text())
    names = {e["args"]["name"] for e in body["traceEvents"] if e["name"] == "thread_name"}
    assert "CPU 7 (package 0, core 3, thread 1)" in names
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a.json", "b.json"]
    with pytest.raises(InputError, match="cannot be written"):
        write_trace(laptop, tmp_path / "no" / "c.json")


def test_joined_spans_do_not_overlap() -> None:
    spans = [Span(0, "a", "p", 0, 10, 1), Span(0, "a", "p", 10, 5, 1), Span(0, "w", "p", 15, 10, 1)]
    spans += [Span(0, "b", "p", 20, 5, 1), Span(1, "b", "p", 0, 0, 0)]
    assert joined(spans) == [Span(0, "a", "p", 0, 15, 2), Span(0, "w", "p", 15, 5, 1), Span(0, "b", "p", 20, 5, 1)]


def test_lanes(laptop: Boot, tmp_path: Path) -> None:
    bars = lane_bars(laptop)
    assert {bar.cpu for bar in bars} == {0, 1, 2, 3, 4, 6, 7}
    assert {bar.what for bar in bars if bar.cpu == 0} >= {PREPARE}
    assert any(bar.what == ALIVE for bar in bars)
    for before, after in pairwise(bars):
        assert before.cpu < after.cpu or before.end_ns <= after.start_ns
    for name in ("cpus.svg", "cpus.png"):
        plot_lanes(laptop, tmp_path / name)
        assert (tmp_path / name).stat().st_size > 5000
    assert "not online" in (tmp_path / "cpus.svg").read_text()
    with pytest.raises(InputError, match=r"expected a file ending in \.svg"):
        plot_lanes(laptop, tmp_path / "cpus.txt")


def test_a_boot_without_a_record_says_so() -> None:
    with pytest.raises(InputError, match="not recorded"):
        chrome_trace(boot(load_preset("tiny")))


def test_explanations_only_add_lines(laptop: Boot) -> None:
    plain, explained = format_dmesg(laptop.kernel), explained_dmesg(laptop.kernel)
    kept = [line for line in explained.splitlines() if not line.startswith("               # ")]
    assert kept == plain.splitlines()
    added = [line for line in explained.splitlines() if line.startswith("               # ")]
    assert len(added) == len(set(added)) > 40
    assert any("cpuhp_bp_sync_alive()" in line for line in added)


def test_explanations_are_well_formed() -> None:
    table = load_explanations()
    assert len({item.line for _, item in table}) == len(table)
    assert all(item.function.endswith(")") and item.says.endswith(".") for _, item in table)
    assert all(not pattern.match("") for pattern, _ in table)


def test_options_of_the_boot_command(tmp_path: Path) -> None:
    trace, plot = tmp_path / "t.json", tmp_path / "p.png"
    words = ["tiny", "--fault", "dead=1", "--explain", "--trace", str(trace), "--plot", str(plot)]
    result = CliRunner().invoke(boot_command, words)
    assert result.exit_code == 0, result.output
    assert "CPU1 failed to report alive state" in result.output and "# run_init_process()" in result.output
    assert json.loads(trace.read_text())["traceEvents"] and plot.stat().st_size > 1000
    assert CliRunner().invoke(boot_command, ["tiny", "--plot", "x.txt"]).exit_code == 2
    assert CliRunner().invoke(boot_command, ["tiny", "--fault", "dead=7"]).exit_code == 2
