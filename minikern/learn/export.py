"""Questions and answers on paper: Markdown for a teacher, with the seeds that make them again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from minikern.learn.asking import question_named
from minikern.learn.session import told
from minikern.learn.text import QUESTION, TASK, Lesson

RULED = "&nbsp;\n\n"  # room to write an answer in


def export_markdown(lessons: Iterable[Lesson], seeds: Iterable[int], answers: bool = True) -> str:
    """All questions of the lessons for each seed; the answers follow behind all of them, to be cut off."""
    chosen, numbers = list(lessons), list(seeds)
    parts = [_sheet(lesson, seed) for seed in numbers for lesson in chosen]
    if answers:
        parts += [f"# Answers, seed {seed}\n\n" + "".join(_answers(chosen, seed)) for seed in numbers]
    return "\n".join(parts)


def _sheet(lesson: Lesson, seed: int) -> str:
    out = [f"# {lesson.number}. {lesson.title} (seed {seed})\n"]
    for number, question in enumerate(lesson.named(QUESTION), 1):
        asked = question_named(question).with_seed(seed)
        out.append(f"**{lesson.number}.{number}** {asked.text}\n\n*{asked.expected()}:*\n\n{RULED}")
    out += [told(block) for block in lesson.blocks if block.kind == TASK]
    return "\n".join(out)


def _answers(lessons: Iterable[Lesson], seed: int) -> Iterator[str]:
    for lesson in lessons:
        for number, name in enumerate(lesson.named(QUESTION), 1):
            asked = question_named(name).with_seed(seed)
            yield f"- **{lesson.number}.{number}** {asked.shown()}. {asked.solution}\n"
