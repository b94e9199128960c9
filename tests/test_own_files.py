"""A user's own variants, kernels, costs and machines, as a new user tries them: from another folder."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from minikern.cli import main
from minikern.core.forks import load_forks
from minikern.core.release import release_names
from minikern.core.variant import load_variants

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def one(*args: str, status: int = 0) -> Result:
        done = CliRunner().invoke(main, args)
        assert done.exit_code == status, done.output
        return done

    return one


def write(name: str, text: str) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text)


def test_a_variant_boots_and_is_compared(run: Run) -> None:
    write("mine.toml", 'title = "ticks"\nextends = "deferred"\nrequires = "patience"\n[config]\nCONFIG_HZ = 1000\n')
    log = run("boot", "tiny", "--variant", "mine.toml").stdout
    assert "scheduler-enlistment delay is 100 jiffies" in log
    ladder = json.loads(run("compare", "tiny", "--variants", "deferred,mine.toml", "--json").stdout)
    rung = ladder["rungs"][1]
    assert (rung["variant"], rung["title"], rung["against"]) == ("mine", "ticks", "deferred")
    assert rung["saved_ms"] == pytest.approx(ladder["rungs"][0]["total_ms"] - rung["total_ms"], abs=0.002)


def test_a_variant_that_pays_says_what_it_needs(run: Run) -> None:
    write("mine.toml", 'extends = "baseline"\nrequires = "patience"\n[behaviour]\nsmp_scheme = "split"\n')
    args = ("compare", "skylake-112", "--vmemmap", "window", "--variants", "baseline,mine.toml", "--json")
    ladder = json.loads(run(*args).stdout)
    assert [(one["variant"], one["requires"]) for one in ladder["payoffs"]] == [("mine", "patience")]


def test_a_kernel_is_its_version(run: Run) -> None:
    write("old.toml", 'extends = "debian-6.12"\nversion = "6.4"\n')
    write("new.toml", 'extends = "debian-6.12"\nversion = "6.5-rc1"\n')
    old, new = (run("boot", "tiny", "--kernel", f"{name}.toml").stdout for name in ("old", "new"))
    assert "Linux version 6.4.0-generic" in old and "Linux version 6.5.0-rc1-generic" in new
    done = json.loads(run("kernel", "show", "new.toml", "--json").stdout)["behaviour"]
    assert done["smp_scheme"]["value"] == "split" and done["smp_scheme"]["since"] == "6.5"


def test_costs_go_over_the_machines(run: Run) -> None:
    write("costs.toml", '[struct_page_init]\nns = 0.0\nsource = "as if it were free"\n')
    args = ("blame", "lpc2023", "--variant", "baseline", "--vmemmap", "window", "--json")
    spent = {row["kind"]: row["total_ns"] for row in json.loads(run(*args).stdout)["entries"]}
    free = {row["kind"]: row["total_ns"] for row in json.loads(run(*args, "--costs", "costs.toml").stdout)["entries"]}
    assert spent["struct_page_init"] > 0 and not free.get("struct_page_init")


def test_folders_of_ones_own(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write("boot/variants/slow.toml", 'title = "as it was"\nextends = "baseline"\n')
    write("boot/kernels/next.toml", 'version = "7.3"\nmatch = \'7\\.3\'\n')
    write("config/minikern/machines/box.toml", 'name = "box"\ntitle = "mine"\nmemory = "256M"\n[cpus]\ncount = 1\n')
    write("config/minikern/variants/slow.toml", 'title = "second in line"\n')
    monkeypatch.setenv("MINIKERN_PATH", str(tmp_path / "boot"))
    assert "slow" in run("variant", "list").stdout and "as it was" in run("variant", "list").stdout
    assert re.search(r"^next +7\.3 +Linux 7\.3 \(yours\)$", run("kernel", "list").stdout, re.MULTILINE)
    assert re.search(r"^box +mine", run("machine", "list").stdout, re.MULTILINE)
    assert "Linux version 7.3.0" in run("boot", "box", "--kernel", "next", "--variant", "slow").stdout
    monkeypatch.setenv("MINIKERN_PATH", str(tmp_path / "nowhere"))
    assert "MINIKERN_PATH: " in run("variant", "list", status=2).stderr


BOX = 'name = "x"\n[cpus]\ncount = 1\n'
RESIDUE = '[[residue]]\nname = "a"\nms = 1\nsource = "x"\n'
COST = '[struct_page_init]\n'
VARIANT, KERNEL, COSTS = ("boot", "tiny", "--variant"), ("boot", "tiny", "--kernel"), ("boot", "tiny", "--costs")


@pytest.mark.parametrize(
    ("args", "text", "says"),
    [
        (VARIANT, "[behaviour]\nhvo_bach = true", "'hvo_bach' is no behaviour: did you mean hvo_batch?"),
        (("compare", "tiny", "--variants"), "ladr = true", "'ladr' is no key: did you mean ladder?"),
        (KERNEL, 'version = "6.9"\n[config]\nCONFIG_HERZ = 1', "'CONFIG_HERZ' is no option"),
        (COSTS, '[struct_page_inti]\nns = 1\nsource = "x"', "did you mean struct_page_init?"),
        (COSTS, COST + "ns = 1", "missing required field `source`"),
        (COSTS, COST + 'ms = 1\nsource = "x"', "expected one of fitted_on, high, low, ns, source"),
        (COSTS, COST + 'ns = -1\nsource = "x"', "Expected `float` >= 0"),
        (("boot",), BOX + '[costs.udelay]\nns = 1\nsource = "x"', "did you mean udelay_us?"),
        (("boot",), BOX + RESIDUE + 'at = "x_setup_arch"', "did you mean setup_arch?"),
        (("boot",), BOX + RESIDUE + 'at = "setup_arch"\nphase = "smb"', "did you mean smp?"),
        (("boot",), 'release = "debian-6.13"\n' + BOX, "did you mean debian-6.1?"),
        (("boot",), 'figures = "lpc2024"\n' + BOX, "did you mean lpc2023?"),
        (("kernel", "show"), 'version = "6.9"\nextend = "lpc2023"', "'extend' is no key: did you mean extends?"),
        (("variant", "show"), 'extends = "hvo_skip"', "'hvo_skip' is no variant: did you mean hvo-skip?"),
    ],
)
def test_what_is_wrong_is_one_line(run: Run, args: tuple[str, ...], text: str, says: str) -> None:
    write("bad.toml", text)
    done = run(*args, "bad.toml", status=2)
    assert not done.stdout and done.stderr.count("\n") == 1
    assert says in done.stderr and "bad.toml" in done.stderr


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ((*VARIANT, "none.toml"), "none.toml: no such file"),
        ((*KERNEL, "none.toml"), "none.toml: no such file"),
        ((*COSTS, "none.toml"), "none.toml: cannot be read"),
        ((*VARIANT, "baselin"), "did you mean baseline?"),
        (("kernel", "forks", "six"), "'six': no kernel version"),
        (("kernel", "forks", "--field", "smp_skheme"), "did you mean smp_scheme?"),
    ],
)
def test_what_is_not_there_is_one_line(run: Run, args: tuple[str, ...], says: str) -> None:
    done = run(*args, status=2)
    assert not done.stdout and done.stderr.count("\n") == 1 and says in done.stderr


@pytest.mark.parametrize("name", release_names())
def test_a_shown_kernel_is_the_same_kernel(run: Run, name: str) -> None:
    write("mine.toml", run("kernel", "show", name).stdout)
    mine, theirs = (json.loads(run("kernel", "show", what, "--json").stdout) for what in ("mine.toml", name))
    assert {**mine, "name": name, "match": theirs["match"]} == theirs


@pytest.mark.parametrize("name", load_variants())
def test_a_shown_variant_is_the_same_variant(run: Run, name: str) -> None:
    write("mine.toml", run("variant", "show", name).stdout)
    mine, theirs = (json.loads(run("variant", "show", what, "--json").stdout) for what in ("mine.toml", name))
    assert {**mine, "name": name, "extends": theirs["extends"], "order": theirs["order"]} == theirs


def test_forks_fit_a_terminal_and_are_all_told(run: Run) -> None:
    text = run("kernel", "forks").stdout
    assert max(map(len, text.splitlines())) <= 80
    rows = json.loads(run("kernel", "forks", "--json").stdout)
    assert len(rows) == len(load_forks())
    table = run("kernel", "forks", "--markdown").stdout.splitlines()
    assert len(table) == 2 + len(rows) and len({line.count("|") - line.count("\\|") for line in table}) == 1
    some = json.loads(run("kernel", "forks", "6.4", "6.5", "--json").stdout)
    assert some and {row["since"] for row in some} == {"6.5"}
    assert tomllib.loads(run("kernel", "show", "debian-6.12").stdout)["version"] == "6.12.117"
