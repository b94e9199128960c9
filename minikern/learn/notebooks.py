"""The lessons as Jupyter notebooks, and what their cells use."""

from __future__ import annotations

import doctest

from hw.errors import InputError
from minikern.learn.asking import question_named
from minikern.learn.figures import lesson_svg
from minikern.learn.session import told
from minikern.learn.text import CONSOLE, PICTURE, PYTHON, QUESTION, Block, Lesson

PROMPT = "$ "


class HereAsked:
    """A question in a notebook: shown by its name alone, answered by ``check``."""

    def __init__(self, name: str, seed: int = 1) -> None:
        self._asked = question_named(name).with_seed(seed)
        self._hints = iter(self._asked.hints)

    def check(self, answer: object) -> str:
        """Say whether ``answer`` is right."""
        right = self._asked.right(",".join(map(str, answer)) if isinstance(answer, (list, tuple)) else str(answer))
        if right is None:
            return f"expected {self._asked.expected()}"
        return "right: " + self._asked.solution if right else "not so; try again, or ask for a hint() or the solution()"

    def hint(self) -> str:
        """The next hint."""
        return next(self._hints, "no more hints")

    def solution(self) -> str:
        """The answer, and why."""
        return f"{self._asked.shown()}: {self._asked.solution}"

    def _repr_markdown_(self) -> str:
        return f"{self._asked.text}\n\n*{self._asked.expected()}*"


class Drawn:
    """A picture in a notebook."""

    def __init__(self, words: str) -> None:
        self.words = words

    def _repr_svg_(self) -> str:
        return lesson_svg(self.words).decode()


ask = HereAsked
picture = Drawn


def notebook_markdown(lesson: Lesson, seed: int = 1) -> str:
    """A lesson as the Markdown that jupytext makes a notebook of: fences of Python are cells."""
    head = f"# {lesson.number}. {lesson.title}\n\n```python\nfrom minikern.learn.notebooks import ask, picture\n```\n"
    return head + "\n" + "\n".join(_cell(block, seed) for block in lesson.blocks)


def _cell(block: Block, seed: int) -> str:
    if block.kind == PYTHON:
        source = "".join(example.source for example in doctest.DocTestParser().get_examples(block.text))
        return f"```python\n{source}```\n"
    if block.kind == CONSOLE:
        commands = (line[len(PROMPT) :] for line in block.text.splitlines() if line.startswith(PROMPT))
        return "```python\n" + "".join(f"!{command}\n" for command in commands) + "```\n"
    if block.kind == QUESTION:
        name = block.name.replace("-", "_")
        return f'```python\n{name} = ask("{block.name}", seed={seed})\n{name}\n```\n\n```python\n{name}.check()\n```\n'
    if block.kind == PICTURE:
        return f"```python\npicture({block.name!r})\n```\n"
    return told(block)


def notebook(lesson: Lesson, seed: int = 1) -> str:
    """A lesson as a notebook's text. InputError: jupytext is not installed."""
    try:
        import jupytext
    except ImportError as error:
        raise InputError("notebooks need jupytext: pip install 'minikern[book]'") from error
    made = jupytext.reads(notebook_markdown(lesson, seed), fmt="md")
    for number, cell in enumerate(made.cells):
        cell["id"] = f"{lesson.name}-{number}"  # jupytext draws one at random
    made.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    text: str = jupytext.writes(made, fmt="ipynb")
    return text
