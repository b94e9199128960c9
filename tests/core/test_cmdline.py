"""The kernel command line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minikern.core.cmdline import CommandLine, get_bool, memparse, without_words


def test_memparse() -> None:
    assert memparse("64M$1G") == (64 << 20, "$1G")
    assert memparse("0x10k") == (16 << 10, "")
    assert memparse("010") == (8, "")
    assert memparse("089") == (0, "89")
    assert memparse("exactmap") == (0, "exactmap")
    assert memparse("2E") == (2 << 60, "")


@given(st.integers(0, 2**40), st.sampled_from(["", "K", "M", "g"]))
def test_memparse_round_trip(number: int, suffix: str) -> None:
    shift = {"": 0, "K": 10, "M": 20, "G": 30}[suffix.upper()]
    assert memparse(f"{number}{suffix}") == (number << shift & (2**64 - 1), "")


def test_words_and_quotes() -> None:
    line = CommandLine('quiet a="b c" "d=e f" x= hugepagesz=1G  hugepages=4 -- init args=1')
    assert line.args[:4] == [("quiet", None), ("a", "b c"), ("d", "e f"), ("x", "")]
    assert line.init_args == ["init", "args=1"]
    assert line.get("hugepages") == "4" and line.has("quiet") and not line.has("init")


def test_last_one_wins_and_dashes_are_underscores() -> None:
    line = CommandLine("nr_cpus=4 nr-cpus=8 pci=nomsi,noaer pci=conf1")
    assert line.get_int("nr_cpus") == 8
    assert line.words("pci") == ["nomsi", "noaer", "conf1"]


def test_truth() -> None:
    assert get_bool("on", False) and get_bool("Y", False) and get_bool("1", False)
    assert not get_bool("off", True) and not get_bool("0", True)
    assert get_bool("maybe", True) and get_bool(None, True)


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("root=/dev/sda console=ttyS0,115200 quiet", "root=/dev/sda quiet"),
        ("console=ttyS0 console=tty0", "console=tty0"),
        ('x="a b" console=ttyS1', 'x="a b"'),
        ("a  b", "a  b"),
        ("console=ttyS0 -- console=ttyS0", "-- console=ttyS0"),
        ("", ""),
    ],
)
def test_words_taken_off(line: str, left: str) -> None:
    assert without_words(line, ["console=ttyS*"]) == left
