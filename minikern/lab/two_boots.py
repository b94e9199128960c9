"""Two boots held against each other by their logs: machine, kernel, words, and where the time of one went further.

Nothing is emulated here: times are the stamps of the logs, and a stretch is named by the line that ends it in both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import msgspec

from hw.errors import InputError
from hw.units import NS_PER_MS
from minikern.describe.dmesg_cut_words import LONG_BYTES
from minikern.describe.dmesg_log import Log
from minikern.describe.dmesg_text import boots, read_log
from minikern.describe.stamps import StampedLog, read_stamped
from minikern.lab.boot_facts import COMMAND_LINE, BootFacts, acpi_tables, boot_facts, command_words, pci_functions
from minikern.lab.fit.align import align
from minikern.lab.fit.timeline import Step, timeline
from minikern.lab.phase_marks import INSIDE, LOG_PHASES, LogPhase, phase_marks, phase_times

LARGEST = 12  # stretches that are named
FLOOR_NS = NS_PER_MS // 10  # a smaller change is not named


class Only(msgspec.Struct, frozen=True):
    """What stands in one of two boots."""

    first: list[str]
    second: list[str]


class PhaseChange(msgspec.Struct, frozen=True):
    """One phase in two boots; None: its lines are not there. ``inside`` others: it does not add to the total."""

    phase: LogPhase
    first_ms: float | None
    second_ms: float | None
    grew_ms: float | None
    inside: bool


class Stretch(msgspec.Struct, frozen=True):
    """The time between two lines that both boots have, with how many other lines of the main thread in between.

    ``mostly`` is the line of the slower boot that the longest part ends with, where that is one in between.
    """

    ends_with: str
    after: str
    first_ms: float
    second_ms: float
    grew_ms: float
    lines_first: int
    lines_second: int
    mostly: str = ""


class TwoBoots(msgspec.Struct, frozen=True):
    """All that differs. ``differs`` names facts; ``phases`` and ``stretches`` are empty if one log has no stamps."""

    names: tuple[str, str]
    first: BootFacts
    second: BootFacts
    differs: list[str]
    words: Only
    pci_functions: Only
    acpi_tables: Only
    phases: list[PhaseChange]
    stretches: list[Stretch]
    notes: list[str]


@dataclass(frozen=True)
class OneBoot:
    """A log as it is compared; ``stamped`` is None where the log has no stamps, or none to be believed."""

    name: str
    log: Log
    stamped: StampedLog | None
    notes: list[str]


def read_boot(name: str, path: Path, which: int = 0) -> OneBoot:
    """Boot ``which`` (from 1; 0: the first) of a log. InputError: unreadable, or no boot log."""
    found = boots(read_log(path))
    if not found:
        raise InputError(f"{name}: no boot log: expected a 'Linux version' line and BIOS-e820 lines after it")
    if which > len(found):
        raise InputError(f"{name}: boot {which} of a log with {len(found)}: expected 1 to {len(found)}")
    log = Log(name, found[max(which, 1) - 1])
    try:
        stamped = read_stamped(path, which)
    except InputError as error:
        return OneBoot(name, log, None, [f"{error}; phases and stretches are not compared"])
    if not stamped.timed:
        return OneBoot(name, log, None, [f"{name}: no time stamps: phases and stretches are not compared"])
    return OneBoot(name, log, stamped, [f"{name}: {note}" for note in stamped.notes])


def compare_boots(first: OneBoot, second: OneBoot) -> TwoBoots:
    """What differs between two boots."""
    facts = boot_facts(first.log), boot_facts(second.log)
    timed = first.stamped is not None and second.stamped is not None
    return TwoBoots(
        (first.name, second.name),
        *facts,
        [name for name in BootFacts.__struct_fields__ if getattr(facts[0], name) != getattr(facts[1], name)],
        only(command_words(first.log), command_words(second.log)),
        only(pci_functions(first.log), pci_functions(second.log)),
        only(acpi_tables(first.log), acpi_tables(second.log)),
        _phases(first.stamped, second.stamped) if timed else [],
        stretches(first.stamped, second.stamped) if timed else [],
        [*first.notes, *second.notes, *_cut_words(first), *_cut_words(second)],
    )


def _cut_words(one: OneBoot) -> list[str]:
    text = next((hit[1] for line in one.log.lines if (hit := COMMAND_LINE.match(line))), "")
    cut = len(text.encode()) >= LONG_BYTES
    return [f"{one.name}: its command line is too long for a log line: words at its end may be lost"] if cut else []


def only(first: Sequence[str], second: Sequence[str]) -> Only:
    """What one of two lists has more of, in its order."""
    return Only(_more(first, second), _more(second, first))


def _more(of: Sequence[str], than: Sequence[str]) -> list[str]:
    spare = Counter(than)
    kept = []
    for item in of:
        spare[item] -= 1
        if spare[item] < 0:
            kept.append(item)
    return kept


def _phases(first: StampedLog | None, second: StampedLog | None) -> list[PhaseChange]:
    assert first is not None and second is not None
    times = phase_times(phase_marks(first), phase_marks(second))
    return [
        _phase(name, times[0].get(name), times[1].get(name))
        for name in LOG_PHASES
        if name in times[0] or name in times[1]
    ]


def _phase(name: LogPhase, first_ns: int | None, second_ns: int | None) -> PhaseChange:
    grew = second_ns - first_ns if first_ns is not None and second_ns is not None else None
    return PhaseChange(name, _known_ms(first_ns), _known_ms(second_ns), _known_ms(grew), name in INSIDE)


def _known_ms(ns: int | None) -> float | None:
    return None if ns is None else _ms(ns)


def stretches(first: StampedLog | None, second: StampedLog | None) -> list[Stretch]:
    """The stretches of the main thread that changed most, the largest change first."""
    assert first is not None and second is not None
    a, b = _stamped_steps(first), _stamped_steps(second)
    pairs = align([step.text for step in a], [step.text for step in b])
    found = []
    for before, here in pairwise(pairs):
        ns = _apart(a, before.first, here.first), _apart(b, before.second, here.second)
        if abs(ns[1] - ns[0]) < FLOOR_NS:
            continue
        lines = here.first - before.first - 1, here.second - before.second - 1
        within = a[before.first : here.first + 1] if ns[0] > ns[1] else b[before.second : here.second + 1]
        mostly = _longest(within)
        times = _ms(ns[0]), _ms(ns[1]), _ms(ns[1] - ns[0])
        found.append(Stretch(a[here.first].text, a[before.first].text, *times, *lines, mostly))
    return sorted(found, key=lambda one: -abs(one.grew_ms))[:LARGEST]


def _longest(steps: Sequence[Step]) -> str:
    """The line before which most time passed; empty where it is the last."""
    at = max(range(1, len(steps)), key=lambda place: (steps[place].at_ns or 0) - (steps[place - 1].at_ns or 0))
    return steps[at].text if at < len(steps) - 1 else ""


def _stamped_steps(log: StampedLog) -> list[Step]:
    real = timeline(log)
    return [step for step in real.steps[real.start :] if step.main and step.at_ns is not None]


def _apart(steps: Sequence[Step], begin: int, end: int) -> int:
    return (steps[end].at_ns or 0) - (steps[begin].at_ns or 0)


def _ms(ns: int) -> float:
    return round(ns / NS_PER_MS, 3)
