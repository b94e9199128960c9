"""The log with explanations: what a line means, which function prints it, what it rests on, what it took."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from importlib import resources
from itertools import pairwise
from typing import NamedTuple

import msgspec

from hw.toml_file import decode_toml
from hw.units import NS_PER_MS
from minikern.core.cost_table import default_costs
from minikern.core.kernel import Kernel
from minikern.core.printk import LogLine
from minikern.core.recorder import Recorder, Span
from minikern.lab.bands import least_band, spread_of
from minikern.lab.believed import Doubts
from minikern.lab.spent import Spent
from minikern.report.dmesg import dmesg_lines, printed_lines

# A stamp as dmesg, journalctl and consoles write it, with what may stand before it.
STAMP = re.compile(r"^(?:<\d+>)?(?:(?:\S+ +){2,4}kernel: )?(?:\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? )?")
INDENT = " " * 15
WORTH_SAYING = 0.004  # of the boot: how much a stretch must take for its cost to be told
PARTS = 2  # kinds of work that are named
BOOT_CPU = 0


class Explanation(msgspec.Struct, forbid_unknown_fields=True):
    """One kind of line: a regular expression over its start, Linux's function, and one sentence.

    ``needs`` is the start of an earlier line it rests on, ``strange`` what an unusual value would mean. ``work`` is
    what each ``per`` costs, by kind.
    """

    line: str
    function: str
    says: str
    needs: str = ""
    strange: str = ""
    per: str = ""
    work: dict[str, int] = {}

    def counted(self) -> str:
        """``work`` in words, at the unit costs of a machine of which nothing is known; empty without any."""
        costs = default_costs()
        done = [f"{count:,} x {kind}" for kind, count in self.work.items()]
        spent = Spent({kind: count * costs[kind].ns for kind, count in self.work.items()})
        band = least_band(spent, Doubts({kind: spread_of(costs[kind]) for kind in self.work}))
        told = f"{spent.ns / NS_PER_MS:.1f} ms {band.told(1)}"
        return f"{self.per}: {', '.join(done)}, {told}" if done else ""


class Explanations(msgspec.Struct, forbid_unknown_fields=True):
    """A file of explanations."""

    explain: list[Explanation]


class More(msgspec.Struct, forbid_unknown_fields=True):
    """What else there is to say of a line."""

    line: str
    needs: str = ""
    strange: str = ""


class MoreFile(msgspec.Struct, forbid_unknown_fields=True):
    """The file of that."""

    more: list[More]


class Known(NamedTuple):
    """An explanation with its pattern compiled."""

    pattern: re.Pattern[str]
    item: Explanation


def _data(name: str) -> bytes:
    return resources.files("minikern.report").joinpath(name).read_bytes()


@lru_cache
def load_explanations(others: bool = False) -> tuple[Known, ...]:
    """All explanations in the order of the file; ``others``: of lines that only real kernels print as well."""
    table = decode_toml(_data("explain.toml"), Explanations, "minikern/report/explain.toml").explain
    more = decode_toml(_data("explain_more.toml"), MoreFile, "minikern/report/explain_more.toml").more
    deeper = {entry.line: entry for entry in more}
    found = [
        msgspec.structs.replace(item, needs=deeper[item.line].needs, strange=deeper[item.line].strange)
        if item.line in deeper
        else item
        for item in table
    ]
    if others:
        found += decode_toml(_data("explain_others.toml"), Explanations, "minikern/report/explain_others.toml").explain
    return tuple(Known(re.compile(item.line), item) for item in found)


def explanation_of(text: str, others: bool = False) -> Explanation | None:
    """What is known of a line, with or without its stamp; None if nothing is."""
    bare = STAMP.sub("", text)
    return next((known.item for known in load_explanations(others) if known.pattern.match(bare)), None)


def explained_dmesg(kernel: Kernel, counted: Mapping[str, Sequence[str]] | None = None) -> str:
    """format_dmesg() with indented lines that begin with ``#``.

    Under the first line of each kind: function and sentence, the earlier line it rests on, what would be strange, and
    what this boot counted for lines that begin so. Under every line that took long, where the boot kept a record: how
    long, and by which work.
    """
    waiting = dict(counted or {})
    said: set[str] = set()
    out: list[str] = []
    earlier: list[str] = []
    costs = line_costs(kernel)
    shown = zip(dmesg_lines(kernel), printed_lines(kernel), strict=True)
    for text, line in shown:
        out.append(text)
        item = explanation_of(line.text)
        notes = list(_notes(item, earlier)) if item is not None and item.line not in said else []
        if item is not None:
            said.add(item.line)
        for start in [start for start in waiting if line.text.startswith(start)]:
            notes += waiting.pop(start)
        if (cost := costs.get(id(line))) is not None:
            notes.append(cost)
        out += [f"{INDENT}# {note}" for note in notes]
        earlier.append(line.text)
    return "".join(f"{line}\n" for line in out)


def _notes(item: Explanation, earlier: Sequence[str]) -> Iterator[str]:
    yield f"{item.function}: {item.says}"
    if item.needs:
        needed = re.compile(item.needs)
        before = next((text for text in reversed(earlier) if needed.match(text)), None)
        if before is not None:
            yield f"{item.function} rests on: {before}"
    if item.strange:
        yield f"if strange: {item.strange}"


def line_costs(kernel: Kernel) -> dict[int, str]:
    """By the identity of each log line that came late: how long after the one before, and by which work."""
    if kernel.recorder is None:
        return {}
    total = kernel.log.lines[-1].ts_ns if kernel.log.lines else 0
    found = {}
    for before, line, spans in between_lines(kernel.log.lines, kernel.recorder):
        spent = line.ts_ns - before.ts_ns
        if spent and spent >= WORTH_SAYING * total:
            found[id(line)] = f"took {spent / NS_PER_MS:.3f} ms{_work(spans, before)}"
    return found


def between_lines(lines: Sequence[LogLine], recorder: Recorder) -> Iterator[tuple[LogLine, LogLine, list[Span]]]:
    """Each line but the first with the one before it, and the boot CPU's work up to it that no earlier line had."""
    own = sorted((span for span in recorder.spans if span.cpu == BOOT_CPU), key=lambda span: span.start_ns)
    at = 0
    for before, line in pairwise(lines):
        spans = []
        while at < len(own) and own[at].start_ns < line.at_ns:
            spans.append(own[at])
            at += 1
        yield before, line, spans


def largest_kinds(spans: Iterable[Span], most: int) -> list[tuple[str, tuple[int, int]]]:
    """The kinds of work that took longest, with how many pieces and ns."""
    sums: dict[str, tuple[int, int]] = {}
    for span in spans:
        count, spent = sums.get(span.kind, (0, 0))
        sums[span.kind] = count + span.pieces, spent + span.total_ns
    return sorted(sums.items(), key=lambda one: -one[1][1])[:most]


def _work(spans: Sequence[Span], before: LogLine) -> str:
    largest = largest_kinds((span for span in spans if span.start_ns >= before.at_ns), PARTS)
    told = [
        kind if kind.startswith("residue: ") else f"{count:,} x {kind} {spent / NS_PER_MS:.3f} ms"
        for kind, (count, spent) in largest
        if spent
    ]
    return ": " + ", ".join(told) if told else ", waiting"
