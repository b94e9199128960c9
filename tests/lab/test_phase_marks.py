"""The phases of a log, also held against the tool that judges them."""

from __future__ import annotations

import gzip
import importlib.util
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from types import ModuleType

import pytest

from minikern.describe.stamps import Stamped, read_stamped, sound
from minikern.lab.phase_marks import PhaseMarks, phase_marks, phase_times
from tests.support import SHARED, format_dmesg, run

TIMED = SHARED / "corpora" / "timed"
MS = 1_000_000


def marks_of(*texts: str) -> PhaseMarks:
    """The marks of lines that are a millisecond apart; blank ones to have enough of them."""
    lines = [*texts, *[""] * 20]
    return phase_marks(sound("log", [Stamped(text, at * MS) for at, text in enumerate(lines, 1)]))


def test_the_slowest_node_is_taken_off_core() -> None:
    one = marks_of(
        "smp: Brought up 2 nodes, 4 CPUs", "", "", "", "", "", "", "node 1 deferred pages initialised in 3ms",
        "node 0 deferred pages initialised in 5ms", "ACPI: Added _OSI(Module Device)",
    )  # fmt: skip
    assert phase_times(one, one)[0] == {"core": 4 * MS, "deferred": 5 * MS}


def test_memory_ends_where_both_boots_say_the_same() -> None:
    early = marks_of(
        "Built 1 zonelists, x", "Memory: 1K/2K available (x)", "SLUB: HWalign=64", "smp: Bringing up secondary CPUs ..."
    )
    late = marks_of(
        "Built 1 zonelists, x", "SLUB: HWalign=64", "smp: Bringing up secondary CPUs ...", "Memory: 1K/2K available (x)"
    )
    assert phase_times(early, early)[0]["memory"] == MS
    assert phase_times(early, late)[0]["memory"] == 2 * MS and phase_times(early, late)[1]["memory"] == MS


def test_the_phases_of_a_boot_of_ours_add_up(tmp_path: Path) -> None:
    path = tmp_path / "tiny.log"
    path.write_text(format_dmesg(run("tiny").kernel))
    marks = phase_marks(read_stamped(path))
    times = phase_times(marks, marks)[0]
    assert {"memory", "setup", "smp", "aml", "drivers", "total"} <= set(times)
    tiles = sum(ns for name, ns in times.items() if name not in ("total", "initramfs", "console", "iommu"))
    assert 0.9 * times["total"] <= tiles <= times["total"]


def test_a_log_without_stamps_has_no_phases() -> None:
    none = phase_marks(sound("log", [Stamped("smp: Bringing up secondary CPUs ...", None)]))
    assert phase_times(none, none) == ({}, {})


def judge() -> ModuleType:
    path = SHARED / "tools" / "phasematch.py"
    spec = importlib.util.spec_from_file_location("phasematch", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def real_logs(folder: Path) -> Iterator[Path]:
    for packed in sorted(TIMED.glob("*.log.gz"))[::4]:
        path = folder / packed.stem
        path.write_bytes(gzip.decompress(packed.read_bytes()))
        yield path


def test_phases_are_those_of_the_judge(tmp_path: Path) -> None:
    if not TIMED.is_dir():
        pytest.skip("no ../shared/corpora/timed beside the checkout")
    tool = judge()
    marks = {path: (phase_marks(read_stamped(path)), tool.marks(tool.lines_of(path))) for path in real_logs(tmp_path)}
    same = of = 0
    for a, b in combinations(marks, 2):
        ours = phase_times(marks[a][0], marks[b][0])
        theirs = tool.phases(*marks[a][1], *marks[b][1]), tool.phases(*marks[b][1], *marks[a][1])
        for own, other in zip(ours, theirs, strict=True):
            of += len(other)
            same += sum(abs(own.get(name, -1) / 1e6 - ms) < 0.01 for name, ms in other.items())
    assert of > 100 and same == of
