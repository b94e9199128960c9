"""The book and the notebooks: they build, every link leads somewhere, nothing is fetched from elsewhere."""

from __future__ import annotations

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from click.testing import CliRunner

import minikern
from minikern.cli import main
from minikern.learn import notebooks
from minikern.learn.asking import question_named
from minikern.learn.figures import lesson_svg, read_words
from minikern.learn.text import LESSONS, PICTURE, QUESTION, load_lesson, load_lessons

PICTURES = [words for lesson in load_lessons() for words in lesson.named(PICTURE)]


class Links(HTMLParser):
    """What a page links to and loads, and the places in it."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.hrefs: list[str] = []
        self.loads: list[str] = []
        self.places: set[str] = set()
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        self.places |= {value for key, value in attrs if key in ("id", "name") and value}
        if tag == "a" and said.get("href"):
            self.hrefs.append(str(said["href"]))
        if tag in ("img", "script") and said.get("src"):
            self.loads.append(str(said["src"]))
        if tag == "link" and said.get("rel") in ("stylesheet", "icon"):
            self.loads.append(str(said["href"]))


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for name in ("mkdocs", "material", "jupytext"):
        pytest.importorskip(name, reason=f"{name} is not installed: pip install '.[book]'")
    path = tmp_path_factory.mktemp("book") / "book"
    result = CliRunner().invoke(main, ["learn", "book", "-o", str(path), "--no-pictures"])
    assert result.exit_code == 0, result.output
    return path


def test_every_link_leads_somewhere(book: Path) -> None:
    pages = {path.name: Links(path) for path in book.glob("*.html") if path.name != "404.html"}
    assert {f"{name}.html" for name in (*LESSONS, "index", "glossary", "api")} <= pages.keys()
    for name, page in pages.items():
        for target in page.hrefs:
            parts = urlsplit(target)
            if parts.scheme:
                continue
            file = book / unquote(parts.path) if parts.path else book / name
            assert file.is_file() or parts.path == ".", f"{name}: {target}"
            if parts.fragment and file.suffix == ".html":
                assert unquote(parts.fragment) in pages[file.name].places, f"{name}: {target}"


def test_nothing_is_fetched_from_elsewhere(book: Path) -> None:
    for path in book.glob("*.html"):
        assert not [load for load in Links(path).loads if urlsplit(load).scheme], path


def test_pages_have_questions_terms_and_python(book: Path) -> None:
    text = (book / "hugepages.html").read_text()
    assert "Question hugepages-hvo" in text and 'href="glossary.html#hvo"' in text
    assert "minikern.compare" in (book / "api.html").read_text()
    assert "internal error" not in "".join(path.read_text() for path in book.glob("*.html"))


def test_notebooks_have_cells_that_are_python(book: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    for name in LESSONS:
        path = book / "notebooks" / f"{name}.ipynb"
        made = nbformat.read(path, as_version=4)
        nbformat.validate(made)
        cells = [cell["source"] for cell in made.cells if cell["cell_type"] == "code"]
        for source in cells:
            compile("\n".join(line for line in source.splitlines() if not line.startswith("!")), name, "exec")
        assert sum("= ask(" in source for source in cells) == len(load_lesson(name).named(QUESTION))


def test_a_notebook_is_the_same_twice(tmp_path: Path) -> None:
    pytest.importorskip("jupytext")
    first, second = (CliRunner().invoke(main, ["learn", "notebook", "zones"]).stdout for _ in range(2))
    assert first == second and json.loads(first)["nbformat"] == 4


def outputs(cell: dict[str, Any]) -> list[str]:
    """What a cell put out, as text; a terminal's line ends are Python's."""
    found = []
    for one in cell["outputs"]:
        data = one.get("data", {})
        found.append(one.get("text") or data.get("text/markdown") or data["text/plain"])
    return ["".join(text).replace("\r\n", "\n") for text in found]


def test_what_a_notebook_shows_is_what_its_cells_put_out(monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed: pip install '.[book]'")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed: pip install '.[book]'")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed: pip install '.[book]'")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    monkeypatch.setenv("PYTHONPATH", str(Path(minikern.__file__).parents[1]), prepend=":")
    made = nbformat.reads(notebooks.notebook(load_lesson("e820")), 4)
    nbformat.validate(made)
    shown = [outputs(cell) for cell in made.cells if cell.cell_type == "code"]
    assert sum(map(bool, shown)) > 5
    nbclient.NotebookClient(made, timeout=120, kernel_name="python3").execute()
    assert [outputs(cell) for cell in made.cells if cell.cell_type == "code"] == shown


def test_a_question_in_a_notebook() -> None:
    asked = question_named("numa-fallback").with_seed(4)
    here = notebooks.ask("numa-fallback", seed=4)
    assert here.check(asked.answer).startswith("right") and here.check("x").startswith("expected")
    assert here.check([0]).startswith("not so") and here.solution().startswith(asked.shown())
    assert here.hint() == asked.hints[0] and asked.text in here._repr_markdown_()


@pytest.mark.parametrize("words", [words for words in PICTURES if not words.startswith("ladder")])
def test_the_pictures_of_lessons_can_be_drawn(words: str) -> None:
    pytest.importorskip("matplotlib")
    svg = notebooks.picture(words)._repr_svg_()
    assert svg.encode() == lesson_svg(words) and len(re.findall("<path", svg)) > 20


def test_words_of_pictures_are_read() -> None:
    kind, trial = read_words('bringup tiny --cpus 8,threads=2 --fault dead=2 --append "a b"')
    assert (kind, trial.cpus, trial.fault, trial.append) == ("bringup", "8,threads=2", ("dead=2",), "a b")
    for wrong in ("nothing tiny", "memory tiny --nothing 3"):
        with pytest.raises(minikern.InputError):
            read_words(wrong)


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    (tmp_path / "mine").write_text("x")
    assert CliRunner().invoke(main, ["learn", "book", "-o", str(tmp_path)]).exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
