"""The command line's words about consoles: which, and how fast.

Source: kernel/printk/printk.c:console_setup(), drivers/tty/serial/serial_core.c @ v6.12
"""

from __future__ import annotations

import re
from typing import NamedTuple

from hw.numbers import starts_with_digit

MAX_CMDLINECONSOLES = 8  # Source: kernel/printk/printk.c @ v6.12
DEFAULT_BAUD = 9600
DATA_BITS = 8


class ConsoleWord(NamedTuple):
    """One ``console=`` word: driver, number and what follows the comma."""

    name: str
    number: int
    options: str


class LineOptions(NamedTuple):
    """``115200n8`` taken apart."""

    baud: int = DEFAULT_BAUD
    parity: str = "n"
    bits: int = DATA_BITS


def parse_console(value: str) -> ConsoleWord:
    """Take a word apart as the kernel does: a bare number is a serial port, a name without number has number 0."""
    text, _, options = value.partition(",")
    if starts_with_digit(text):
        text = f"ttyS{text}"
    found = re.match(r"([^\d,]*)(\d*)", text)
    assert found is not None
    return ConsoleWord(found[1], int(found[2] or 0), options)


class PreferredConsoles(NamedTuple):
    """The words in the order in which drivers try them, and which one was named last."""

    words: list[ConsoleWord]
    last: ConsoleWord | None


def preferred_consoles(values: list[str]) -> PreferredConsoles:
    """All ``console=`` words, each console once, with the options of its first mention."""
    words: dict[tuple[str, int], ConsoleWord] = {}
    last = None
    for value in values:
        word = parse_console(value if value not in ("", "null") else "ttynull")
        if word[:2] in words or len(words) < MAX_CMDLINECONSOLES:
            last = words.setdefault((word.name, word.number), word)
    return PreferredConsoles(list(words.values()), last)


def parse_line_options(text: str) -> LineOptions:
    """Baud, parity and data bits of ``115200n8``. Source: serial_core.c:uart_parse_options()"""
    found = re.match(r"(\d*)(.?)(\d?)", text)
    assert found is not None
    baud, parity, bits = found.groups()
    return LineOptions(int(baud or 0) if text else DEFAULT_BAUD, parity or "n", int(bits or DATA_BITS))
