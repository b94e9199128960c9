"""A real boot as its main thread went through it: line after line, with the time and the console's bytes in between."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from minikern.core.line_mask import mask
from minikern.describe.stamps import Stamped, StampedLog
from minikern.lab.fit.console_words import Serial, serial_bytes
from minikern.lab.fit.tracks import is_main

_INIT = re.compile(r"Run \S+ as init process")
_FREE = re.compile(r"Freeing unused kernel (?:image \(initmem\) )?(?:image )?memory")
_VERSION = re.compile(r"Linux version (\d+)\.(\d+)")
ASYNC_INITRAMFS = (5, 13)  # Source: commit e7cb072eb988 ("init/initramfs.c: do unpacking asynchronously")


@dataclass(slots=True)
class Step:
    """One line and the stretch that ends with it.

    ``gap_ns`` is the time since the main thread's last stamped line (None: not the main thread's, or no stamp);
    ``bytes_before`` went over the serial line in that stretch, ``bytes`` is what this line itself sends.
    """

    text: str
    mask: str
    main: bool
    at_ns: int | None
    bytes: int = 0
    bytes_before: int = 0
    gap_ns: int | None = None


@dataclass
class Timeline:
    """The steps from the log's first line to init; ``start`` is the first with a running clock.

    ``notes`` say what was done about its stamps.
    """

    where: str
    steps: list[Step]
    start: int
    version: tuple[int, int]
    command_line: str
    serial: Serial
    notes: list[str] = field(default_factory=list)

    @property
    def timed(self) -> bool:
        """True if the log has stamps to go by."""
        return self.start < len(self.steps)

    @property
    def async_initramfs(self) -> bool:
        """True if a worker unpacks the initramfs beside the initcalls."""
        return self.version >= ASYNC_INITRAMFS


def timeline(log: StampedLog) -> Timeline:
    """The boot of a log up to init; what runs later is not the kernel's boot."""
    lines = log.lines[: _end(log.lines) + 1]
    version = _version(lines)
    command_line = next((line.text for line in lines if "ommand line: " in line.text), "")
    serial = serial_bytes([line.text for line in lines], [line.caller for line in lines], command_line, version)
    steps = [
        Step(line.text, mask(line.text), is_main(line.text, line.caller, version >= ASYNC_INITRAMFS), line.at_ns, size)
        for line, size in zip(lines, serial.sent, strict=True)
    ]
    found = Timeline(log.where, steps, min(log.start, len(steps)), version, command_line, serial, log.notes)
    _measure(found)
    return found


def _end(lines: Sequence[Stamped]) -> int:
    last = len(lines) - 1
    free = next((index for index, line in enumerate(lines) if _FREE.match(line.text)), last)
    return next((index for index, line in enumerate(lines) if _INIT.match(line.text)), free)


def _version(lines: Sequence[Stamped]) -> tuple[int, int]:
    for line in lines[:5]:
        if found := _VERSION.match(line.text):
            return int(found[1]), int(found[2])
    return (6, 0)


def _measure(found: Timeline) -> None:
    last: int | None = None
    waiting = 0
    for step in found.steps[found.start :]:
        if step.main:
            step.bytes_before = waiting
            if step.at_ns is not None:
                step.gap_ns = None if last is None else step.at_ns - last
                last = step.at_ns
                waiting = 0
        waiting += step.bytes
