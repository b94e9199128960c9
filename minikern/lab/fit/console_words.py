"""Which lines of a log went out over a serial line as they were written, and how long each was there, in bytes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from hw.numbers import is_count

STAMP_BYTES, CALLER_BYTES, END_BYTES = 15, 10, 2  # "[    1.234567] ", "[    T1]" with its blank less one, CR LF
BITS_PER_BYTE = 10  # start bit, eight bits, stop bit
DEFAULT_BAUD = 9600  # Source: drivers/tty/serial/8250/8250_core.c:serial8250_console_setup() @ v6.12
QUIET, DEFAULT_LEVEL = 4, 7  # Source: include/linux/printk.h @ v6.12
FLUSH_LATE = (6, 2)

_STATE = re.compile(r"(?:printk: )?(?:legacy )?(boot)?console \[(\w+?)(\d+)\] (enabled|disabled)")
_BAUD = re.compile(r"(?:console|earlyprintk|earlycon)=\S*?(?:ttyS|serial|uart)\S*?,(\d{4,7})")
_SERIAL = ("ttyS", "earlyser", "uart")


@dataclass(slots=True)
class SerialState:
    """Serial consoles that are on: one that registered, one of the early boot."""

    early: bool = False
    real: bool = False

    def see(self, text: str) -> None:
        """A line that may say a console came or went."""
        found = _STATE.match(text)
        if not found or not found[2].startswith(_SERIAL):
            return
        on = found[4] == "enabled"
        if found[1]:
            self.early = on
        elif on:
            self.real = True

    @property
    def on(self) -> bool:
        """True while lines go out at once."""
        return self.early or self.real


def baud(command_line: str) -> int:
    """The serial console's speed by the command line."""
    found = _BAUD.findall(command_line)
    return int(found[-1]) if found else DEFAULT_BAUD if "console=ttyS" in command_line else 115200


def console_level(command_line: str) -> int:
    """Lines of this level and above (in number) stay off the console. Source: kernel/printk/printk.c @ v6.12"""
    level = DEFAULT_LEVEL
    for word in command_line.split():
        if word in ("quiet", "debug", "ignore_loglevel"):
            level = {"quiet": QUIET, "debug": 10, "ignore_loglevel": 16}[word]
        elif word.startswith("loglevel=") and is_count(word[9:]):
            level = int(word[9:])
        if word == "ignore_loglevel":
            return level
    return level


@dataclass
class Serial:
    """Bytes of each line (``lengths``), and those that went out as the line was written (``sent``).

    ``flushed`` is the line after which a console that had just registered wrote out all that stood before line
    ``backlog`` (-1: none did).
    """

    lengths: list[int]
    sent: list[int]
    flushed: int = -1
    backlog: int = 0


def serial_bytes(texts: Sequence[str], callers: Sequence[str], command_line: str, version: tuple[int, int]) -> Serial:
    """What went over the serial line, line by line.

    A log does not tell its lines' levels: with ``quiet`` hardly any is loud enough, else nearly all are.
    """
    lengths = [_length(text, caller) for text, caller in zip(texts, callers, strict=True)]
    found = Serial(lengths, [0] * len(texts))
    if console_level(command_line) <= QUIET:
        return Serial([0] * len(texts), [0] * len(texts))
    state = SerialState()
    for index, text in enumerate(texts):
        before = state.on
        state.see(text)
        if state.on:
            found.sent[index] = lengths[index]
        if state.on and not before:
            found.flushed, found.backlog = _flush(index, version)
            if found.flushed >= 0:
                found.sent[found.flushed] += sum(lengths[: found.backlog])
    return found


def _flush(index: int, version: tuple[int, int]) -> tuple[int, int]:
    # Kernels before 6.2 write the backlog before they say that the console is enabled.
    return (index - 1 if version < FLUSH_LATE else index), index


def _length(text: str, caller: str) -> int:
    return STAMP_BYTES + (CALLER_BYTES - 2 if caller else 0) + len(text) + END_BYTES
