"""The one way to a terminal: text of others reaches it without the power to command it.

Names, DMI strings, command lines and log lines come from machines and files of strangers. What is written to a terminal
has its control characters spelt out as ``\\x1b``, the way dmesg(1) does; a file or a pipe gets the text as it is. Only
what the program itself draws (a table's styles, a progress bar) keeps its escape sequences: see ``console``.
"""

from __future__ import annotations

import errno
import io
import os
import re
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TextIO

from hw.errors import InputError
from hw.numbers import is_count

if TYPE_CHECKING:
    from rich.console import Console

# Controls but tab and newline; marks that turn the direction of writing or end a line; halves of characters.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

QUOTED_CHARACTERS = 80  # of a value, in a message
PATH_CHARACTERS = 255  # of a path; Source: include/uapi/linux/limits.h:NAME_MAX
LINE_CHARACTERS = 1000
MAX_SIZE = 10_000  # columns or lines of a terminal
_QUOTED = re.compile(rf"(['\"])[^'\"]{{{QUOTED_CHARACTERS},}}\1")
_UNBROKEN = re.compile(rf"[^\s/]{{{QUOTED_CHARACTERS + 8},}}|\S{{{PATH_CHARACTERS + 8},}}")


def shown(text: str) -> str:
    """``text`` with every character spelt out that a terminal would act upon."""
    return _UNSAFE.sub(lambda found: _spelt(ord(found.group())), text)


def _spelt(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def one_line(text: str) -> str:
    """A message as one line: what it quotes is cut at 80 characters, and the whole at what a person reads."""
    text = shown(" ".join(text.split()))
    text = _QUOTED.sub(lambda found: f"{found.group()[:QUOTED_CHARACTERS]}...{found.group(1)}", text)
    text = _UNBROKEN.sub(lambda found: _cut(found.group()), text)
    return text if len(text) <= LINE_CHARACTERS else f"{text[:LINE_CHARACTERS]}..."


def _cut(run: str) -> str:
    # The end of a path says more than its beginning.
    return f"...{run[-PATH_CHARACTERS:]}" if "/" in run else f"{run[:QUOTED_CHARACTERS]}..."


class OutputLost(InputError):  # noqa: N818 - the name says what happened
    """Standard output cannot be written to; the message says why."""


class _Guarded(io.TextIOBase):
    """A standard stream. Text for a terminal is spelt out; what fails is told as this stream's failure."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self.stream = stream
        self._name = name
        self._terminal = stream.isatty()

    def write(self, text: str) -> int:
        try:
            self.stream.write(shown(text) if self._terminal else text)
        except OSError as error:
            raise self._lost(error) from error
        return len(text)

    def writelines(self, lines: Iterable[Any]) -> None:
        self.write("".join(lines))

    def flush(self) -> None:
        try:
            self.stream.flush()
        except OSError as error:
            raise self._lost(error) from error

    def _lost(self, error: OSError) -> Exception:
        if error.errno in (errno.EPIPE, errno.ENOMEM):
            return error
        return OutputLost(f"{self._name}: {error.strerror or error}")

    def isatty(self) -> bool:
        return self._terminal

    def fileno(self) -> int:
        return self.stream.fileno()

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self.stream.errors

    @property
    def buffer(self) -> Any:
        return self.stream.buffer


def guard() -> None:
    """Put the guard over standard output and standard error; a stream that the shell closed stays closed."""
    for name, what in (("stdout", "standard output"), ("stderr", "standard error")):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a character the encoding lacks is no reason to fail
            setattr(sys, name, _Guarded(stream, what))


def told_size(name: str) -> int:
    """What COLUMNS or LINES says of the terminal; 0 if that is no size of one."""
    text = os.environ.get(name, "")
    return int(text) if is_count(text) and int(text) <= MAX_SIZE else 0


def console(stderr: bool = False, **settings: Any) -> Console:
    """A rich console that may style and draw; what it is given to show is spelt out like all other text."""
    from rich.console import Console
    from rich.segment import Segment

    class Spelt(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich ends the program with status 1; what a reader that went away means is ours

        def render(self, renderable: Any, options: Any = None) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                plain = self.is_terminal and not segment.control
                yield segment._replace(text=shown(segment.text)) if plain else segment

    sizes = ("COLUMNS", "LINES")
    environ = {name: value for name, value in os.environ.items() if name not in sizes or told_size(name)}
    stream = sys.stderr if stderr else sys.stdout
    direct = stream.stream if isinstance(stream, _Guarded) else stream
    return Spelt(file=direct, markup=False, emoji=False, _environ=environ, **settings)
