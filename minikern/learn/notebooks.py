"""The lessons as Jupyter notebooks, and what their cells use."""

from __future__ import annotations

import doctest
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hw.errors import InputError
from minikern.learn.asking import question_named
from minikern.learn.figures import lesson_svg
from minikern.learn.session import told
from minikern.learn.text import CONSOLE, PICTURE, PYTHON, QUESTION, Block, Lesson

PROMPT = "$ "
Output = dict[str, Any]  # as nbformat has it


class HereAsked:
    """A question in a notebook: shown by its name alone, answered by ``check``."""

    def __init__(self, name: str, seed: int = 1) -> None:
        self._name, self._asked = name, question_named(name).with_seed(seed)
        self._hints = iter(self._asked.hints)

    def check(self, answer: object = None) -> str:
        """Say whether ``answer`` is right."""
        if answer is None:
            return f"your answer goes between the brackets: expected {self._asked.expected()}"
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

    def __repr__(self) -> str:
        return f"question {self._name}"

    def _repr_markdown_(self) -> str:
        return f"{self._asked.text}\n\n*{self._asked.expected()}*"


class Drawn:
    """A picture in a notebook."""

    def __init__(self, words: str) -> None:
        self.words = words

    def __repr__(self) -> str:
        return f"picture {self.words}"

    def _repr_svg_(self) -> str:
        return lesson_svg(self.words).decode()


ask = HereAsked
picture = Drawn


def _parts(lesson: Lesson, seed: int, pictures: bool = True) -> Iterator[tuple[str, list[Output]]]:
    """Pieces of the Markdown that jupytext makes a notebook of, each with what its cell puts out.

    Text and cells without output are one piece.
    """
    yield f"# {lesson.number}. {lesson.title}\n", []
    yield "```python\nfrom minikern.learn.notebooks import ask, picture\n```\n", []
    for block in lesson.blocks:
        if block.kind == PYTHON:
            yield from _python_cells(block)
        elif block.kind == CONSOLE:
            yield from _console_cells(block)
        elif block.kind == QUESTION:
            name, asked = block.name.replace("-", "_"), HereAsked(block.name, seed)
            shown = {"text/markdown": asked._repr_markdown_(), "text/plain": repr(asked)}
            yield f'```python\n{name} = ask("{block.name}", seed={seed})\n{name}\n```\n', [_result(shown)]
            yield f"```python\n{name}.check()\n```\n", [_result({"text/plain": repr(asked.check())})]
        elif block.kind == PICTURE:
            drawn = Drawn(block.name)
            found = [_result({"image/svg+xml": drawn._repr_svg_(), "text/plain": repr(drawn)})] if pictures else []
            yield f"```python\npicture({block.name!r})\n```\n", found
        else:
            yield told(block), []


def _python_cells(block: Block) -> Iterator[tuple[str, list[Output]]]:
    # A cell shows the value of its last expression only, so each example that shows one ends a cell.
    source = ""
    for example in doctest.DocTestParser().get_examples(block.text):
        source += example.source
        if example.want:
            printed = example.source.lstrip().startswith(("print(", "for ", "with "))
            shown = _stream(example.want) if printed else _result({"text/plain": example.want.rstrip()})
            yield _fenced(source), [shown]
            source = ""
    if source:
        yield _fenced(source), []


def _console_cells(block: Block) -> Iterator[tuple[str, list[Output]]]:
    command, said = "", ""
    for line in [*block.text.splitlines(keepends=True), PROMPT]:
        if not line.startswith(PROMPT):
            said += line
            continue
        if command:
            yield _fenced(f"!{command}"), [_stream(said)] if said else []
        command, said = line[len(PROMPT) :], ""


def _fenced(source: str) -> str:
    return f"```python\n{source.rstrip()}\n```\n"


def _stream(text: str) -> Output:
    return {"output_type": "stream", "name": "stdout", "text": text}


def _result(shown: Mapping[str, str]) -> Output:
    return {"output_type": "execute_result", "data": dict(shown), "metadata": {}, "execution_count": None}


def notebook(lesson: Lesson, seed: int = 1, pictures: bool = True) -> str:
    """A lesson as a notebook's text, with what its cells put out: what the lesson shows was run, and a test holds it.

    InputError: jupytext is not installed.
    """
    try:
        import jupytext
    except ImportError as error:
        raise InputError("notebooks need jupytext: pip install 'minikern[book]'") from error
    made = jupytext.reads("", fmt="md")
    made.cells = []
    for markdown, outputs in _parts(lesson, seed, pictures):
        for cell in jupytext.reads(markdown, fmt="md").cells:
            cell["id"] = f"{lesson.name}-{len(made.cells)}"  # jupytext draws one at random
            made.cells.append(cell)
        if outputs:
            made.cells[-1]["outputs"] = outputs
    _number([cell for cell in made.cells if cell["cell_type"] == "code"])
    made.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    text: str = json.dumps(made, indent=1, ensure_ascii=False) + "\n"
    return text


def _number(cells: Sequence[dict[str, Any]]) -> None:
    for number, cell in enumerate(cells, 1):
        cell["execution_count"] = number
        for output in cell["outputs"]:
            if "execution_count" in output:
                output["execution_count"] = number
