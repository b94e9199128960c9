"""The table of parameters is whole: what is looked up is declared, and what is declared is looked up or handled."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from minikern.core.cmdline import dashes
from minikern.core.moduleparam import JUDGES, Kind, Parameter
from minikern.init import declared
from minikern.init.params import parameter_table

ROOT = Path(__file__).parents[1]
LOOK_UPS = {"get", "has", "getall", "words", "get_int", "get_bool"}


class LookUp(NamedTuple):
    """One question to the command line; ``name`` is empty if it is not written down there."""

    module: str
    name: str


def look_ups(module: str, tree: ast.AST) -> Iterator[LookUp]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        asked = node.func.value
        if node.func.attr in LOOK_UPS and isinstance(asked, ast.Attribute) and asked.attr == "cmdline":
            first = node.args[0]
            yield LookUp(module, first.value if isinstance(first, ast.Constant) else "")


def all_look_ups() -> list[LookUp]:
    found = []
    for path in sorted((ROOT / "minikern").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found += look_ups(module, ast.parse(path.read_text()))
    return found


def undeclared(found: list[LookUp], names: set[str]) -> list[LookUp]:
    return [item for item in found if item.name and dashes(item.name) not in names]


def plain(parameter: Parameter[object]) -> str:
    return dashes(parameter.name.removesuffix("="))


NAMES = {plain(one) for one in parameter_table().declared}


def test_what_is_looked_up_is_declared() -> None:
    found = all_look_ups()
    assert len(found) > 40
    assert undeclared(found, NAMES) == []


def test_a_misspelt_look_up_is_found() -> None:
    tree = ast.parse("if k.cmdline.has('retain_initdr') or k.cmdline.words('pci'): pass")
    assert undeclared(list(look_ups("x", tree)), NAMES) == [LookUp("x", "retain_initdr")]


def test_a_name_that_is_not_written_down_is_asked_for_by_a_declared_reader_only() -> None:
    readers = {one.where.split(":")[0] for one in parameter_table().declared}
    hidden = {item.module for item in all_look_ups() if not item.name}
    assert hidden <= readers == readers
    assert hidden == {"minikern.init.hash"}  # the tables' parameters


def asked_in(module: str) -> set[str]:
    """Names a module looks up, or compares words of the line with."""
    path = ROOT / Path(*module.split(".")).with_suffix(".py")
    tree = ast.parse(path.read_text())
    names = {dashes(item.name) for item in look_ups(module, tree)}
    if "cmdline.args" in path.read_text():
        names |= {dashes(node.value) for node in ast.walk(tree)
                  if isinstance(node, ast.Constant) and isinstance(node.value, str)}  # fmt: skip
    return names


def reads(parameter: Parameter[object]) -> bool:
    """True if a parameter whose handler keeps nothing is looked up in the module that is said to read it."""
    module = parameter.where.split(":")[0]
    return plain(parameter) in asked_in(module) or module == "minikern.init.hash"


@pytest.mark.parametrize("parameter", parameter_table().declared, ids=lambda one: f"{one.kind}-{one.name}")
def test_somebody_acts_on_each_declared_parameter(parameter: Parameter[object]) -> None:
    handler = parameter.accept or parameter.setup
    if handler in (None, *JUDGES):
        assert reads(parameter), f"{parameter.where} does not look {parameter.name} up"


def test_every_module_that_declares_is_collected() -> None:
    declaring = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in (ROOT / "minikern").rglob("*.py")
        if any(isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "PARAMETERS"
               for node in ast.parse(path.read_text()).body)
    }  # fmt: skip
    assert declaring == {room.__name__ for room in declared.ROOMS}


def test_handlers_of_one_word_come_in_the_order_of_linuxs_link() -> None:
    wheres = [one.where for one in parameter_table().named(Kind.EARLY, "pci")]
    assert wheres == ["minikern.acpi.options:parse_pci", "minikern.pci.options:pci_setup"]
