"""The glossary: all it names is there, and links go to the right places."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

import minikern
from minikern.cli import main
from minikern.learn.glossary import glossary_markdown, linked, load_terms, term_named
from minikern.learn.text import LESSONS, load_lesson

ROOT = Path(minikern.__file__).parents[1]
LINUX = {"Documentation", "arch", "drivers", "fs", "include", "init", "kernel", "lib", "mm"}


def test_there_are_enough_terms_in_order() -> None:
    names = [term.name.strip("_").casefold() for term in load_terms()]
    assert len(names) >= 120 and names == sorted(names) and len(set(names)) == len(names)
    assert len({term.anchor for term in load_terms()}) == len(names)


def test_the_places_are_there() -> None:
    for term in load_terms():
        assert (ROOT / term.here).is_file(), term
        assert term.lesson in LESSONS, term
        assert term.linux.split("/")[0] in LINUX or not term.linux, term
        assert (20 <= len(term.says) <= 130 and term.says[0].isupper()) or term.says[0].isdigit(), term


@pytest.mark.parametrize("lesson", LESSONS)
def test_every_lesson_explains_terms_that_it_uses(lesson: str) -> None:
    prose = "".join(block.text for block in load_lesson(lesson).blocks if not block.kind).casefold()
    own = [term for term in load_terms() if term.lesson == lesson]
    assert len(own) >= 3 and any(term.name.casefold() in prose for term in own)


def test_the_first_mention_is_linked_and_code_is_not() -> None:
    text = "# A zone\n\nIn `zone` and a zone, zones.\n\n```\nzone\n```\n"
    assert linked(text, [term_named("ZONE")], "g.md") == text.replace("a zone,", "a [zone](g.md#zone),")
    nested = linked("a huge page and a page table", load_terms(), "g.md")
    assert nested == "a [huge page](g.md#huge-page) and a [page table](g.md#page-table)"


def test_a_term_at_the_terminal() -> None:
    result = CliRunner().invoke(main, ["learn", "glossary", "hvo"])
    assert result.exit_code == 0 and "mm/hugetlb_vmemmap.c" in result.stdout
    assert all(len(line) <= 80 for line in result.stdout.splitlines())
    assert CliRunner().invoke(main, ["learn", "glossary", "nothing"]).exit_code == 2
    assert len(CliRunner().invoke(main, ["learn", "glossary"]).stdout.splitlines()) == len(load_terms())
    assert glossary_markdown().count("<a id=") == len(load_terms())
