"""A file to begin with: a right function of a kind, with its contract as comments."""

from __future__ import annotations

import textwrap

from minikern.lab.kinds.kind import Kind

WIDTH = 100
COMPILED = (
    "This one is whole-array numpy; a loop over rows under @numba.njit(nogil=True), below @minikern.algorithm, is"
    " compiled and may run on several threads."
)


def template(kind: Kind) -> str:
    """The text of the file."""
    hook = kind.hook
    lines = [
        f'"""An algorithm of your own: {kind.name}. Is it right, and how fast is it? minikern check THIS_FILE.py"""',
        "",
        *(["import numpy as np", ""] if "np." in kind.example else []),
        "import minikern",
        "",
        f"# What {hook.name} has to do:",
        *_comment(hook.task),
        *(["#", *_comment(COMPILED)] if kind.row_bytes and kind.threaded else []),
        "",
        "",
        f'@minikern.algorithm("{hook.name}")',
        f"def {function_name(kind)}({', '.join(hook.arguments)}):",
    ]
    return "\n".join(lines) + "\n" + kind.example


def function_name(kind: Kind) -> str:
    """What the template calls its function."""
    return f"my_{kind.name.replace('-', '_')}"


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="#   ", subsequent_indent="#   ", break_on_hyphens=False)
