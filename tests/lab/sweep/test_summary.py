"""Summaries: figures of a fleet that can be worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from minikern.lab.sweep.summary import summarise
from minikern.report.sweep_summary import summary_sheets

MS = 1_000_000


def fleet(rows: list[tuple[str, str, int | None, float]]) -> dict[str, list[Any]]:
    """Columns of rows (machine, variant, draw, total in ms); None as total is a row without a boot."""
    return {
        "row": list(range(len(rows))),
        "machine": [row[0] for row in rows],
        "kernel": ["k"] * len(rows),
        "variant": [row[1] for row in rows],
        "words": [""] * len(rows),
        "draw": [row[2] for row in rows],
        "total_ns": [round(row[3] * MS) for row in rows],
        "total_low_ns": [round(row[3] * MS * (0.9 if row[0] == "a" else 0.5)) for row in rows],
        "total_high_ns": [round(row[3] * MS * (1.1 if row[0] == "a" else 1.5)) for row in rows],
        "error": [""] * len(rows),
    }


def test_a_fleet_of_two() -> None:
    rows = [("a", "as-is", None, 100), ("a", "fast", None, 60), ("b", "as-is", None, 50), ("b", "fast", None, 55)]
    found = summarise(fleet(rows), 10)
    (change,) = found.changes
    assert (change.name, change.against, change.machines, change.pays) == ("fast", "as-is", 2, 1)
    assert change.saved_ms.median == pytest.approx((40 - 5) / 2)
    assert change.does_not_pay[0].name == "b"
    assert change.does_not_pay[0].saved_ms.median == pytest.approx(-5)
    assert change.no_difference == 0
    assert change.saved_hours_a_year == pytest.approx(35 * 10 / 3_600_000, abs=1e-3)
    assert change.saved_boots_a_year == pytest.approx(35 * 10 / 75, abs=0.1)
    assert [one.name for one in found.widest] == ["b", "a"]


def test_draws_are_held_against_their_own_kind() -> None:
    # Each draw saves 10 of its own time, though the draws themselves are far apart.
    rows = [("a", name, draw, total - (10 if name == "fast" else 0)) for name in ("as-is", "fast")
            for draw, total in enumerate((50, 100, 200))]  # fmt: skip
    (change,) = summarise(fleet(rows)).changes
    assert (change.saved_ms.p10, change.saved_ms.median, change.saved_ms.p90) == (10, 10, 10)
    assert change.pays == 1


def test_a_machine_that_has_it_already_is_no_loss() -> None:
    (change,) = summarise(fleet([("a", name, None, 100) for name in ("as-is", "has-it")])).changes
    assert (change.pays, change.no_difference, change.does_not_pay) == (0, 1, [])


def test_a_saving_that_is_not_sure_does_not_pay() -> None:
    rows = [("a", "as-is", draw, 100) for draw in range(10)]
    rows += [("a", "maybe", draw, 101 if draw < 4 else 90) for draw in range(10)]
    (change,) = summarise(fleet(rows)).changes
    assert change.saved_ms.median == 10
    assert change.pays == 0


def test_boots_that_are_held_against_nothing_have_their_spread() -> None:
    found = summarise(fleet([("a", "as-is", draw, 100 + draw) for draw in range(11)]))
    (boot,) = found.boots
    assert (boot.name, boot.value, boot.rows, boot.ms.median) == ("a", "as-is k", 11, 105)
    sheet, widest = summary_sheets(found)
    assert sheet.rows == [["a", "as-is k", "11", "101", "105", "109"]] and "widest" in widest.title


def test_rows_without_a_boot_are_counted_and_left_out() -> None:
    columns = fleet([("a", "as-is", None, 100), ("a", "fast", None, 60), ("b", "as-is", None, 0)])
    columns["error"][2] = "no such machine"
    found = summarise(columns)
    assert (found.rows, found.failed, found.machines) == (3, 1, 2)
    assert found.changes[0].machines == 1
