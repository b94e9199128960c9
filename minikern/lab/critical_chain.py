"""What waited for what on the way to /init, from the record of one boot.

The way is the boot CPU's: stretch after stretch of one phase each, in each the work it did itself, and the time in
which it waited for others. The CPU whose work ended last in a wait is the one waited for, by the work that took it
longest in that time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

import msgspec

from minikern.core.recorder import Recorder, Span
from minikern.describe.startup import Startup
from minikern.lab.run import Boot

WAITS = ("initramfs_wait_ns", "smp_wait_ns")  # booked kinds in which the boot CPU polls or sleeps
RESIDUE = "residue: "  # how the record marks time that no mechanism explains
BOOT_CPU = 0


class Worked(msgspec.Struct, frozen=True):
    """Work of the boot CPU; ``modelled`` is False for time that no mechanism explains."""

    kind: str
    pieces: int
    spent_ns: int
    share: float
    modelled: bool


class Waited(msgspec.Struct, frozen=True):
    """Waits that work of one kind on ``cpus`` ended; with an empty ``kind`` a timer or nobody's work did."""

    kind: str
    cpus: list[int]
    waits: int
    spent_ns: int
    share: float


class Link(msgspec.Struct, frozen=True):
    """A stretch of one phase, on the log's clock; ``worked`` and ``waited`` add up to it, the largest first."""

    phase: str
    began_ns: int
    spent_ns: int
    share: float
    worked: list[Worked]
    waited: list[Waited]


class Chain(msgspec.Struct, frozen=True):
    """The way to /init of one boot, in the order of time; ``share`` is of the total. All times are simulated."""

    machine: str
    variant: str
    clock: str
    total_ns: int
    links: list[Link]
    startup: Startup | None = None  # the whole start, as systemd measured it


class Piece(NamedTuple):
    """What the boot CPU did from ``start_ns`` to ``end_ns`` (machine's clock); without a span it waited."""

    start_ns: int
    end_ns: int
    span: Span | None


@dataclass
class _Sum:
    pieces: int = 0
    spent_ns: int = 0
    cpus: set[int] = field(default_factory=set)


def critical_chain(boot: Boot, recorder: Recorder) -> Chain:
    """The chain of a boot that kept a record."""
    phases = _joined(boot.kernel.phase_stretches())
    ends = [end for _, _, end in phases]
    own = _own(recorder.spans, phases[0][1], ends[-1]) if phases else []
    total = sum(end - start for _, start, end in phases)
    zero = boot.kernel.log.clock_zero_ns or 0
    others = Others(recorder.spans)
    links = []
    for index, pieces in groupby(_cut(own, ends), lambda piece: bisect_right(ends, piece.start_ns)):
        name, start, end = phases[index]
        links.append(_link(name, start - zero, end - start, list(pieces), others, total))
    return Chain(boot.spec.name, boot.name, "simulated", total, links, boot.spec.startup)


def _joined(stretches: Iterable[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    out: list[tuple[str, int, int]] = []
    for name, start, end in stretches:
        if out and out[-1][0] == name and out[-1][2] == start:
            out[-1] = (name, out[-1][1], end)
        else:
            out.append((name, start, end))
    return out


def _end(span: Span) -> tuple[int, int]:
    return span.start_ns + span.total_ns, -span.cpu


def _own(spans: Iterable[Span], start_ns: int, end_ns: int) -> list[Piece]:
    """The boot CPU's time from one moment to another without a gap; each ns belongs to the span that began last."""
    out: list[Piece] = []
    now = start_ns
    for piece in _flat([one for one in spans if one.cpu == BOOT_CPU and one.total_ns]):
        start, end = max(piece.start_ns, now), min(piece.end_ns, end_ns)
        if start >= end:
            continue
        if start > now:
            out.append(Piece(now, start, None))
        waits = piece.span is not None and piece.span.kind in WAITS
        out.append(Piece(start, end, None if waits else piece.span))
        now = end
    if now < end_ns:
        out.append(Piece(now, end_ns, None))
    return out


def _flat(spans: Sequence[Span]) -> Iterator[Piece]:
    """Spans that lie inside others are cut out of these, which go on behind them."""
    open_spans: list[Span] = []
    now = 0
    for span in sorted(spans, key=lambda one: (one.start_ns, -one.total_ns)):
        while open_spans and _end(open_spans[-1])[0] <= span.start_ns:
            now, piece = _close(open_spans.pop(), now)
            yield piece
        if open_spans:
            yield Piece(max(now, open_spans[-1].start_ns), span.start_ns, open_spans[-1])
        now = max(now, span.start_ns)
        open_spans.append(span)
    while open_spans:
        now, piece = _close(open_spans.pop(), now)
        yield piece


def _close(span: Span, now: int) -> tuple[int, Piece]:
    end = span.start_ns + span.total_ns
    return max(now, end), Piece(max(now, span.start_ns), end, span)


def _cut(pieces: Sequence[Piece], ends: Sequence[int]) -> list[Piece]:
    """Pieces that reach over the end of a phase are cut there."""
    out: list[Piece] = []
    for piece in pieces:
        start = piece.start_ns
        for at in range(bisect_right(ends, start), len(ends)):
            if ends[at] >= piece.end_ns:
                break
            out.append(Piece(start, ends[at], piece.span))
            start = ends[at]
        out.append(Piece(start, piece.end_ns, piece.span))
    return out


def _link(phase: str, began_ns: int, spent_ns: int, pieces: Sequence[Piece], others: Others, total_ns: int) -> Link:
    worked: dict[str, _Sum] = {}
    waited: dict[str, _Sum] = {}
    for piece in pieces:
        if piece.span is not None:
            _add_work(worked.setdefault(piece.span.kind, _Sum()), piece, piece.span)
        else:
            by = others.waited_for(piece)
            _add_wait(waited.setdefault(by.kind if by else "", _Sum()), piece, by)
    return Link(phase, began_ns, spent_ns, spent_ns / total_ns, _worked(worked, total_ns), _waited(waited, total_ns))


def _add_work(one: _Sum, piece: Piece, span: Span) -> None:
    one.pieces += span.pieces if piece.start_ns == span.start_ns else 0  # else it goes on after something else
    one.spent_ns += piece.end_ns - piece.start_ns


def _add_wait(one: _Sum, piece: Piece, by: Span | None) -> None:
    one.pieces += 1
    one.spent_ns += piece.end_ns - piece.start_ns
    one.cpus |= {by.cpu} if by else set()


def _worked(sums: dict[str, _Sum], total_ns: int) -> list[Worked]:
    return [
        Worked(
            kind.removeprefix(RESIDUE), one.pieces, one.spent_ns, one.spent_ns / total_ns, not kind.startswith(RESIDUE)
        )
        for kind, one in _largest(sums)
    ]


def _waited(sums: dict[str, _Sum], total_ns: int) -> list[Waited]:
    return [
        Waited(kind, sorted(one.cpus), one.pieces, one.spent_ns, one.spent_ns / total_ns)
        for kind, one in _largest(sums)
    ]


def _largest(sums: dict[str, _Sum]) -> list[tuple[str, _Sum]]:
    return sorted(sums.items(), key=lambda item: (-item[1].spent_ns, item[0]))


class Others:
    """The work of the other CPUs, to ask who ended a wait."""

    def __init__(self, spans: Iterable[Span]) -> None:
        self._by_end = sorted((span for span in spans if span.cpu != BOOT_CPU and span.total_ns), key=_end)
        self._by_cpu: dict[int, list[Span]] = {}
        for span in self._by_end:
            self._by_cpu.setdefault(span.cpu, []).append(span)

    def waited_for(self, wait: Piece) -> Span | None:
        """The longest work, within the wait, of the CPU whose work ended last in it (of several: the lowest CPU)."""
        at = bisect_right(self._by_end, (wait.end_ns, 0), key=_end)
        last = self._by_end[at - 1] if at else None
        if last is None or _end(last)[0] <= wait.start_ns:
            return None
        own = self._by_cpu[last.cpu]
        first = bisect_right(own, (wait.start_ns, 0), key=_end)
        until = bisect_right(own, (wait.end_ns, 0), key=_end)
        return max(own[first:until], key=lambda span: _end(span)[0] - max(span.start_ns, wait.start_ns))
