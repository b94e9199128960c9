"""One lesson with one learner: text is shown, questions are asked, answers come from a terminal, a file or a script."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from minikern.learn.asking import question_named
from minikern.learn.question import Asked
from minikern.learn.score import Scored
from minikern.learn.tasks import task_named
from minikern.learn.text import PICTURE, QUESTION, TASK, Block, Lesson

HINT, SOLUTION, SKIP = "hint", "solution", "skip"
Show = Callable[[str], None]
Ask = Callable[[], str | None]  # the learner's next words, None when there are no more


def run_lesson(lesson: Lesson, seed: int, show: Show, ask: Ask, solution: bool = False) -> Iterator[Scored]:
    """Go through a lesson; yields what was answered. With ``solution`` answers are shown and nothing is asked."""
    show(f"# {lesson.number}. {lesson.title}\n\n*about {lesson.minutes} minutes, seed {seed}*\n")
    for block in lesson.blocks:
        if block.kind != QUESTION:
            show(told(block))
            continue
        asked = question_named(block.name).with_seed(seed)
        show(f"**Question {block.name}.** {asked.text}\n\n*{asked.expected()}*\n")
        if solution:
            show(solved(asked))
            continue
        scored = _answered(lesson, block.name, seed, asked, show, ask)
        if scored is not None:
            yield scored


def told(block: Block) -> str:
    """A block as the terminal shows it."""
    if block.kind == TASK:
        task = task_named(block.name)
        how = "minikern check FILE.py" if task.hook else f"minikern learn judge {task.name} FILE.py"
        return (
            f"**Task {task.name}.** {task.says}\n\n`minikern learn task {task.name} > FILE.py` makes a file to begin"
            f" with, `{how}` judges it.\n"
        )
    if block.kind == PICTURE:
        return f"*A picture of it:* `minikern picture {block.name} -o FILE.svg`\n"
    return block.source()


def solved(asked: Asked) -> str:
    """The answer, why, and how to see it."""
    see = f"\n\nTo see it: `{asked.command}`" if asked.command else ""
    return f"**Answer: {asked.shown()}.** {asked.solution}{see}\n"


def _answered(lesson: Lesson, name: str, seed: int, asked: Asked, show: Show, ask: Ask) -> Scored | None:
    hints = iter(asked.hints)
    used = 0
    while True:
        word = ask()
        if word is None or word.strip().casefold() == SKIP:
            return None
        if word.strip().casefold() == HINT:
            hint = next(hints, None)
            used += hint is not None
            show(f"*Hint:* {hint}\n" if hint else f"*No more hints; {SOLUTION} shows the answer.*\n")
            continue
        if word.strip().casefold() == SOLUTION:
            show(solved(asked))
            return Scored(lesson.name, name, seed, "", False, used, True)
        right = asked.right(word)
        if right is None:
            show(f"*{word.strip()!r}: expected {asked.expected()}, or {HINT}, {SOLUTION}, {SKIP}.*\n")
            continue
        show(f"**Right.** {asked.solution}\n" if right else solved(asked).replace("**Answer", "**Not so. Answer", 1))
        return Scored(lesson.name, name, seed, word.strip(), right, used, False)
