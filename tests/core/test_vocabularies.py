"""Words that steer something are closed: a kind of work nobody declared, or a place nobody passes, is found here."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from minikern.core.cost_table import default_costs

ROOT = Path(__file__).parents[2]
BOOKS = {"charge": 0, "charge_on": 1, "unit_ns": 0}  # position of the kind of work


def calls() -> Iterator[tuple[Path, ast.Call, str]]:
    for path in (ROOT / "minikern").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                yield path, node, node.func.attr


def literals(node: ast.expr) -> Iterator[str]:
    """The texts an argument can be, as far as it is written out."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from literals(node.body)
        yield from literals(node.orelse)


def booked() -> Iterator[tuple[Path, str]]:
    for path, call, name in calls():
        if name in BOOKS and len(call.args) > BOOKS[name]:
            for kind in literals(call.args[BOOKS[name]]):
                yield path, kind
    for path in (ROOT / "minikern").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            work = node.value if isinstance(node, ast.Yield) else None  # see minikern.core.work
            if isinstance(work, ast.Tuple) and len(work.elts) == 2 and "core.work" in path.read_text():
                for kind in literals(work.elts[0]):
                    yield path, kind


def test_every_kind_of_work_that_is_booked_has_a_cost() -> None:
    costs = default_costs()
    unknown = [(path.name, kind) for path, kind in booked() if kind not in costs]
    assert not unknown, unknown
    assert len({kind for _, kind in booked()}) > 60


def test_every_phase_is_one_of_the_ledgers() -> None:
    from typing import get_args

    from minikern.core.ledger import Phase

    named = {text for _, call, name in calls() if name == "phase" for text in literals(call.args[0])}
    assert named <= set(get_args(Phase))
