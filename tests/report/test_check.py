"""Checks as text, JSON and pytest-benchmark's format; files to begin with; limits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pytest_benchmark.stats import Stats

import minikern
from minikern.commands.check import check
from minikern.lab import check_time
from minikern.lab.check_time import Clocked, Timing
from minikern.lab.kinds.registry import KINDS
from minikern.lab.kinds.template import template
from minikern.report.benchmark_json import _stats


@pytest.fixture(autouse=True)
def fewest_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timings are of no interest here."""
    monkeypatch.setattr(check_time, "MORE_S", 0.0)


def run(*words: object) -> Any:
    return CliRunner().invoke(check, [*map(str, words)])


def test_the_help_names_every_kind_with_its_hook_and_arguments() -> None:
    told = run("--help").output
    for kind in KINDS.values():
        assert f"  {kind.name:<15} {kind.hook.name:<20} {', '.join(kind.hook.arguments)}\n" in told


@pytest.mark.parametrize("name", ["hvo", "memmap_init_range"])
def test_a_new_file_is_right_and_never_written_over(name: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    done = run("--new", name, path)
    assert (done.exit_code, done.stdout) == (0, "")
    assert "What" in path.read_text() and "@minikern.algorithm(" in path.read_text()
    assert run(path, "--examples", "5").exit_code == 0
    again = run("--new", name, path)
    assert (again.exit_code, "already there" in again.stderr) == (2, True)


def test_what_no_file_can_begin_with(tmp_path: Path) -> None:
    done = run("--new", "hov", tmp_path / "mine.py")
    assert (done.exit_code, done.stderr.splitlines()) == (
        2, ["minikern: --new: 'hov' is no kind of algorithm: did you mean hvo?"]
    )  # fmt: skip
    assert run("--new", "hvo", tmp_path / "mine.txt").exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_picture_and_its_place_are_in_the_json(tmp_path: Path) -> None:
    kind = KINDS["free-merge"]
    path = tmp_path / "mine.py"
    path.write_text(template(kind).replace("pfn ^ (1 << order)", "pfn + (1 << order)"))
    done = run(path, "--examples", "5", "--json")
    assert done.exit_code == 1
    (entry,) = json.loads(done.output)["results"]
    assert (entry["kind"], entry["right"], entry["timings"]) == ("free-merge", False, [])
    wrong = entry["wrong"]
    assert (wrong["pfn"], wrong["expected"], wrong["found"]) == (8, "order 1", "order 0")
    assert wrong["zone"].startswith("the buddy below: 0x9 order 0 is freed")
    assert any(line.startswith("found") for line in wrong["picture"])


def test_what_a_function_prints_is_none_of_the_product(tmp_path: Path) -> None:
    kind = KINDS["zone-fallback"]
    path = tmp_path / "mine.py"
    path.write_text("print('loaded')\n" + template(kind).replace(kind.example, "    print(node)\n" + kind.example))
    assert json.loads(run(path, "--examples", "3", "--json").stdout)["results"][0]["right"] is True


def test_timings_are_read_by_pytest_benchmark(tmp_path: Path) -> None:
    path, out = tmp_path / "mine.py", tmp_path / "mine.json"
    path.write_text(template(KINDS["zone-fallback"]))
    assert run(path, "--examples", "5", "--benchmark-json", out).exit_code == 0
    benchmarks = json.loads(out.read_text())["benchmarks"]
    assert [one["name"] for one in benchmarks] == ["my_zone_fallback[1]", "built-in[1]"]
    command = [sys.executable, "-m", "pytest_benchmark", "compare", str(out)]
    where = {**os.environ, "PYTHONPATH": str(Path(minikern.__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=where)
    assert done.returncode == 0, done.stderr
    assert "my_zone_fallback[1]" in done.stdout


def test_statistics_are_those_of_pytest_benchmark() -> None:
    samples = [0.5, 0.25, 0.75, 0.3, 9.0]
    theirs = Stats()
    for value in samples:
        theirs.update(value)
    ours = _stats(samples)
    for name in ("min", "max", "mean", "stddev", "median", "rounds", "total", "ops", "stddev_outliers"):
        assert ours[name] == pytest.approx(getattr(theirs, name)), name


def test_what_takes_too_much_memory_is_ended(tmp_path: Path) -> None:
    kind = KINDS["zone-fallback"]
    path = tmp_path / "mine.py"
    greedy = "    held = []\n    while True:\n        held.append(bytes(1 << 20))\n"
    path.write_text(template(kind).replace(kind.example, greedy))
    done = run(path, "--memory-limit", "1G", "--timeout", "30")
    assert done.exit_code == 1
    assert "found MemoryError: it asks for more memory than it may have" in done.output
    path.write_text(template(kind).replace(kind.example, "    import numpy\n    return numpy.zeros(1 << 40)\n"))
    assert "MemoryError" in run(path, "--memory-limit", "1G").output
    path.write_text(template(KINDS["reserve-pages"]))
    assert run(path, "--memory-limit", "256M", "--examples", "3").exit_code == 0  # the clock keeps to it, too
    refused = run(path, "--memory-limit", "1M")
    assert (refused.exit_code, "expected 256M or more" in refused.stderr) == (2, True)


def test_a_function_that_may_run_on_several_threads_is_timed_so(tmp_path: Path) -> None:
    from minikern.host import jit
    from minikern.mm.map.deferred import host_cores

    path = tmp_path / "mine.py"
    path.write_text(
        "import minikern, numba\n@minikern.algorithm('reserve_range')\n@numba.njit(nogil=True)\n"
        "def mine(words, reserved):\n    for i in range(words.shape[0]):\n        words[i, 0] |= reserved\n"
    )
    done = run(path, "--examples", "3", "--json")
    assert done.exit_code == 0, done.output
    (entry,) = json.loads(done.output)["results"]
    rows = {(row["name"], row["threads"]): row for row in entry["timings"]}
    assert {threads for _, threads in rows} == ({1} if jit.DISABLED else {1, host_cores()})
    assert entry["first_call_s"] > 0
    assert "times the last-level cache" in entry["timed_on"]
    assert max(row["of_roofline"] for (name, _), row in rows.items() if name.startswith("roofline")) == 1
    for row in rows.values():
        assert row["pages_per_s"] == pytest.approx(row["pages_a_sample"] / min(row["samples_s"]))


def test_a_busy_computer_is_told_of() -> None:
    calm, torn = Timing("calm", 1, 1, [1.0, 1.0, 1.1]), Timing("torn", 1, 1, [1.0, 2.0, 2.0])
    assert not Clocked("it", "calls", timings=[calm, calm, torn]).busy
    assert Clocked("it", "calls", timings=[calm, torn, torn]).busy
