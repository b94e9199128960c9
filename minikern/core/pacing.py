"""Pacing: time that no mechanism explains, spent before the log line it was found at.

A real log says how long its machine took from one line to the next; what counted work leaves unexplained of that is
kept as residue in its place, and passes there again in each boot of the machine, also where a variant prints other
lines.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from minikern.core.costs import Residue
from minikern.core.line_mask import mask

INITRAMFS_WAIT: Final = "initramfs"


class Place(NamedTuple):
    """A line of one boot: its mask, and how many lines of that mask there were, this one included."""

    mask: str
    nth: int


class Halted(Protocol):
    """What a pacer does to the boot it paces."""

    def spend_residue(self, item: Residue) -> None:
        """Let the time of ``item`` pass on the boot CPU."""

    def wait_for(self, what: str) -> None:
        """Sleep until ``what`` is done."""


@dataclass
class Counter:
    """Names the place of each line that comes by."""

    seen: dict[str, int] = field(default_factory=dict)

    def place(self, text: str) -> Place:
        """The place of ``text``, the next line of the boot."""
        key = mask(text)
        self.seen[key] = self.seen.get(key, 0) + 1
        return Place(key, self.seen[key])


class Pacer:
    """Lets residue pass at its lines; what belongs to lines that never come passes at the next known one.

    So a variant that prints fewer lines takes the unexplained time all the same; but what a serial console took for
    lines that never come is not taken: nobody sends them.
    """

    def __init__(self, residue: Iterable[Residue]) -> None:
        self._items = [item for item in residue if item.before]
        self._last = {Place(item.before, item.nth): index for index, item in enumerate(self._items)}
        self._next = 0
        self._counter = Counter()

    def before(self, boot: Halted, text: str) -> None:
        """Let pass what stands before this line, and what should have passed earlier."""
        place = self._counter.place(text)
        self._let_pass(boot, self._last.get(place, -1) + 1, place)

    def before_wait(self, boot: Halted, what: str) -> None:
        """The boot is about to wait for ``what``: let pass what was spent before the real machine slept for it."""
        ahead = (index for index in range(self._next, len(self._items)) if self._items[index].waits == what)
        self._let_pass(boot, next(ahead, self._next))

    def finish(self, boot: Halted) -> None:
        """Let pass what is left."""
        self._let_pass(boot, len(self._items))

    def _let_pass(self, boot: Halted, end: int, place: Place | None = None) -> None:
        while self._next < end:
            item = self._items[self._next]
            self._next += 1
            if item.serial_baud and Place(item.before, item.nth) != place:
                continue
            if item.waits:
                boot.wait_for(item.waits)
            boot.spend_residue(item)
