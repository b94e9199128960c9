"""What became of an input: executed, refused in words, or something nobody foresaw."""

from __future__ import annotations

import contextlib
import signal
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from hw.errors import BusError, GeneralProtection, InputError, MachineStopped
from minikern.kexec.decompress import DecompressError

LIMIT_SECONDS = 10  # of computing
PATIENCE_SECONDS = 100  # for one that computes on a busy computer, or waits
REFUSALS = (InputError, MachineStopped, BusError, GeneralProtection, DecompressError)


class TooSlow(Exception):  # noqa: N818 - the name says what happened
    """An input took longer than any input may."""


@contextlib.contextmanager
def limited(seconds: int = LIMIT_SECONDS) -> Iterator[None]:
    def ring(number: int, frame: Any) -> None:
        raise TooSlow

    timers = {signal.SIGALRM: (signal.ITIMER_REAL, PATIENCE_SECONDS), signal.SIGPROF: (signal.ITIMER_PROF, seconds)}
    before = {number: signal.signal(number, ring) for number in timers}
    for timer, limit in timers.values():
        signal.setitimer(timer, limit)
    try:
        yield
    finally:
        for timer, _ in timers.values():
            signal.setitimer(timer, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass
class Tally:
    """What a reader did with the inputs it got."""

    reader: str
    counts: Counter[str] = field(default_factory=Counter)
    unforeseen: dict[str, Any] = field(default_factory=dict)
    longest_s: float = 0.0  # of computing, for one input

    def feed(self, read: Callable[[Any], object], given: Any) -> None:
        """Give one input to ``read`` and keep what became of it."""
        self.counts["inputs"] += 1
        try:
            with limited():
                read(given)
        except REFUSALS as error:
            assert str(error), type(error)
            self.counts["refused"] += 1
        except Exception as error:
            self.counts["unforeseen"] += 1
            frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/tests/" not in frame.filename]
            place = frames[-1] if frames else None
            where = f"{place.filename.rpartition('/')[2]}:{place.lineno}" if place else "?"
            self.unforeseen.setdefault(f"{type(error).__name__} at {where}: {error!s:.80}", given)
        else:
            self.counts["executed"] += 1

    def report(self) -> str:
        """The figures, and an input for each kind of unforeseen end."""
        return "\n".join([str(self), *(f"{what}\n  {one!r:.3000}" for what, one in self.unforeseen.items())])

    def __str__(self) -> str:
        names = ("inputs", "executed", "refused", "unforeseen")
        return f"{self.reader}: " + ", ".join(f"{name} {self.counts[name]}" for name in names)
