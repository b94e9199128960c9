"""The kernel log: lines with simulated time stamps, continued lines included.

The core prints nothing: it records. ``minikern.report.dmesg`` turns the record into text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum


class Level(IntEnum):
    """Console log levels. Source: include/linux/kern_levels.h @ v6.12."""

    EMERG = 0
    ALERT = 1
    CRIT = 2
    ERR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6
    DEBUG = 7


@dataclass(slots=True)
class LogLine:
    """One line: ``ts_ns`` on the kernel's log clock, ``at_ns`` on the machine's clock, written during ``phase``."""

    ts_ns: int
    at_ns: int
    level: Level
    text: str
    phase: str = "rest"


class Printk:
    """The log buffer of one booted kernel.

    The log clock reads 0 until :meth:`start_clock`: the kernel has no clock before the TSC is calibrated.
    Source: kernel/printk/printk.c, kernel/time/sched_clock.c, arch/x86/kernel/tsc.c @ v6.12
    """

    def __init__(self, now: Callable[[], int], phase: Callable[[], str] = lambda: "rest") -> None:
        self.lines: list[LogLine] = []
        self.time = True  # lines are shown with their times
        self._now = now
        self._phase = phase
        self._clock_zero: int | None = None
        self.first_timed = 0  # index of the first line with a running clock, once it runs
        self._open: LogLine | None = None
        self.finished: Callable[[LogLine], None] = lambda line: None  # told of every line that grows no more

    def start_clock(self) -> None:
        """From now on lines carry the time since this moment; a second call changes nothing."""
        if self._clock_zero is None:
            self._clock_zero = self._now()
            self.first_timed = len(self.lines)

    @property
    def clock_zero_ns(self) -> int | None:
        """Machine time at which the log clock started, None while it reads zero."""
        return self._clock_zero

    def _stamp(self) -> int:
        return 0 if self._clock_zero is None else self._now() - self._clock_zero

    def printk(self, text: str, level: Level = Level.INFO) -> None:
        """Record one complete line (or several, separated by newlines)."""
        started = [LogLine(self._stamp(), self._now(), level, line, self._phase()) for line in text.split("\n")]
        self.lines += started
        self._finish()
        for line in started:
            self.finished(line)

    def open(self, text: str, level: Level = Level.INFO) -> None:
        """Record a line that :meth:`cont` may still lengthen."""
        line = LogLine(self._stamp(), self._now(), level, text, self._phase())
        self.lines.append(line)
        self._finish()
        self._open = line

    def _finish(self) -> None:
        # Another message ends the line that was open.
        line, self._open = self._open, None
        if line is not None:
            self.finished(line)

    @property
    def is_open(self) -> bool:
        """True while :meth:`cont` lengthens the last line."""
        return self._open is not None

    def cont(self, text: str) -> None:
        """Lengthen the open line, or start a new one when another message came in between (KERN_CONT)."""
        if self._open is not None:
            self._open.text += text
        else:
            self.open(text)

    def find(self, prefix: str) -> LogLine | None:
        """The first line whose text starts with ``prefix``, or None."""
        return next((line for line in self.lines if line.text.startswith(prefix)), None)

    def find_last(self, needle: str) -> LogLine | None:
        """The last line that contains ``needle``, or None."""
        return next((line for line in reversed(self.lines) if needle in line.text), None)
