"""Count: for each stretch between two lines of a real and an emulated boot, what was done in it and how long it took.

A row is one equation: duration = sum of pieces x unit cost + console + unexplained.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from minikern.core.kernel import Kernel
from minikern.core.meter import Metered, Work
from minikern.lab.fit.align import Pair, align
from minikern.lab.fit.timeline import Timeline
from minikern.lab.spent import WAITS, WORKERS


@dataclass(slots=True)
class Row:
    """One stretch: ``work`` is emulated ns by kind, ``fixed_ns`` what no unit cost changes, ``steps`` its real lines.

    ``first`` and ``last`` are places of real lines; the stretch is (first, last]. ``line`` is the emulated line it
    ends with.
    """

    first: int
    last: int
    line: int
    real_ns: int
    emulated_ns: int
    work: dict[str, float] = field(default_factory=dict)
    bytes: int = 0


@dataclass
class Matched:
    """A real and an emulated boot side by side."""

    timeline: Timeline
    kernel: Kernel
    anchors: list[Pair]  # real line, emulated line: both the main thread's
    rows: list[Row] = field(default_factory=list)


def match(timeline: Timeline, kernel: Kernel) -> Matched:
    """Lay a metered boot beside a real one."""
    texts = [line.text for line in kernel.log.lines]
    pairs = align([step.text for step in timeline.steps], texts)
    metered = {line.index: line for line in metered_lines(kernel) if line.main}
    anchors = [  # a line that says nothing is no place to find again
        pair
        for pair in pairs
        if timeline.steps[pair.first].main and pair.second in metered and timeline.steps[pair.first].mask
    ]
    found = Matched(timeline, kernel, anchors)
    found.rows = list(_rows(found, metered))
    return found


def metered_lines(kernel: Kernel) -> Sequence[Metered]:
    """The lines of a metered boot."""
    assert kernel.meter is not None, "the boot was not metered"
    return kernel.meter.lines


def _rows(found: Matched, metered: dict[int, Metered]) -> Iterator[Row]:
    steps = found.timeline.steps
    start, timed = _start(found), found.timeline.timed
    emulated = found.kernel.log.lines
    last_real, last_at, last_line, last_emulated = start - 1, 0, -1, 0
    order = sorted(metered)
    for real, line in found.anchors:
        at = steps[real].at_ns if timed else 0
        if real < start or at is None:
            continue
        now = emulated[line].ts_ns
        lines = [metered[index] for index in order[bisect_right(order, last_line) : bisect_right(order, line)]]
        row = Row(last_real, real, line, at - last_at, now - last_emulated)
        row.work = shared_out(lines, row.emulated_ns)
        row.bytes = sum(step.bytes for step in steps[max(last_real, 0) : real])
        yield row
        last_real, last_at, last_line, last_emulated = real, at, line, now


def _start(found: Matched) -> int:
    """The first real line with a running clock; where no stamp tells, the line at which the emulated clock runs."""
    if found.timeline.timed:
        return found.timeline.start
    running = found.kernel.log.first_timed
    return next((real for real, line in found.anchors if line >= running), len(found.timeline.steps))


def shared_out(lines: Sequence[Metered], duration_ns: int) -> dict[str, float]:
    """Ns by kind on the critical path: the boot CPU's own work, and its waiting as the work it waited for."""
    own: dict[str, float] = {}
    beside: dict[str, float] = {}
    for line in lines:
        _add(own, line.own)
        _add(beside, line.beside)
    slept = sum(line.own.get("initramfs_wait_ns", (0, 0))[1] for line in lines)
    for kind in WAITS:
        own.pop(kind, None)
    for kind in WORKERS:
        beside.pop(kind, None)
    done = sum(own.values())
    if done > duration_ns:  # the clock began to run in between
        return {kind: spent * duration_ns / done for kind, spent in own.items()}
    waited = max(0.0, duration_ns - slept - done - sum(line.residue_ns for line in lines))
    total = sum(beside.values())
    for kind, spent in beside.items():
        if total:
            own[kind] = own.get(kind, 0.0) + waited * spent / total
    return own


def _add(sums: dict[str, float], work: Work) -> None:
    for kind, (_, spent) in work.items():
        sums[kind] = sums.get(kind, 0.0) + spent
