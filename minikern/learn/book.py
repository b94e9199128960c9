"""The book: static pages made by mkdocs with its material theme.

They fetch nothing from elsewhere. Opened from a disk everything works but the search, which browsers then forbid.
"""

from __future__ import annotations

import inspect
import json
import logging
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hw.errors import InputError
from minikern.host.output import Folder, new_folder, scratch_folder
from minikern.learn.algorithms import algorithms_page
from minikern.learn.figures import lesson_svg
from minikern.learn.glossary import glossary_markdown
from minikern.learn.notebooks import notebook
from minikern.learn.pages import index_page, lesson_page, picture_name
from minikern.learn.text import PICTURE, load_lessons
from minikern.report.pictures.canvas import DARK, LIGHT

PARAGRAPH = "\n\n"
NEEDS = ("mkdocs", "material", "jupytext")
_ROLE = re.compile(r":[a-z]+:(`[^`]+`)")  # how docstrings name other objects
LOOKS = {"light": LIGHT, "dark": DARK}


def build_book(out: Path, api: str, seed: int = 1, pictures: bool = True) -> int:
    """Make the book in the new folder ``out``; ``api`` is the page on Python. Returns its number of pages.

    InputError: what it needs is not installed, ``out`` is there, or a link in it leads nowhere.
    """
    missing = [name for name in NEEDS if find_spec(name) is None]
    if missing:
        raise InputError(f"the book needs {', '.join(missing)}: pip install 'minikern[book]'")
    with new_folder(out) as draft, scratch_folder() as scratch:
        sources = Folder(scratch.path / "sources")
        write_sources(sources, api, seed, pictures)
        # JSON is YAML.
        _build(scratch.write("mkdocs.yml", json.dumps(settings(draft, sources.path))))
        return len(list(draft.glob("*.html")))


def write_sources(folder: Folder, api: str, seed: int, pictures: bool) -> None:
    """All pages as Markdown, the notebooks and the pictures."""
    lessons = load_lessons()
    folder.write("index.md", index_page(lessons))
    folder.write("glossary.md", glossary_markdown())
    folder.write("api.md", api)
    folder.write("algorithms.md", algorithms_page())
    for lesson in lessons:
        folder.write(f"{lesson.name}.md", lesson_page(lesson, seed, pictures, notebook=True))
        folder.write(f"notebooks/{lesson.name}.ipynb", notebook(lesson, seed, pictures))
        for words in lesson.named(PICTURE) if pictures else []:
            for name, look in LOOKS.items():
                folder.write(f"pictures/{picture_name(words)}-{name}.svg", lesson_svg(words, look))


def settings(site: Path, sources: Path) -> dict[str, Any]:
    """What mkdocs is told. Nothing in the pages is fetched from elsewhere: no fonts, no scripts."""
    schemes = (("default", "slate", "dark"), ("slate", "default", "light"))
    palette = [
        {"scheme": scheme, "media": f"(prefers-color-scheme: {'light' if scheme == 'default' else 'dark'})",
         "primary": "indigo", "toggle": {"icon": "material/brightness-6", "name": f"Switch to {other}"}}
        for scheme, _, other in schemes
    ]  # fmt: skip
    nav = [{"Overview": "index.md"}]
    nav += [{f"{one.number}. {one.title}": f"{one.name}.md"} for one in load_lessons()]
    nav += [{"Algorithms of your own": "algorithms.md"}, {"Glossary": "glossary.md"}, {"Python": "api.md"}]
    return {
        "site_name": "minikern: how a kernel boots",
        "docs_dir": str(sources),
        "site_dir": str(site),
        "use_directory_urls": False,
        "strict": True,
        "nav": nav,
        "theme": {"name": "material", "font": False, "palette": palette, "features": ["navigation.footer"]},
        "plugins": ["search"],
        "markdown_extensions": ["admonition", "attr_list", "tables", "pymdownx.details", "pymdownx.superfences"],
        "validation": {"nav": {"omitted_files": "ignore"}, "links": {"anchors": "warn", "not_found": "warn"}},
    }


def _build(told: Path) -> None:
    from mkdocs.commands.build import build
    from mkdocs.config.base import load_config
    from mkdocs.exceptions import MkDocsException

    said = _Kept()
    logger = logging.getLogger("mkdocs")
    logger.addHandler(said)
    logger.propagate = False
    try:
        build(load_config(str(told)))
    except MkDocsException as error:
        why = "; ".join(said.lines[:3]) or str(error)
        raise InputError(f"the book was not built: {why}") from error
    finally:
        logger.removeHandler(said)


class _Kept(logging.Handler):
    """Warnings, kept."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def api_page(intro: str, offered: Mapping[str, Any]) -> str:
    """The page on what ``import minikern`` offers, from docstrings."""
    out = ["# Python\n", inspect.cleandoc(intro), ""]
    for name, value in offered.items():
        out += [f"## {name}\n", *_documented(name, value)]
    return "\n".join(out)


def _documented(name: str, value: Any) -> list[str]:
    call = str(inspect.signature(value)) if inspect.isfunction(value) else ""
    out = [f"```python\n{name}{call}\n```\n" if call else "", _fenced(inspect.getdoc(value) or "")]
    if inspect.isclass(value):
        out.append("")
        members = [(key, item) for key, item in vars(value).items() if not key.startswith("_")]
        for key, item in members:
            text = inspect.getdoc(getattr(item, "func", item)) if not isinstance(item, property) else item.__doc__
            if text:
                first = _ROLE.sub(r"\1", " ".join(text.partition(PARAGRAPH)[0].split()))
                out.append(f"- `{key}`: {first}")
    return [*out, ""]


def _fenced(text: str) -> str:
    """A docstring with its examples as code."""
    lines, inside = [], False
    for line in text.splitlines():
        if line.startswith(">>>") and not inside:
            lines.append("\n```python")
            inside = True
        elif inside and not line:
            lines.append("```")
            inside = False
        lines.append(line)
    return _ROLE.sub(r"\1", "\n".join([*lines, *(["```"] if inside else [])]))

