"""The page of two boots: one file, what differs by phase, every line of both."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from minikern.commands.report import report
from minikern.lab.line_diff import line_diff
from minikern.lab.two_boots import read_boot
from tests.report.browser import CHROMIUM, browse
from tests.support import format_dmesg, run

ALL = """
document.querySelector("input[value=all]").click();
const asked = document.getElementById("search"); asked.value = "e820"; asked.dispatchEvent(new Event("input"));
"""


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("logs")
    found = folder / "first.log", folder / "second.log"
    for path, words in zip(found, ("", "quiet mitigations=off"), strict=True):
        path.write_text(format_dmesg(run("tiny", append=words).kernel))
    return found


@pytest.fixture(scope="module")
def page(logs: tuple[Path, Path]) -> Path:
    path = logs[0].with_name("two.html")
    assert call(*logs, "-o", path).exit_code == 0
    return path


def call(*words: object) -> Result:
    return CliRunner().invoke(report, [*map(str, words)])


def figures(page: Path) -> Any:
    found = re.search(r'<script id="figures" type="application/json">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found
    return json.loads(found.group(1))


def test_it_is_one_small_file_that_asks_nobody(page: Path) -> None:
    text = page.read_text()
    assert len(text) < 5_000_000
    assert not re.findall(r"""<(?:script|link|img|iframe)[^>]+(?:src|href)=["'](?!#)""", text)
    assert "$" not in re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)


def test_every_line_of_both_stands_in_it_once(logs: tuple[Path, Path], page: Path) -> None:
    lines = figures(page)["lines"]
    for side, log in enumerate(logs):
        own = [re.sub(r"^\[[ \d.]+\] ", "", line) for line in log.read_text().splitlines()]
        assert [line[3 + side] for line in lines if line[3 + side]] == [line for line in own if line]


def test_what_appeared_and_what_has_other_figures(logs: tuple[Path, Path]) -> None:
    first, second = (read_boot(path.name, path) for path in logs)
    assert {line.kind for line in line_diff(first, first)} == {"same"}
    found = line_diff(first, second)
    assert any("mitigations=off" in line.second for line in found if line.kind == "appeared")
    there = {kind: [line for line in found if line.kind == kind] for kind in ("vanished", "appeared")}
    back = line_diff(second, first)
    assert [line.first for line in there["vanished"]] == [line.second for line in back if line.kind == "appeared"]
    assert [line.second for line in there["appeared"]] == [line.first for line in back if line.kind == "vanished"]


def test_other_figures_in_a_line_are_told_apart(logs: tuple[Path, Path], tmp_path: Path) -> None:
    other = tmp_path / "other.log"
    other.write_text(re.sub(r"Memory: \d+K", "Memory: 4711K", logs[0].read_text()))
    found = line_diff(read_boot("A", logs[0]), read_boot("B", other))
    changed = [line for line in found if line.kind != "same"]
    assert [line.kind for line in changed] == ["changed"] and "4711K" in changed[0].second
    assert changed[0].first_ms == changed[0].second_ms


def test_both_bars_stand_on_one_scale(page: Path) -> None:
    found = re.findall(
        r'<rect class="([ab])" [^>]*width="([\d.]+)"[^>]*/><text[^>]*>([\d,.]+)</text>', page.read_text()
    )
    drawn = [(float(width), float(ms.replace(",", ""))) for _, width, ms in found]
    assert {side for side, _, _ in found} == {"a", "b"}
    scales = [width / ms for width, ms in drawn if ms > 5]
    assert max(scales) / min(scales) == pytest.approx(1, rel=0.05)


def test_what_would_change_a_boot_is_refused(logs: tuple[Path, Path], tmp_path: Path) -> None:
    done = call(*logs, "--append", "quiet", "-o", tmp_path / "two.html")
    assert done.exit_code == 2 and "compared as they are" in done.stderr
    assert call(logs[0], "tiny", "-o", tmp_path / "two.html").exit_code == 2


@pytest.mark.oracle
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
def test_a_browser_shows_and_finds_lines(page: Path, tmp_path: Path) -> None:
    dom, errors = browse(page, ALL, tmp_path)
    assert not errors, errors
    hits = re.search(r'id="hits"[^>]*>(\d+) of (\d+) lines', dom)
    assert hits and 0 < int(hits.group(1)) < int(hits.group(2)) == len(figures(page)["lines"])
