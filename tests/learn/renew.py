"""``python -m tests.learn.renew [LESSON...]``: write what commands and examples print now into the lessons.

Look at the difference before it is committed: a lesson's output changes only when a boot does.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from minikern.learn.text import CONSOLE, LESSONS, PYTHON, Block, load_lesson
from tests.learn.running import console, run_command

FOLDER = Path(__file__).parents[2] / "minikern/learn/lessons"


def renewed(block: Block, names: dict[str, Any]) -> str:
    if block.kind == CONSOLE:
        return "".join(f"$ {command}\n{run_command(command)}" for command, _ in console(block.text))
    out = []
    for example in doctest.DocTestParser().get_examples(block.text):
        lines = example.source.splitlines()
        out += [f">>> {lines[0]}", *(f"... {line}" for line in lines[1:])]
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown):
            exec(compile(example.source, "lesson", "single"), names)
        out += shown.getvalue().splitlines()
    return "".join(f"{line}\n" for line in out)


def spaced(blocks: list[Block]) -> str:
    """The blocks one below the other, with an empty line between two."""
    return "\n".join(block.source().strip("\n") + "\n" for block in blocks)


def main(wanted: list[str]) -> None:
    here = Path.cwd()
    for name in wanted or LESSONS:
        path, names = FOLDER / f"{name}.md", dict[str, Any]()
        head = path.read_text().split("---\n")[1]
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            try:
                blocks = [
                    block._replace(text=renewed(block, names)) if block.kind in (CONSOLE, PYTHON) else block
                    for block in load_lesson(name).blocks
                ]
            finally:
                os.chdir(here)
        path.write_text(f"---\n{head}---\n" + spaced(blocks))
        print(name)


if __name__ == "__main__":
    main(sys.argv[1:])
