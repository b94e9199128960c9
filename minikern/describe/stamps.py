"""The time stamps of a boot log, line by line, and what of them can be believed.

A stamp is the kernel's own (``[   12.345678]``, seconds since its clock started); where there is none, a time of day.
Stamps are zero until that clock runs, then at first jiffy-grained on older kernels. Clocks step, lines are torn or in
the wrong order, editors and mails cut; what cannot be believed is taken off, and a log of which too little is left is
refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from hw.errors import InputError
from minikern.describe.dmesg_text import boot_ranges, prefix_length, read_raw
from minikern.describe.wall_clock import wall_times

NS_PER_US = 1000
NS_PER_S = 1_000_000_000
NEVER_NS = 300 * NS_PER_S  # no two lines of a boot are this far apart but by a clock that was set
LONGEST_BOOT_NS = 1800 * NS_PER_S
STEP_BACK_NS = 1_000_000  # lines of different CPUs overtake each other by less
SOUND_SHARE = 0.8  # of the stamps must stand in order
FEWEST_STAMPS = 20

_STAMP = re.compile(r"\[[ <+]*(\d{1,9})\.(\d{1,9})[^\]]*\](?: ?\[ *([TC]\d+)\])?\s?$")
_MONOTONIC = re.compile(r"^\[ *(\d{1,9})\.(\d{6})\] \S+ kernel(?:\[\d+\])?: ?$")  # journalctl -o short-monotonic
_INIT = re.compile(r"Run \S+ as init process")
_SMP = re.compile(r"(?:smp: Bringing up secondary CPUs|x86: Booting SMP configuration)")


@dataclass(slots=True)
class Stamped:
    """One line: its text, its stamp (None: it has none, or none to be believed), who wrote it (``T1``, or empty)."""

    text: str
    at_ns: int | None
    caller: str = ""


@dataclass
class StampedLog:
    """One boot of a log. ``notes`` say what was taken off; ``start`` is the first line with a running clock."""

    where: str
    lines: list[Stamped]
    start: int
    notes: list[str] = field(default_factory=list)

    @property
    def timed(self) -> bool:
        """True if there are stamps to go by."""
        return self.start < len(self.lines)


def read_stamped(path: Path, which: int = 0) -> StampedLog:
    """Boot ``which`` (from 1; 0 means the first) of a log, with its stamps.

    A log without stamps, or with all of them zero, comes back untimed. InputError: no such boot, or stamps that
    contradict each other.
    """
    raw = read_raw(path)
    cut = [prefix_length(line) for line in raw]
    ranges = boot_ranges([line[at:] for line, at in zip(raw, cut, strict=True)])
    if not ranges or which > len(ranges):
        raise InputError(f"{path}: boot {max(which, 1)} of a log with {len(ranges)}")
    start, end = ranges[max(which, 1) - 1]
    kept = [index for index in range(start, end) if raw[index].strip()]
    lines = [_stamped(raw[index], cut[index]) for index in kept]
    notes = _by_wall_clock(str(path), lines, [raw[index][: cut[index]] for index in kept])
    log = sound(str(path), lines)
    log.notes[:0] = notes
    return log


def _by_wall_clock(where: str, lines: list[Stamped], prefixes: list[str]) -> list[str]:
    """Take times of day for the stamps of a log that has none of the kernel's; what a user should know of it."""
    if any(line.at_ns for line in lines):
        return []
    end = next((index for index, line in enumerate(lines) if _INIT.match(line.text)), len(lines) - 1) + 1
    try:
        times = wall_times(prefixes[:end])
    except InputError as error:
        return [str(error)]
    if times is None:
        return []
    for line, at in zip(lines, times, strict=False):
        line.at_ns = at
    return ["the log has no stamps of the kernel: times of day are taken for them"]


def _stamped(raw: str, cut: int) -> Stamped:
    found = _STAMP.search(raw[:cut]) or _MONOTONIC.search(raw[:cut])
    if not found:
        return Stamped(raw[cut:], None)
    fraction = (found[2] + "0" * 9)[:9]
    caller = found[3] if found.re is _STAMP else None
    return Stamped(raw[cut:], int(found[1]) * NS_PER_S + int(fraction), caller or "")


def sound(where: str, lines: list[Stamped]) -> StampedLog:
    """Take off what cannot be believed. InputError when the rest says nothing, or nothing that can be."""
    notes: list[str] = []
    if not any(line.at_ns for line in lines):
        return StampedLog(where, lines, len(lines))
    start = _start(lines, notes)
    for line in lines[:start]:
        line.at_ns = None
    _keep_order(where, lines, start, notes)
    _close_jumps(lines, start, notes)
    _check_length(where, lines, start)
    return StampedLog(where, lines, start, notes)


def _start(lines: list[Stamped], notes: list[str]) -> int:
    """First line of the clock that runs to the end: it may be set anew before the other CPUs start."""
    smp = next((index for index, line in enumerate(lines) if _SMP.match(line.text)), 0)
    anew, last = 0, 0
    for index, line in enumerate(lines[: smp + 1]):
        if line.at_ns is None:
            continue
        if line.at_ns < last - STEP_BACK_NS:
            anew = index
            notes.append(f"the clock was set anew at line {index + 1}: what came before has no length")
        last = line.at_ns
    return next(index for index in range(anew, len(lines)) if lines[index].at_ns) if _any(lines, anew) else len(lines)


def _any(lines: list[Stamped], start: int) -> bool:
    return any(line.at_ns for line in lines[start:])


def _keep_order(where: str, lines: list[Stamped], start: int, notes: list[str]) -> None:
    stamps = [(index, at) for index in range(start, len(lines)) if (at := lines[index].at_ns) is not None]
    kept = set(_rising([at for _, at in stamps]))
    if len(stamps) < FEWEST_STAMPS:
        raise InputError(f"{where}: {len(stamps)} time stamps: too few to go by")
    if len(kept) < SOUND_SHARE * len(stamps):
        raise InputError(f"{where}: only {len(kept)} of {len(stamps)} time stamps stand in rising order")
    for place, (index, _) in enumerate(stamps):
        if place not in kept:
            lines[index].at_ns = None
    if len(kept) < len(stamps):
        notes.append(f"{len(stamps) - len(kept)} of {len(stamps)} stamps run backwards and were left out")


def _rising(values: list[int]) -> list[int]:
    """Places of a longest part of ``values`` that never falls."""
    from bisect import bisect_right

    tails: list[int] = []
    ends: list[int] = []
    before: list[int] = []
    for place, value in enumerate(values):
        at = bisect_right(tails, value)
        before.append(ends[at - 1] if at else -1)
        if at == len(tails):
            tails.append(value)
            ends.append(place)
        else:
            tails[at], ends[at] = value, place
    chain = []
    place = ends[-1] if ends else -1
    while place >= 0:
        chain.append(place)
        place = before[place]
    return chain[::-1]


def _close_jumps(lines: list[Stamped], start: int, notes: list[str]) -> None:
    """Where the clock was set forward by minutes or hours, take that off all later stamps."""
    off = 0
    last: int | None = None
    for index in range(start, len(lines)):
        at = lines[index].at_ns
        if at is None:
            continue
        if last is not None and at - last > NEVER_NS:
            off += at - last
            notes.append(f"the clock jumps by {(at - last) / NS_PER_S:.0f} s at line {index + 1}: taken off")
        last = at
        lines[index].at_ns = at - off


def _check_length(where: str, lines: list[Stamped], start: int) -> None:
    stamps = [line.at_ns for line in lines[start:] if line.at_ns is not None]
    if not stamps or stamps[-1] - stamps[0] > LONGEST_BOOT_NS:
        raise InputError(
            f"{where}: its stamps span {(stamps[-1] - stamps[0]) / NS_PER_S if stamps else 0:.0f} s: no boot takes so"
            " long; are they in another unit than seconds?"
        )
