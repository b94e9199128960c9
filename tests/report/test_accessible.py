"""The pages for those who see them dark, hear them, or have no mouse: axe finds nothing serious."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from minikern.commands.report import report
from tests.report.browser import CHROMIUM, DARK, axe, browse, said_by
from tests.support import format_dmesg, run

pytest.importorskip("bokeh")
pytestmark = [pytest.mark.oracle, pytest.mark.skipif(CHROMIUM is None, reason="no chromium")]
CHECKS = """
axe.run(document, {resultTypes: ["violations"]}).then(found => {
  const said = document.createElement("pre");
  said.id = "said";
  said.textContent = JSON.stringify(found.violations.map(one =>
    [one.impact, one.id, one.help, one.nodes.slice(0, 5).map(node => node.html.slice(0, 200))]));
  document.body.append(said);
});
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    logs = [folder / "first.log", folder / "second.log"]
    for log, words in zip(logs, ("", "quiet mitigations=off"), strict=True):
        log.write_text(format_dmesg(run("tiny", append=words).kernel))
    asked = {"boot": ["tiny", "--variants", "deferred,quiet", "--sliders", "costs"], "two": [*map(str, logs)]}
    for name, words in asked.items():
        done = CliRunner().invoke(report, [*words, "-o", str(folder / f"{name}.html")])
        assert done.exit_code == 0, done.output
    return {name: folder / f"{name}.html" for name in asked}


@pytest.mark.parametrize("name", ["boot", "two"])
@pytest.mark.parametrize("look", ["light", "dark"])
def test_a_checker_finds_nothing_serious(pages: dict[str, Path], name: str, look: str, tmp_path: Path) -> None:
    dom, _ = browse(pages[name], axe() + CHECKS, tmp_path, *([DARK] if look == "dark" else []))
    found = said_by(dom)
    assert not [one for one in found if one[0] in ("serious", "critical")], found


def test_the_checker_sees_what_is_wrong(pages: dict[str, Path], tmp_path: Path) -> None:
    spoilt = tmp_path / "spoilt.html"
    spoilt.write_text(pages["two"].read_text().replace('<html lang="en">', "<html>"))
    dom, _ = browse(spoilt, axe() + CHECKS, tmp_path)
    assert ["serious", "html-has-lang"] in [one[:2] for one in said_by(dom)]
