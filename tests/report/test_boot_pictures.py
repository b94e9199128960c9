"""Trace, lanes and explained log of one boot."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from hw.errors import InputError
from hw.faults import FaultSpec
from minikern.commands.boot import boot as boot_command
from minikern.core.kernel import BootOptions
from minikern.core.recorder import Span
from minikern.describe.presets import load_preset
from minikern.lab.run import Boot, boot
from minikern.report.dmesg import format_dmesg
from minikern.report.explain import explained_dmesg, load_explanations
from minikern.report.lanes import ALIVE, PREPARE, Scale, lane_bars, plot_lanes, scale_of
from minikern.report.trace import FLOW_NAME, chrome_trace, joined, write_trace


@pytest.fixture(scope="module")
def laptop() -> Boot:
    spec = load_preset("laptop")
    spec.memory = "512M"
    spec.boot.ramdisk_address = spec.boot.ramdisk_bytes = 0
    spec.faults = FaultSpec(dead="5")
    return boot(spec, options=BootOptions(record=True))


def slices_of(events: list[dict[str, Any]]) -> list[tuple[int, float, float, str]]:
    """(thread, start, end, name), as a viewer reads them: in the order of time, events of one moment as they stand."""
    stacks: dict[int, list[dict[str, Any]]] = {}
    out = []
    for event in sorted(events, key=lambda item: item.get("ts", 0)):
        stack = stacks.setdefault(event["tid"], [])
        if event["ph"] == "B":
            stack.append(event)
        elif event["ph"] == "E":
            begin = stack.pop()
            assert (begin["name"], begin.get("args")) == (event["name"], event.get("args"))
            assert begin["ts"] < event["ts"]
            out.append((event["tid"], begin["ts"], event["ts"], event["name"]))
    assert not any(stacks.values())
    return out


def test_every_event_is_what_the_format_allows(laptop: Boot) -> None:
    events = chrome_trace(laptop)["traceEvents"]
    keys = {
        "B": {"cat"},
        "E": {"cat"},
        "i": {"cat", "s"},
        "s": {"cat", "id"},
        "f": {"cat", "id", "bp"},
        "M": {"args"},
    }
    for event in events:
        needed = {"ph", "pid", "tid", "name", "ts"} | keys[event["ph"]]
        if event["ph"] == "M":
            needed -= {"ts"}
        assert needed <= set(event) <= needed | {"args"}, event
        assert type(event["pid"]) is type(event["tid"]) is int and event["name"]
        assert event.get("ts", 0) >= 0
    named = {event["tid"] for event in events if event["name"] == "thread_name"}
    assert {event["tid"] for event in events} == named == set(range(8))
    assert [event["name"] for event in events].count("process_name") == 1
    assert {event["pid"] for event in events} == {1}


def test_slices_nest_on_every_thread(laptop: Boot) -> None:
    slices = slices_of(chrome_trace(laptop)["traceEvents"])
    assert {tid for tid, *_ in slices} == set(range(8))  # 5 is called, and nothing comes
    assert {min(begin for tid, begin, *_ in slices if tid == cpu) for cpu in range(1, 8)} == {0}  # one time for all
    names = {name for *_, name in slices}
    assert {"smp", "early memory", "microcode_load", "STARTING section", "smp_wait_ns"} <= names


def test_flows_lead_from_the_boot_cpu_to_every_cpu_that_came(laptop: Boot) -> None:
    events = chrome_trace(laptop)["traceEvents"]
    flows, slices = [event for event in events if event["name"] == FLOW_NAME], slices_of(events)
    starts = {event["id"]: event for event in flows if event["ph"] == "s"}
    ends = {event["id"]: event for event in flows if event["ph"] == "f"}
    assert set(starts) == set(ends) == {1, 2, 3, 4, 6, 7}
    for cpu, start in starts.items():
        assert start["tid"] == 0 and ends[cpu]["tid"] == cpu and start["ts"] < ends[cpu]["ts"]
        at = ends[cpu]["ts"]
        assert [1 for tid, begin, end, _ in slices if tid == cpu and begin <= at < end]  # else it is not drawn
        assert [1 for tid, begin, end, _ in slices if tid == 0 and begin <= start["ts"] < end]


def test_the_trace_holds_all_time_the_ledger_holds(laptop: Boot) -> None:
    assert laptop.kernel.recorder is not None
    ledger = sum(entry.total_ns for entry in laptop.kernel.ledger.entries())
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


def test_a_long_wait_is_cut_out_of_the_picture(laptop: Boot) -> None:
    bars = lane_bars(laptop)
    start, end = min(bar.start_ns for bar in bars), max(bar.end_ns for bar in bars)
    scale = scale_of(bars, start)
    assert 9_900 < scale.cut_to - scale.cut_from < 10_010
    assert scale.shown((end - start) / 1e6) < 200
    points = [scale.shown(ms) for ms in (0, scale.cut_from, 5_000, scale.cut_to, scale.cut_to + 7)]
    assert points == sorted(points) and points[1] == scale.cut_from
    assert scale.label(points[4]) == f"{scale.cut_to + 7:g}" and scale.label(points[2]) == "" and scale.label(1) == "1"
    healthy = [bar for bar in bars if (bar.end_ns - start) / 1e6 < scale.cut_from]
    assert scale_of(healthy, start) == Scale()


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


def test_nearly_every_line_of_a_boot_is_explained(laptop: Boot) -> None:
    known = [pattern for pattern, _ in load_explanations()]
    plain = [line.text for line in laptop.kernel.log.lines]
    unknown = [text for text in plain if not any(pattern.match(text) for pattern in known)]
    assert len(unknown) < len(plain) * 0.03, unknown


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
