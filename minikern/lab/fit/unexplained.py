"""Name the rest: time that counted work and the console leave unexplained, under the name of the line it ends with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from minikern.core.costs import Residue
from minikern.core.pacing import INITRAMFS_WAIT, Counter, Place
from minikern.lab.fit.console_words import baud
from minikern.lab.fit.initcalls import RETURNED, initcalls
from minikern.lab.fit.rows import Matched, Row, metered_lines
from minikern.lab.fit.solve import Estimate
from minikern.lab.fit.timeline import Step

NAME_LENGTH = 72
OWN_NAME_NS, OWN_NAME_SHARE = 2_000_000, 0.2  # a line's part of a stretch that gets a name of its own
LEAST_NS = 1_000
INITCALL_NS = 100_000  # an initcall's time in a stretch that gets a name of its own
CONSOLE, INITCALL_DEBUG = "serial console", "lines of initcall_debug"
CONSOLE_SPREAD = 0.06  # of the logarithm of a byte's time; of fourteen logs


@dataclass(slots=True)
class Price:
    """What a real line's stretch took beyond counted work, ns: unexplained, for the console; what was slept for.

    ``within`` is the initcall it passed in, ``debug_ns`` what the lines about initcalls cost themselves.
    """

    text: str
    ns: float
    console_ns: float = 0.0
    waits: str = ""
    within: str = ""
    debug_ns: float = 0.0

    @property
    def name(self) -> str:
        """What the time is called: by its initcall, and by its line where that is long and says more."""
        if not self.within:
            text = self.text.strip()
            return f"CPUs {text}" if text.startswith("#") else text  # the list of them goes on over several lines
        return self.within if self.ns < OWN_NAME_NS or RETURNED.match(self.text) else f"{self.within}: {self.text}"


def modelled_ns(row: Row, estimates: Mapping[str, Estimate]) -> float:
    """A row's counted work at fitted unit costs."""
    return sum(spent * (estimates[kind].factor if kind in estimates else 1.0) for kind, spent in row.work.items())


def left_over(rows: Sequence[Row], estimates: Mapping[str, Estimate], byte_ns: float) -> list[tuple[float, float]]:
    """Ns of each row that go to the console, and that nothing explains.

    Where counted work takes longer than the stamps allow, the rows after it have so much less to explain: boot and log
    meet again as soon as they can.
    """
    found = []
    debt = 0.0
    for row in rows:
        rest = row.real_ns - modelled_ns(row, estimates) - debt
        debt = max(0.0, -rest)
        console = min(max(rest, 0.0), row.bytes * byte_ns)
        found.append((console, max(rest, 0.0) - console))
    return found


def prices(
    matched: Matched, left: Sequence[tuple[float, float]], byte_ns: float, waits: Step | None
) -> dict[int, Price]:
    """Each row's time shared out among its real lines by how long each one's own stretch was; by place of the line."""
    found = {}
    steps = matched.timeline.steps
    calls = initcalls(steps, byte_ns)
    for row, (console, rest) in zip(matched.rows, left, strict=True):
        places = main_places(matched, row)
        own = [max(0.0, (steps[at].gap_ns or 0) - steps[at].bytes_before * byte_ns) for at in places]
        debug = _capped([calls.debug_ns.get(at, 0.0) for at in places], own, rest)
        own = [spent - cost for spent, cost in zip(own, debug, strict=True)]
        sent = [float(steps[at].bytes_before) for at in places]
        shares = _shares(rest - sum(debug), own), _shares(console, sent)
        for at, ns, console_ns, debug_ns in zip(places, *shares, debug, strict=True):
            sleep = INITRAMFS_WAIT if steps[at] is waits else ""
            found[at] = Price(steps[at].text, ns, console_ns, sleep, calls.within.get(at, ""), debug_ns)
    return found


def _capped(debug: Sequence[float], own: Sequence[float], rest: float) -> list[float]:
    """No more than each line's own stretch took, nor all of them than is unexplained."""
    spent = [min(cost, ns) for cost, ns in zip(debug, own, strict=True)]
    total = sum(spent)
    return [cost * min(1.0, max(rest, 0.0) / total) for cost in spent] if total else spent


def main_places(matched: Matched, row: Row) -> list[int]:
    """Places of the main thread's lines in a row."""
    return [at for at in range(max(row.first + 1, 0), row.last + 1) if matched.timeline.steps[at].main]


def _shares(whole: float, weights: Sequence[float]) -> list[float]:
    total = sum(weights)
    return [whole * (weight / total if total else 1 / len(weights)) for weight in weights]


def residue(matched: Matched, priced: Mapping[int, Price], source: str, spread: float) -> list[Residue]:
    """The machine's named unexplained time, ``priced`` by place of the real line, before the emulated lines.

    The console's time depends on a serial console where the emulated boot has one on; where only the log shows one,
    as its command line is cut, it passes in any case.
    """
    places = line_places(matched)
    speed = baud(matched.timeline.command_line)
    serial = {line.index for line in metered_lines(matched.kernel) if line.serial}
    found: list[Residue] = []
    for row in matched.rows:
        steps = [priced[at] for at in main_places(matched, row) if at in priced]
        sleep = next((index for index, step in enumerate(steps) if step.waits), 0)
        for part in (steps[:sleep], steps[sleep:]):
            made = _items(part, places[row.line], source, speed if row.line in serial else 0)
            found += [_doubted(item, spread) for item in made]
    return found


def _doubted(item: Residue, spread: float) -> Residue:
    return msgspec.structs.replace(item, spread=min(spread, CONSOLE_SPREAD) if item.name == CONSOLE else spread)


def line_places(matched: Matched) -> dict[int, Place]:
    """Places of the emulated main thread's lines, by index."""
    counter = Counter()
    lines = matched.kernel.log.lines
    return {line.index: counter.place(lines[line.index].text) for line in metered_lines(matched.kernel) if line.main}


def _items(steps: Sequence[Price], place: Place, source: str, speed: int) -> list[Residue]:
    def item(name: str, ns: float, waits: Literal["", "initramfs"] = "", serial_baud: int = 0) -> Residue:
        ms = round(ns / 1e6, 6)
        return Residue(
            name[:NAME_LENGTH], "", ms, source, before=place.mask, nth=place.nth, waits=waits, serial_baud=serial_baud
        )

    found = [item("the initramfs is waited for", 0.0, INITRAMFS_WAIT) for step in steps if step.waits]
    by_name: dict[str, float] = {}
    for step in steps:
        by_name[step.name] = by_name.get(step.name, 0.0) + step.ns
    total, rest = sum(by_name.values()), 0.0
    called = {step.name for step in steps if step.within}
    for name, ns in by_name.items():
        if ns >= (INITCALL_NS if name in called else max(OWN_NAME_NS, OWN_NAME_SHARE * total)):
            found.append(item(name, ns))
        else:
            rest += ns
    if rest >= LEAST_NS:
        found.append(item(max(by_name, key=lambda name: by_name[name]), rest))
    debug = sum(step.debug_ns for step in steps)
    if debug >= LEAST_NS:
        found.append(item(INITCALL_DEBUG, debug))
    console = sum(step.console_ns for step in steps)
    if console >= LEAST_NS:
        found.append(item(CONSOLE, console, serial_baud=speed))
    return found
