"""The glossary: terms, what they are, where they are in Linux and here, and which lesson explains them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from importlib import resources

import msgspec

from hw.spelling import check_names
from hw.toml_file import decode_toml


class Term(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry; ``linux`` is empty for terms of minikern's own."""

    name: str
    says: str
    here: str
    lesson: str
    linux: str = ""

    @property
    def anchor(self) -> str:
        """Its place on a page."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.casefold()).strip("-")


class Glossary(msgspec.Struct, forbid_unknown_fields=True):
    """The data file."""

    term: list[Term]


@lru_cache
def load_terms() -> tuple[Term, ...]:
    """All terms, in alphabetical order."""
    data = resources.files("minikern.learn").joinpath("glossary.toml").read_bytes()
    return tuple(decode_toml(data, Glossary, "minikern/learn/glossary.toml").term)


def term_named(name: str) -> Term:
    """The term called ``name``, in whatever case. InputError for one that does not exist."""
    known = {term.name.casefold(): term for term in load_terms()}
    check_names("term", "term", [name.casefold()], known)
    return known[name.casefold()]


def mentioned(text: str) -> list[Term]:
    """The terms that a line of a log mentions, as they are written there."""
    return [term for term in load_terms() if re.search(rf"(?<![\w-]){re.escape(term.name)}(?![\w-])", text)]


def linked(text: str, terms: Iterable[Term], page: str) -> str:
    """Markdown with the first mention of each term made a link to ``page``; code, links and headings are left alone."""
    for term in sorted(terms, key=lambda one: -len(one.name)):
        text = _link_first(text, term, page)
    return text


_APART = re.compile(r"(```.*?```|`[^`\n]*`|\[[^\]\n]*\]\([^)\n]*\)|^#[^\n]*|\*\*[^*\n]*\*\*)", re.MULTILINE | re.DOTALL)


def _link_first(text: str, term: Term, page: str) -> str:
    mention = re.compile(rf"(?<![\w/-]){re.escape(term.name)}(?:s|es)?(?![\w/-])", re.IGNORECASE)
    parts = _APART.split(text)
    for at in range(0, len(parts), 2):  # every second part is one of those left alone
        found = mention.search(parts[at])
        if found is not None:
            before, after = parts[at][: found.start()], parts[at][found.end() :]
            parts[at] = f"{before}[{found[0]}]({page}#{term.anchor}){after}"
            break
    return "".join(parts)


def glossary_markdown(lesson_page: str = "{}.md") -> str:
    """The glossary as a page; ``lesson_page`` makes the address of a lesson's page from its name."""
    out = ["# Glossary\n"]
    for term in load_terms():
        linux = f" *Linux:* `{term.linux}`." if term.linux else ""
        lesson = f"[{term.lesson}]({lesson_page.format(term.lesson)})"
        out.append(f'<a id="{term.anchor}"></a>**{term.name}**: {term.says}{linux} *Here:* `{term.here}`.'
                   f" *Lesson:* {lesson}.\n")  # fmt: skip
    return "\n".join(out)
