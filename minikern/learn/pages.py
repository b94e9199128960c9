"""The lessons as pages of a book: Markdown for mkdocs, questions as boxes that open, terms as links."""

from __future__ import annotations

import re
from collections.abc import Iterable
from textwrap import indent

from minikern.learn.asking import question_named
from minikern.learn.glossary import linked, load_terms
from minikern.learn.session import told
from minikern.learn.text import PICTURE, QUESTION, TASK, Block, Lesson

GLOSSARY = "glossary.md"
STEP = "    "  # what stands inside a box


def lesson_page(lesson: Lesson, seed: int, pictures: bool, notebook: bool) -> str:
    """One lesson's page."""
    parts = [f"# {lesson.number}. {lesson.title}\n\n*About {lesson.minutes} minutes; questions of seed {seed}:"
             f" `minikern learn start {lesson.name} --seed N` asks others.*\n"]  # fmt: skip
    if notebook:
        parts.append(f"[This lesson as a notebook](notebooks/{lesson.name}.ipynb)\n")
    prose = [at for at, block in enumerate(lesson.blocks) if not block.kind]
    texts = _with_links(lesson, prose)
    for at, block in enumerate(lesson.blocks):
        parts.append(texts[at] if at in texts else _block(block, seed, pictures))
    return "\n".join(parts)


def _with_links(lesson: Lesson, prose: list[int]) -> dict[int, str]:
    """The lesson's prose with the first mention of each term in the whole lesson linked."""
    mark = "\n\x00\n"
    whole = linked(mark.join(lesson.blocks[at].text for at in prose), load_terms(), GLOSSARY)
    return dict(zip(prose, whole.split(mark), strict=True))


def _block(block: Block, seed: int, pictures: bool) -> str:
    if block.kind == QUESTION:
        return question_box(block.name, seed)
    if block.kind == TASK:
        return f'!!! example "Task {block.name}"\n\n{indent(told(block), STEP)}'
    if block.kind == PICTURE:
        return picture_lines(block.name) if pictures else told(block)
    return block.source()


def question_box(name: str, seed: int) -> str:
    """A question with its hints and its answer, each folded away."""
    asked = question_named(name).with_seed(seed)
    lines = [f'???+ question "Question {name}"\n', indent(f"{asked.text}\n\n*{asked.expected()}*\n", STEP)]
    for number, hint in enumerate(asked.hints, 1):
        lines.append(indent(f'??? tip "Hint {number}"\n\n    {hint}\n', STEP))
    see = f"\n\n    To see it: `{asked.command}`" if asked.command else ""
    lines.append(indent(f'??? success "Answer"\n\n    **{asked.shown()}**: {asked.solution}{see}\n', STEP))
    return "\n".join(lines)


def picture_name(words: str) -> str:
    """The name of a picture's files, less their look."""
    return re.sub(r"[^a-z0-9]+", "-", words.casefold()).strip("-")[:60]


def picture_lines(words: str) -> str:
    """A picture in both looks; the theme shows the one that fits."""
    name = picture_name(words)
    shown = (f"![{words}](pictures/{name}-{look}.svg#only-{look})" for look in ("light", "dark"))
    return "\n".join(shown) + f"\n\n*`minikern picture {words} -o FILE.svg`*\n"


def index_page(lessons: Iterable[Lesson]) -> str:
    """The first page."""
    rows = "".join(
        f"| {one.number} | [{one.title}]({one.name}.md) | {one.minutes} min |\n" for one in lessons
    )
    return (
        "# How a kernel boots, and why it takes that long\n\n"
        "Lessons for people who have never seen a server start, and for those who have and wondered. Every command and"
        " every figure in them was run on an emulated machine: `pip install minikern`, and you have it too.\n\n"
        f"| | lesson | |\n|---:|---|---:|\n{rows}\n"
        "In an hour: read [struct page](struct-page.md), [deferral](deferral.md), [waking a CPU](smp.md),"
        " [huge pages](hugepages.md) and [the ladder](measuring.md), and answer their questions.\n\n"
        f"Words that are links are in the [glossary]({GLOSSARY}); what Python offers is in [the API](api.md), and how"
        " to have an algorithm of yours judged and timed in [Algorithms of your own](algorithms.md).\n"
    )
