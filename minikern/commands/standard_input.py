"""Standard input, wherever a command reads it: it may be closed, no text, or without end."""

from __future__ import annotations

import sys
from typing import BinaryIO

from hw.errors import InputError

ANSWER_BYTES = 4096  # of a line that somebody types


def standard_input() -> BinaryIO:
    """The bytes. InputError: there are none, the shell closed it."""
    if sys.stdin is None:
        raise InputError("standard input: closed: expected something to read")
    return sys.stdin.buffer


def typed_line() -> str | None:
    """The next line, without the blanks around it; None at the end."""
    line = standard_input().readline(ANSWER_BYTES)
    return line.decode("utf-8", "replace").strip() if line else None
