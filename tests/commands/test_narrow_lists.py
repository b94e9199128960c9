"""Lists on a narrow terminal: no line is longer, no word is torn."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from minikern.cli import main


def listed(monkeypatch: pytest.MonkeyPatch, columns: str) -> str:
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    else:
        monkeypatch.delenv("COLUMNS", raising=False)
    done = CliRunner().invoke(main, ["variant", "list"])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("columns", ["80", "40"])
def test_variants_fit_and_their_words_stay_whole(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    text = listed(monkeypatch, columns)
    own, _, _ = text.partition("\n* on the ladder")
    longer = [line for line in own.splitlines() if len(line) > int(columns)]
    assert all(len(line.split()) == 1 for line in longer), longer  # a word that fits no line stays whole
    assert own.split() == listed(monkeypatch, "").partition("\n* on the ladder")[0].split()
