"""The command: embedded and hand-started clusters give the same rows, killed runs go on, bad plans end in one line."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from minikern.cli import main
from minikern.lab.sweep.plan import grid, read_plan
from minikern.lab.sweep.rows import make_row
from minikern.report.sweep_store import column, flat

ROOT = Path(__file__).parents[3]
PLAN = """
machines = ["tiny", "laptop"]
variants = ["as-is", "quiet", "deferred"]
draws = 2
[vary]
cpus = [1, 2]
memory = "1G,2G"
"""
ROWS = 2 * 3 * 2 * 2 * 2


def start(*words: str, **more: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "minikern", "sweep", *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, **pipes, **more)  # type: ignore[call-overload, no-any-return]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    process = start(*words)
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(words, process.returncode, out, err)


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.toml"
    path.write_text(PLAN)
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The plan, and its rows as the embedded cluster makes them."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "plan.toml").write_text(PLAN)
    done = run(str(folder / "plan.toml"), "-o", str(folder / "rows.parquet"))
    assert done.returncode == 0, done.stderr
    return folder / "plan.toml", folder / "rows.parquet"


def test_every_row_once_and_as_made_alone(whole: tuple[Path, Path]) -> None:
    table = pq.read_table(whole[1]).to_pylist()
    assert [row["row"] for row in table] == list(range(ROWS))
    points = grid(read_plan(whole[0]), whole[0].parent)
    for row in (0, 17, ROWS - 1):
        assert flat(make_row(points.point(row)), points) == table[row]
    assert set(table[0]) >= {"machine", "kernel", "variant", "draw", "memory", "cpus", "versions", column("total")}


def test_one_row_from_the_command_line(whole: tuple[Path, Path]) -> None:
    done = run(str(whole[0]), "--row", "17")
    assert json.loads(done.stdout) == pq.read_table(whole[1]).to_pylist()[17]


@pytest.fixture
def cluster() -> Iterator[str]:
    """A scheduler and two workers, as somebody would start them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": ROOT}
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port)]
    started = [subprocess.Popen([*dask, "--no-dashboard"], **quiet)]  # type: ignore[call-overload]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard"]
    started += [subprocess.Popen(worker, **quiet) for _ in range(2)]  # type: ignore[call-overload]
    try:
        yield address
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait(30)


def test_a_hand_started_cluster_gives_the_same_rows(whole: tuple[Path, Path], cluster: str, tmp_path: Path) -> None:
    deadline = time.monotonic() + 60
    output = tmp_path / "rows.parquet"
    while True:  # until the scheduler listens
        done = run(str(whole[0]), "--scheduler", cluster, "-o", str(output))
        if done.returncode == 0 or time.monotonic() > deadline:
            break
    assert done.returncode == 0, done.stderr
    assert output.read_bytes() == whole[1].read_bytes()


def test_a_killed_run_goes_on(plan: Path, tmp_path: Path) -> None:
    output, parts = tmp_path / "rows.parquet", tmp_path / "rows.parquet.parts"
    words = (str(plan), "-o", str(output), "--draws", "40", "--vary", "cpus=1", "--vary", "memory=1G")
    process = start(*words, start_new_session=True)
    deadline = time.monotonic() + 120
    while not list(parts.glob("part-*.parquet")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.communicate()
    before = [pq.read_table(part) for part in sorted(parts.glob("part-*.parquet"))]
    if output.exists() or not before:
        pytest.skip("the computer was faster than the test")
    again = run(*words)
    assert again.returncode == 2
    assert "--resume" in again.stderr
    other = run(*words, "--resume", "--seed", "7")
    assert other.returncode == 2
    assert "of another plan" in other.stderr
    done = run(*words, "--resume")
    assert done.returncode == 0, done.stderr
    table = pq.read_table(output).to_pylist()
    assert [row["row"] for row in table] == list(range(2 * 3 * 40))
    kept = [row for part in before for row in part.to_pylist()]
    assert all(table[row["row"]] == row for row in kept)
    assert not parts.exists()


def test_a_bad_machine_costs_its_rows_only(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("name = 'bad'\nmemory = 'much'\n")
    (tmp_path / "plan.toml").write_text('machines = ["tiny", "bad.toml"]\n')
    done = run(str(tmp_path / "plan.toml"), "-o", str(tmp_path / "rows.csv"))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "bad.toml" in line and "1 row without a boot" in line
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 3


MANY = tuple(word for kind in ("struct_page_init", "struct_page_free", "aml_term")
             for word in ("--vary", f"costs.{kind}=1..9999:lin:9999"))  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("plan.toml", "--draws", "99999", "--vary", "cpus=1..900:lin:900"), "--yes"),
        (("plan.toml", "--draws", "999999999"), "of 0 to 100000"),
        (("plan.toml", "--draws", "99999", *MANY), "rows: expected at most"),
        (("plan.toml", "--workers", "1024"), "--workers: 1024: expected at most"),
        (("plan.toml", "--scheduler", "tcp://127.0.0.1:9"), "nobody answers"),
        (("plan.toml", "--scheduler", "somewhere"), "expected tcp://"),
        (("plan.toml", "-o", "rows.txt"), "ending in .parquet or .csv"),
        (("plan.toml", "-o", "nowhere/rows.csv"), "no folder"),
        (("plan.toml", "-o", "there.csv"), "there already"),
        (("folder",), "no captured machine"),
        (("folder/folder.toml",), "no captured machine"),
        (("queue.toml",), "neither a file nor a folder"),
        (("plan.toml", "-o", "queue.csv"), "there already"),
        (("odd.toml",), "'colour' is no key"),
        (("plan.toml", "--machines", "no-such-*.toml"), "nothing of that name"),
        (("plan.toml", "--kernels", "linux-9.9"), "linux-9.9"),
        (("plan.toml", "--resume"), "expected -o FILE"),
        (("plan.toml", "--vary", "cpus"), "NAME=VALUES"),
        (("plan.toml", "--row", "100000"), "rows are 0 to"),
        ((), "nothing to boot"),
        (("show", "plan.toml"), "a sweep's results"),
        (("show", "there.csv"), "not a sweep's results"),
    ],
)
def test_one_line_for_what_cannot_be(plan: Path, words: tuple[str, ...], said: str) -> None:
    (plan.parent / "there.csv").write_text("a,b\n1,2\n")
    (plan.parent / "odd.toml").write_text('machines = ["tiny"]\ncolour = "red"\n')
    (plan.parent / "folder" / "folder.toml").mkdir(parents=True)
    for name in ("queue.toml", "queue.csv"):
        os.mkfifo(plan.parent / name)
    named = [str(plan.parent / word) if word.endswith((".toml", ".csv", ".txt", "folder")) else word for word in words]
    done = CliRunner().invoke(main, ["sweep", *named])
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert said in line
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [(("--scheduler", "tcp://127.0.0.1:9"), "nobody answers"), (("--workers", "1"), "cannot be written")],
)
def test_what_makes_no_row_leaves_nothing(plan: Path, words: tuple[str, ...], said: str) -> None:
    output = plan.parent / "rows.csv"
    room = 512 if said == "cannot be written" else resource.RLIM_INFINITY  # bytes a file may have: a disk that is full
    limit = f"import resource, runpy; resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}));"
    code = limit + "runpy.run_module('minikern', run_name='__main__')"
    command = [sys.executable, "-c", code, "sweep", "tiny", "-o", str(output), *words]
    whole = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}  # Python cuts its own files short where there is no room
    done = subprocess.run(command, cwd=ROOT, env=whole, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert said in line
    assert sorted(path.name for path in plan.parent.iterdir()) == ["plan.toml"]
