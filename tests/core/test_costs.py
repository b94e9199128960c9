"""Places at which unmodelled time passes are those of the code; time at any other would vanish."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from hw.errors import InputError
from hw.toml_file import convert
from minikern.core.costs import Place
from minikern.describe.case import Case

ROOT = Path(__file__).parents[2] / "minikern"


def named_by_calls(method: str) -> Iterator[str]:
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == method:
                yield from (arg.value for arg in node.args if isinstance(arg, ast.Constant))


def test_every_place_is_passed_by_once() -> None:
    assert sorted(named_by_calls("residue")) == sorted(get_args(Place))


@pytest.mark.parametrize(
    ("at", "phase", "text"),
    [
        ("x_setup_arch", "rest", r"'x_setup_arch' is no value of residue\[0\].at: did you mean setup_arch\?"),
        ("setup_arch", "early_memory", r"'early_memory' is no value of residue\[0\].phase: did you mean early"),
    ],
)
def test_time_at_no_place_or_in_no_phase_is_refused(at: str, phase: str, text: str) -> None:
    entry = {"name": "disk", "at": "setup_arch", "ms": 1.0, "source": "a guess"}
    tree = {"name": "mine", "cpus": {"count": 1}, "residue": [entry]}
    assert convert(tree, Case, "mine.toml").residue[0].phase == "rest"
    entry |= {"at": at, "phase": phase}
    with pytest.raises(InputError, match=f"mine.toml: {text}"):
        convert(tree, Case, "mine.toml")
