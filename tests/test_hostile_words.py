"""Words, fields and names that strangers give: one line, status 2, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from minikern.cli import main

TINY = 'name = "x"\nmemory = "256M"\n[cpus]\ncount = 1\n'
LONG = "9" * 5000


def one_line(result: Result) -> None:
    assert result.exit_code == 2, (result.exit_code, result.stderr[:300])
    assert result.stderr.startswith("minikern: ") and result.stderr.count("\n") == 1
    assert len(result.stderr) < 1200 and LONG[:90] not in result.stderr
    assert "internal error" not in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("--memory", LONG), ("--memory", "²G"), ("--cpus", LONG), ("--cpus", "²"), ("--cpus", "2,cores=²"),
        ("--numa", LONG), ("--numa", f"128M,cpus={LONG}"), ("--fault", f"dead={LONG}"), ("--fault", "slow=1:nan"),
        ("--fault", "slow=1:inf"), ("--fault", f"tsc-skew=1:{LONG}"), ("--append", "\udcff\udcfe"), ("--trace", "."),
        ("--trace", ""), ("--trace", "/"), ("--frob",), ("--times", "x"),
    ],
    ids=lambda words: " ".join(words)[:20].encode("ascii", "backslashreplace").decode(),
)  # fmt: skip
def test_words(words: tuple[str, ...]) -> None:
    one_line(CliRunner().invoke(main, ["boot", "tiny", *words]))


@pytest.mark.parametrize(
    "text",
    [
        TINY + '[costs.struct_page_init]\nns = inf\nsource = "x"\n',
        TINY + '[costs.struct_page_init]\nns = nan\nsource = "x"\n',
        TINY + '[costs.struct_page_init]\nns = 1e308\nsource = "x"\n',
        TINY + f"tsc_khz = {LONG}\n",
        TINY + "tsc_khz = 281474976710656\n",
        TINY + "[[e820]]\nstart = 0\nend = 0x10000000\ntype = 9223372036854775807\n",
        TINY + "[acpi]\nhotplug_cpus = 281474976710656\n",
        TINY + '[acpi]\noem_id = "é"\n',
        TINY + f'[faults]\ndead = "{LONG}"\n',
        "x = " + "[" * 20_000,
        "x" * 100 + ' = "\x1b"',
    ],
    ids=range(11),
)
def test_fields(text: str, tmp_path: Path) -> None:
    path = tmp_path / "machine.toml"
    path.write_text(text)
    one_line(CliRunner().invoke(main, ["boot", str(path)]))


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "giant", "not text"])
def test_names_of_what_is_no_description(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "machine.toml"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "giant":
        path.touch()
        os.truncate(path, 1 << 40)
    else:
        path.write_bytes(b"\xff\xfe\x00\x80")
    one_line(CliRunner().invoke(main, ["boot", str(path)]))
    one_line(CliRunner().invoke(main, ["boot", "tiny", "--costs", str(path)]))
