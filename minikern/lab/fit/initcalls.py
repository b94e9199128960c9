"""``initcall_debug`` in a real log: in which initcall each line was written, and what its own two lines cost.

Source: init/main.c:do_one_initcall(), trace_initcall_start_cb(), trace_initcall_finish_cb() @ v6.12
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from minikern.lab.fit.timeline import Step

_CALLING = re.compile(r"calling  ?([\w.]+)\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[[\w-]+\])? @ \d+")
RETURNED = re.compile(r"initcall ([\w.]+)\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[[\w-]+\])? returned ")
FEWEST = 20  # pairs of lines that a cost can rest on
TRIMMED = 0.1  # of the pairs, the longest: something came between


@dataclass(frozen=True)
class Initcalls:
    """By place in the log: the initcall a line of the main thread ends a stretch of, and what the line before it cost.

    Both are empty for a log without ``initcall_debug``.
    """

    within: dict[int, str] = field(default_factory=dict)
    debug_ns: dict[int, float] = field(default_factory=dict)


def initcalls(steps: Sequence[Step], byte_ns: float) -> Initcalls:
    """Read off the lines of a boot; ``byte_ns`` is what the serial console takes for each byte."""
    main = [at for at, step in enumerate(steps) if step.main]
    within: dict[int, str] = {}
    inside: list[str] = []
    own_lines = set()
    for at in main:
        if called := _CALLING.match(steps[at].text):
            inside.append(called[1])
            own_lines.add(at)
            continue
        if inside:
            within[at] = inside[-1]
        if returned := RETURNED.match(steps[at].text):
            own_lines.add(at)
            if returned[1] in inside:
                del inside[inside.index(returned[1]) :]
    cost = _line_ns(steps, main, byte_ns)
    return Initcalls(within, {at: cost for before, at in pairwise(main) if before in own_lines} if cost else {})


def _line_ns(steps: Sequence[Step], main: Sequence[int], byte_ns: float) -> float:
    """From the line that one initcall returned to the one that calls the next, nothing is done but to write a line."""
    found = sorted(
        max(0.0, (steps[at].gap_ns or 0) - steps[at].bytes_before * byte_ns)
        for before, at in pairwise(main)
        if RETURNED.match(steps[before].text) and _CALLING.match(steps[at].text) and steps[at].gap_ns is not None
    )
    kept = found[: len(found) - int(len(found) * TRIMMED)]
    return sum(kept) / len(kept) if len(kept) >= FEWEST else 0.0
