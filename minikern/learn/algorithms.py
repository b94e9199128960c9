"""The book's page on algorithms of one's own: each kind with its contract, a right function, and a wrong one shown."""

from __future__ import annotations

from typing import Any

from minikern.lab.algorithms import Found
from minikern.lab.check import Verdict, check_algorithm
from minikern.lab.kinds.kind import Kind
from minikern.lab.kinds.registry import KINDS
from minikern.lab.kinds.template import function_name, template
from minikern.report.check import check_text

MADE_UP = 40
INTRO = """\
# Algorithms of your own

Thirteen of minikern's algorithms can be replaced, one at a time, by a function in a file of yours. `minikern check`
says whether it is right and how fast it is.

    minikern check --new hvo my_hvo.py     # a right one to begin with, its contract as comments
    minikern check my_hvo.py               # is it right? how fast, beside the built-in ones?
    minikern boot lpc2023 --page-kernel my_struct_page.py > /dev/null   # struct pages: in a real boot

What is right is said by a judge that shares no code with the kernel's rooms. Inputs are hand-picked ones, from the
smallest on, and made-up ones; what fails is made as small as it can be, and drawn. Your function runs in a process of
its own: it may crash, never end (`--timeout`) or want all memory (`--memory-limit`), and you get one line.

The clock starts when all is right and compiled. All functions take their turn in each round; where they work on memory
it is several times as large as the last-level cache, held against what the memory can do, on one thread and on all
cores if the function lets go of the interpreter's lock (`numba.njit(nogil=True)`). `--benchmark-json FILE` writes it as
pytest-benchmark does. Speed is not all: of an HVO scheme the frames given back are counted too, of a split the pages of
the busiest thread, of a fallback order how many nodes fall upon the same one.

Exit status: 0 right, 1 wrong (or crashed, endless, greedy), 2 no answer at all.
"""


def algorithms_page() -> str:
    """The page; what is shown as wrong is found while it is made."""
    return "\n".join([INTRO, *(_section(kind) for kind in KINDS.values())])


def _section(kind: Kind) -> str:
    call = f"{kind.hook.name}({', '.join(kind.hook.arguments)})"
    shown = check_text([shown_wrong(kind)]).partition("  what to do:")[0]
    old, new = kind.mistake
    return (
        f"## {kind.name}\n\n`{call}`\n\n{kind.hook.task}\n\n"
        f"```python\n{template(kind)}```\n\nWith `{old}` changed to `{new or 'nothing'}`:\n\n```text\n{shown}```\n"
    )


def shown_wrong(kind: Kind) -> Verdict:
    """What the judge says of the kind's mistake."""
    old, new = kind.mistake
    names: dict[str, Any] = {}
    exec(compile(template(kind).replace(old, new), "my_algorithm.py", "exec"), names)
    name = function_name(kind)
    return check_algorithm(Found(name, kind.hook, names[name]), made_up=MADE_UP)
