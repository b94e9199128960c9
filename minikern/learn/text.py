"""Lessons as text: Markdown with a head, cut into prose and fenced blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from importlib import resources
from typing import NamedTuple

from hw.errors import InputError
from hw.numbers import is_count
from hw.spelling import check_names

# In the order in which they build on each other.
LESSONS = (
    "e820", "memblock", "numa", "struct-page", "zones", "deferral", "smp",
    "tsc", "acpi", "pci", "hugepages", "kexec", "kho", "measuring",
)  # fmt: skip
QUESTION, TASK, PICTURE, CONSOLE, PYTHON = "question", "task", "picture", "console", "python"
_FENCE = re.compile(r"^```(\w*) *(.*?)\n(.*?)^```$\n?", re.MULTILINE | re.DOTALL)
_HEAD = re.compile(r"\A---\n(.*?)^---\n+", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A piece of a lesson: prose (an empty ``kind``), or a fenced block with what stands behind its kind."""

    kind: str
    name: str
    text: str
    line: int

    def source(self) -> str:
        """The block as it stands in the file."""
        return self.text if not self.kind else f"```{f'{self.kind} {self.name}'.strip()}\n{self.text}```\n"


class Lesson(NamedTuple):
    """One lesson."""

    name: str
    number: int
    title: str
    minutes: int
    blocks: tuple[Block, ...]

    def named(self, kind: str) -> list[str]:
        """What its blocks of one kind name."""
        return [block.name for block in self.blocks if block.kind == kind]


def parse_lesson(name: str, source: str) -> Lesson:
    """A lesson of its file's text. InputError: it has no head with a title and minutes."""
    head = _HEAD.match(source)
    fields = dict(line.split(": ", 1) for line in head[1].splitlines()) if head else {}
    if head is None or not {"title", "minutes"} <= fields.keys():
        raise InputError(f"lesson {name}: expected a head between two lines of ---, with title: and minutes:")
    body = source[head.end() :]
    first = source[: head.end()].count("\n") + 1
    number = LESSONS.index(name) + 1 if name in LESSONS else 0
    return Lesson(name, number, fields["title"], int(fields["minutes"]), tuple(_blocks(body, first)))


def _blocks(body: str, first: int) -> Iterator[Block]:
    at = 0
    for fence in _FENCE.finditer(body):
        if body[at : fence.start()].strip():
            yield Block("", "", body[at : fence.start()], first + body.count("\n", 0, at))
        yield Block(fence[1], fence[2], fence[3], first + body.count("\n", 0, fence.start()))
        at = fence.end()
    if body[at:].strip():
        yield Block("", "", body[at:], first + body.count("\n", 0, at))


@lru_cache
def load_lesson(name: str) -> Lesson:
    """The lesson called ``name``, or by its number. InputError for one that does not exist."""
    if is_count(name) and 1 <= int(name) <= len(LESSONS):
        name = LESSONS[int(name) - 1]
    check_names("lesson", "lesson", [name], LESSONS)
    data = resources.files("minikern.learn").joinpath("lessons").joinpath(f"{name}.md").read_text("utf-8")
    return parse_lesson(name, data)


def load_lessons() -> list[Lesson]:
    """All lessons in order."""
    return [load_lesson(name) for name in LESSONS]
