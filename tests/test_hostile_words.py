"""Words, fields and names that strangers give: one line, status 2, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from minikern.cli import main
from minikern.commands.numbers import Count, Real

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


NUMBERS = ("²", LONG, "inf", "nan", "1e308", str(1 << 63), "1_000", "١٢", "-1", "", " ", "0x10", "1,5", "5\n6")


def numbers(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Parameter]]:
    """Every option that takes a number, with its command's words."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from numbers(inner, (*words, name))
        return
    kinds = (click.types.IntParamType, click.types.FloatParamType)
    yield from ((words, option) for option in command.params if isinstance(option.type, kinds))


def test_every_number_has_bounds_and_ascii_digits() -> None:
    found = list(numbers(main))
    assert len(found) > 20
    for words, option in found:
        assert isinstance(option.type, Count | Real), f"{words}: {option.name}: see commands/numbers.py"
        for text in NUMBERS:
            with pytest.raises(click.BadParameter, match=r"is not a (?:whole )?number of \S+ to \S+$"):
                option.type.convert(text, option, None)
        assert option.type.convert(option.type.low, option, None) == option.type.low
        assert option.type.convert(str(option.type.high), option, None) == option.type.high


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
        ".".join("a" * 20_000) + " = 1",
        "[" + ".".join(['"a"'] * 20_000) + "]",
        "x = { " + " . ".join("a" * 20_000) + " = 1 }",
        "x" * 100 + ' = "\x1b"',
    ],
    ids=range(14),
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


@pytest.mark.parametrize(
    ("name", "value"),
    [("COLUMNS", "²"), ("COLUMNS", "0"), ("COLUMNS", "9" * 30), ("LINES", "²"), ("HOME", "~"), ("HOME", ""),
     ("XDG_CONFIG_HOME", "~nobody-of-that-name/x"), ("XDG_CONFIG_HOME", "/dev/null")],
)  # fmt: skip
def test_the_environment(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    for words in (["compare", "tiny", "--variants", "baseline"], ["kernel", "forks", "6.12", "6.13"]):
        done = CliRunner().invoke(main, words)
        assert (done.exit_code, done.exception) == (0, None) and len(done.stdout) > 100
