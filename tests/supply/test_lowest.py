from __future__ import annotations

import tomllib

import pytest

from tests.supply import lowest


def test_each_dependency_has_a_lower_bound_and_nothing_else() -> None:
    project = tomllib.loads(lowest.PYPROJECT.read_text())["project"]
    lines = list(lowest.lowest(list(project["optional-dependencies"])))
    assert "numpy==1.26" in lines and all("==" in line for line in lines)


def test_another_kind_of_bound_is_refused(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    text = '[project]\ndependencies = ["numpy<3"]\n[project.optional-dependencies]\n'
    monkeypatch.setattr(lowest, "PYPROJECT", type("Text", (), {"read_text": lambda self: text})())
    with pytest.raises(ValueError, match="numpy<3: expected NAME>=VERSION"):
        list(lowest.lowest([]))
