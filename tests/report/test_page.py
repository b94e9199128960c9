"""The page of a boot: whole, without a network, and alive in a browser."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from minikern.commands.report import report
from tests.report.browser import CHROMIUM, browse

pytest.importorskip("bokeh")
MOVED = """
const moved = document.getElementById("cost0"); moved.value = 2; moved.dispatchEvent(new Event("input"));
const asked = document.getElementById("search"); asked.value = "e820"; asked.dispatchEvent(new Event("input"));
document.querySelector("#log tbody tr").click();
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "boot.html"
    done = CliRunner().invoke(report, ["tiny", "--variants", "deferred,quiet", "-o", str(path)])
    assert done.exit_code == 0, done.output
    return path


def figures(page: Path) -> dict[str, list[list[str]]]:
    text = page.read_text()
    found = re.search(r'<script id="figures" type="application/json">(.*?)</script>', text, re.DOTALL)
    assert found
    told: dict[str, list[list[str]]] = json.loads(found.group(1))
    return told


def test_it_is_one_small_file_that_asks_nobody(page: Path) -> None:
    text = page.read_text()
    assert len(text) < 5_000_000
    assert not re.findall(r"""<(?:script|link|img|iframe)[^>]+(?:src|href)=["'](?!#)""", text)
    assert "$" not in re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)


def test_it_has_the_log_and_the_ledger(page: Path) -> None:
    told = figures(page)
    assert any("Linux version" in line[2] for line in told["lines"])
    assert any(line[3] for line in told["lines"])
    assert {row[2] for row in told["ledger"]} >= {"struct_page_init", "config_read"}


def test_names_of_strangers_are_text(tmp_path: Path) -> None:
    machine = tmp_path / "evil.toml"
    names = "name = '<script>alert(1)</script>'\nappend = '</script><b>'\n"
    machine.write_text(f"{names}memory = '1G'\n[cpus]\ncount = 1\n")
    path = tmp_path / "evil.html"
    done = CliRunner().invoke(report, [str(machine), "--variants", "quiet", "--sliders", "costs", "-o", str(path)])
    assert done.exit_code == 0, done.output
    assert "<script>alert(1)" not in path.read_text()
    assert "</script><b>" not in path.read_text()


def test_no_page_where_none_can_be(tmp_path: Path) -> None:
    done = CliRunner().invoke(report, ["tiny", "-o", str(tmp_path / "boot.pdf")])
    assert done.exit_code == 2
    assert "ending in .html" in done.stderr


@pytest.mark.oracle
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
def test_a_browser_shows_it_moves_and_finds(page: Path, tmp_path: Path) -> None:
    told = figures(page)
    dom, errors = browse(page, MOVED, tmp_path)
    assert not errors, errors
    before = float(told["model"]["total_ms"])  # type: ignore[arg-type]
    total = re.search(r'<output id="total"[^>]*>([0-9.]+) ms', dom)
    assert total and float(total.group(1)) > before
    hits = re.search(r'id="hits"[^>]*>(\d+) of (\d+) lines', dom)
    assert hits and 0 < int(hits.group(1)) < int(hits.group(2)) == len(told["lines"])
    assert 'aria-selected="true"' in dom
    assert dom.count("bk-") > 2  # the charts are drawn
