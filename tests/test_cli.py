"""The command line as a user meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from minikern.cli import COMMANDS, main
from minikern.core.cost_table import default_costs
from minikern.host import jit
from minikern.lab import host_costs


def call(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def test_help_does_not_import_the_compiler() -> None:
    code = "import sys, minikern.cli; sys.exit(any(m in sys.modules for m in ('numba', 'numpy', 'simpy', 'rich')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    result = call(name, "--help")
    assert result.exit_code == 0 and "Usage:" in result.output


def leaves(command: click.Command, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The words of every command that is no group."""
    if not isinstance(command, click.Group):
        yield words
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        inner = command.get_command(context, name)
        assert inner is not None
        yield from leaves(inner, (*words, name))


@pytest.mark.parametrize("words", list(leaves(main, ())), ids=" ".join)
def test_every_help_has_an_example(words: tuple[str, ...]) -> None:
    assert f"  minikern {' '.join(words)}" in call(*words, "--help").output


def test_boot_prints_a_log_twice_the_same() -> None:
    first, second = call("boot", "tiny"), call("boot", "tiny")
    assert first.exit_code == 0
    assert first.stdout.startswith("[    0.000000] Linux version")
    assert first.stdout.endswith("Run /init as init process\n")
    assert first.stdout == second.stdout


def test_boot_json_is_deterministic_and_names_units() -> None:
    first, second = call("boot", "tiny", "--json"), call("boot", "tiny", "--json")
    assert first.stdout == second.stdout
    body = json.loads(first.stdout)
    assert body["clock"] == "simulated"
    assert body["total_ns"] == body["lines"][-1]["ts_ns"]
    assert sum(body["phases_ns"].values()) == body["total_ns"]


def test_compare_json() -> None:
    result = call("compare", "tiny", "--variants", "baseline,deferred", "--json")
    body = json.loads(result.stdout)
    assert [rung["variant"] for rung in body["rungs"]] == ["baseline", "deferred"]
    assert {"variant", "total_ms", "phases", "residue_ms"} <= body["rungs"][0].keys()
    assert body["talk"] == []
    assert body["rungs"][1]["against"] == "baseline"


def test_compare_says_what_pays() -> None:
    body = json.loads(call("compare", "laptop", "--kernel", "debian-6.1", "--json").stdout)
    best = max((item for item in body["payoffs"] if not item["with_words"]), key=lambda item: item["saved_ms"])
    assert body["release"] == "debian-6.1" and best["in_release"] and best["variant"] == "deferred"
    assert body["verdict"].startswith("What pays most here, beyond what debian-6.1 has (deferred): parallel-smp saves")
    shown = call("compare", "laptop", "--variants", "baseline,deferred").stdout
    assert "debian-6.12 has all that pays here already; most of it: deferred saves" in shown


def test_published_figures_are_of_the_machine_as_it_was() -> None:
    ladder = call("compare", "lpc2023", "--variants", "deferred", "--memory", "64G", "--cpus", "4", "--json")
    assert json.loads(ladder.stdout)["talk"] == []


@pytest.mark.skipif(jit.DISABLED, reason="rates of compiled kernels")
def test_times_of_this_computer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_costs, "SECTIONS", 2)
    monkeypatch.setattr(host_costs, "DIGEST_BYTES", 1 << 16)
    assert json.loads(call("blame", "tiny", "--json").stdout)["times"] == "model"
    result = call("blame", "tiny", "--times", "host", "--json")
    one_line(result, 0)
    body = json.loads(result.stdout)
    unit_ns = {entry["kind"]: entry["unit_ns"] for entry in body["entries"]}
    assert body["times"] == "host" and unit_ns["struct_page_init"] != default_costs()["struct_page_init"].ns
    ladder = json.loads(call("compare", "tiny", "--variants", "deferred", "--times", "host", "--json").stdout)
    assert ladder["times"] == "host"


def test_compare_markdown() -> None:
    assert "| variant | total |" in call("compare", "tiny", "--variants", "deferred", "--markdown").stdout


def test_blame_adds_up() -> None:
    body = json.loads(call("blame", "tiny", "--json").stdout)
    critical = sum(entry["total_ns"] for entry in body["entries"] if entry["critical"])
    assert critical > 0
    assert body["entries"] == sorted(body["entries"], key=lambda e: (-e["total_ns"], e["phase"], e["kind"]))


def test_plot_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    target = tmp_path / "ladder.svg"
    result = call("compare", "tiny", "--variants", "deferred", "--plot", str(target))
    assert result.exit_code == 0 and target.read_text().startswith("<?xml")
    assert list(tmp_path.iterdir()) == [target]
    assert call("compare", "tiny", "--plot", str(tmp_path / "x.gif")).exit_code == 2


def test_machine_list_and_show() -> None:
    assert "lpc2023" in call("machine", "list").stdout
    shown = call("machine", "show", "tiny", "--cpus", "4,threads=2").stdout
    assert "count = 4" in shown and "threads = 2" in shown


@pytest.mark.parametrize("name", ["tiny", "laptop"])
def test_dumped_machine_boots_the_same(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "dump"
    assert call("machine", "dump", name, str(folder)).exit_code == 0
    assert call("boot", str(folder)).stdout == call("boot", name).stdout
    again = call("machine", "dump", name, str(folder))
    assert again.exit_code == 2 and "not empty" in again.stderr


def test_shown_description_boots_the_same(tmp_path: Path) -> None:
    path = tmp_path / "machine.toml"
    path.write_text(call("machine", "show", "tiny").stdout)
    assert call("boot", str(path)).stdout == call("boot", "tiny").stdout


BAD_TOML = {
    "not toml": "[[",
    "wrong type": 'name = 3\n[cpus]\ncount = 2\nmemory = "1G"',
    "unknown key": 'name = "x"\nmemory = "1G"\nfrob = 1\n[cpus]\ncount = 2',
    "no cpus": 'name = "x"\nmemory = "1G"\n[cpus]\ncount = 0',
    "too many cpus": 'name = "x"\nmemory = "1G"\n[cpus]\ncount = 9\nsockets = 1\ncores = 4',
    "negative size": 'name = "x"\nmemory = "-1G"\n[cpus]\ncount = 2',
    "no memory": 'name = "x"\n[cpus]\ncount = 2',
    "empty node": 'name = "x"\nmemory = "1G"\n[cpus]\ncount = 2\n[[nodes]]',
    "backward range": 'name = "x"\n[cpus]\ncount = 2\n[[e820]]\nstart = 5\nend = 4',
    "cost of nothing": 'name = "x"\nmemory = "1G"\n[cpus]\ncount = 2\n[costs.frob]\nns = 1\nsource = "x"',
}


@pytest.mark.parametrize("kind", BAD_TOML)
def test_bad_description(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(BAD_TOML[kind])
    one_line(call("boot", str(path)), 2)


@pytest.mark.parametrize(
    "words",
    [
        ("boot", "nosuch"),
        ("boot", "tiny", "--variant", "nosuch"),
        ("boot", "tiny", "--kernel", "nosuch"),
        ("boot", "tiny", "--cpus", "0"),
        ("boot", "tiny", "--cpus", "2,frob=1"),
        ("boot", "tiny", "--memory", "1K"),
        ("boot", "tiny", "--memory", "-1G"),
        ("boot", "tiny", "--numa", "128M,cpus=7"),
        ("boot", "tiny", "--numa", "0", "--numa", "256M,cpus=0-1"),
        ("boot", "tiny", "--numa-distance", "0,1=20"),
        ("boot", "tiny", "--append", "x" * 3000),
        ("boot", "tiny", "--variant", "pci-needed"),
        ("compare", "tiny", "--variants", "deferred,nosuch"),
        ("compare", "tiny", "--plot", "/nosuch/folder/x.svg"),
        ("machine", "dump", "tiny", "/proc/nosuch/folder"),
    ],
)
def test_bad_words(words: tuple[str, ...]) -> None:
    one_line(call(*words), 2)


@pytest.mark.parametrize("words", ["mem=1K", "memmap=exactmap"])
def test_a_machine_that_cannot_go_on_says_so_after_its_log(words: str) -> None:
    result = call("boot", "tiny", "--append", words)
    one_line(result, 3)
    assert "Kernel panic - not syncing" in result.stdout


def one_line(result: Result, status: int) -> None:
    assert result.exit_code == status, result.output
    assert result.stderr.startswith("minikern: ") and result.stderr.count("\n") == 1, result.stderr


def test_a_log_of_two_boots_is_booted_twice(tmp_path: Path) -> None:
    log = tmp_path / "two.log"
    log.write_text("".join(call("boot", "tiny", "-a", word).stdout for word in ("quiet", "debug")))
    both = call("boot", str(log))
    assert both.exit_code == 0
    heads = [line for line in both.stdout.splitlines() if "] Linux version " in line or "] Command line: " in line]
    assert len(heads) == 4
    assert heads[1].endswith("quiet") and heads[3].endswith("debug")
    second = call("boot", f"{log}:2")
    assert second.stdout and both.stdout.endswith(second.stdout)
    assert call("boot", f"{log}:3").exit_code == 2
    assert json.loads(call("boot", str(log), "--json").stdout)


def test_a_described_server_is_compared_from_a_time_known_of_it() -> None:
    told = ["--cpu", "Xeon E5-2699 v3,guest", "--cpus", "4,cores=2,threads=2", "--memory", "4G"]
    variants = ["--variants", "deferred-one-thread,deferred", "--json"]
    result = call("compare", "tiny", *told, "--measured", "deferred-one-thread:deferred=120ms", *variants)
    assert result.exit_code == 0
    before, after = json.loads(result.stdout)["rungs"]
    assert abs(before["phases"]["deferred"] - 120) < 4.1
    assert after["against"] == "deferred-one-thread" and 40 < after["phases"]["deferred"] < 60
    assert after["saved_band"]["low_ms"] < after["saved_ms"] < after["saved_band"]["high_ms"]


def test_a_processor_or_a_time_nobody_knows_is_refused_in_one_line() -> None:
    for words in (["--cpu", "abacus"], ["--cpu", "Milan,host"], ["--measured", "naps=3"]):
        result = call("boot", "tiny", *words)
        assert result.exit_code == 2 and result.stderr.count("\n") == 1 and words[0] in result.stderr
