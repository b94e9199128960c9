"""Shares of a blame table: they add up to the whole, nothing beside or before the log counts."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from minikern.cli import main


@pytest.mark.parametrize("words", [["tiny"], ["laptop"], ["laptop", "--variant", "baseline"], ["tiny", "--cpus", "4"]])
def test_shares_add_up_to_the_whole(words: list[str]) -> None:
    table = CliRunner().invoke(main, ["blame", *words, "--markdown"]).stdout
    shares = [row.split("|")[-2].strip() for row in table.splitlines() if row.startswith("| ")]
    figures = [float(share.rstrip("%")) for share in shares if share.endswith("%")]
    assert sum(figures) == pytest.approx(100.0, abs=0.05 * len(figures))
    assert "before the log" in table
