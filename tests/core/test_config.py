"""Kconfig values keep their kinds, and the list of options is that of the rooms."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

from hw.errors import InputError
from minikern.core.config import OPTIONS, Config, ConfigValue, check_config

ROOT = Path(__file__).parents[2]
SELF = ROOT / "minikern" / "core" / "config.py"


def test_config_values_keep_their_kinds() -> None:
    config = Config({"CONFIG_HZ": 250, "CONFIG_NUMA": True})
    assert config.number("CONFIG_HZ") == 250 and config.enabled("CONFIG_NUMA") and not config.enabled("CONFIG_X")
    with pytest.raises(TypeError, match="CONFIG_NUMA"):
        config.number("CONFIG_NUMA")


def test_the_options_are_those_that_are_read() -> None:
    read = set()
    for path in (ROOT / "minikern").rglob("*.py"):
        if path == SELF or path.parent.name == "describe":  # which reads a real kernel's own list
            continue
        nodes = ast.walk(ast.parse(path.read_text()))
        texts = (node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))
        read |= {text for text in texts if text.startswith("CONFIG_") and text.replace("_", "").isalnum()}
    assert read == set(OPTIONS)


def test_data_sets_options_there_are_to_values_they_have() -> None:
    for path in [*(ROOT / "minikern" / "releases").glob("*.toml"), *(ROOT / "minikern" / "variants").glob("*.toml")]:
        check_config(path.name, tomllib.loads(path.read_text()).get("config", {}))


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("CONFIG_DEFERED_STRUCT_PAGE_INIT", False, "did you mean CONFIG_DEFERRED_STRUCT_PAGE_INIT?"),
        ("HZ", 100, "'HZ' is no option of this kernel"),
        ("CONFIG_HZ", True, "CONFIG_HZ: expected a number, got True"),
        ("CONFIG_HZ", "250", "CONFIG_HZ: expected a number, got '250'"),
        ("CONFIG_NUMA", 1, "CONFIG_NUMA: expected true or false, got 1"),
        ("CONFIG_NUMA", "y", "CONFIG_NUMA: expected true or false, got 'y'"),
        ("CONFIG_PREEMPT_DYNAMIC", False, "CONFIG_PREEMPT_DYNAMIC: expected a text, got False"),
    ],
)
def test_what_is_no_option_or_no_value_of_one(name: str, value: ConfigValue, text: str) -> None:
    with pytest.raises(InputError, match=f"mine.toml: .*{text}"):
        check_config("mine.toml", {name: value})
