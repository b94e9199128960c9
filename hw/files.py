"""The one place where files of the user's are opened: regular files of modest size, whatever else a name may stand for.

A pipe would be waited for, a device has effects when it is opened, a sparse giant fills the memory: each is refused in
one line before a byte is read. Only standard input may be a pipe.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from hw.errors import InputError

STANDARD_INPUT = Path("/dev/stdin")
MAX_BYTES = 64 << 20  # of a file for which its reader states no bound of its own
_KINDS = (
    (stat.S_ISDIR, "a folder"), (stat.S_ISBLK, "a disk"), (stat.S_ISCHR, "a device"),
    (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"),
)  # fmt: skip


def is_file(name: str | Path) -> bool:
    """True for a file of that name; False too for what no file can be called, of which ``Path.is_file()`` raises."""
    return os.path.isfile(name)  # noqa: PTH113


def is_folder(name: str | Path) -> bool:
    """True for a folder of that name; False too for what none can be called."""
    return os.path.isdir(name)  # noqa: PTH112


def read_input(path: Path, limit: int = MAX_BYTES) -> bytes:
    """All bytes of a file. InputError: no file, unreadable, or more than ``limit`` bytes; the line names it."""
    with open_input(path, limit) as file:
        return read_stream(file, str(path), limit)


def read_head(path: Path, count: int) -> bytes:
    """The first ``count`` bytes of a file, of any size; none where there is no file to be read."""
    try:
        with open_input(path) as file:
            return file.read(count) or b""
    except (InputError, OSError):
        return b""


def read_text_input(path: Path, limit: int = MAX_BYTES) -> str:
    """A file as text; bytes that are no UTF-8 become replacement characters. InputError as ``read_input``."""
    return read_input(path, limit).decode("utf-8", "replace")


def read_stream(stream: BinaryIO, where: str, limit: int = MAX_BYTES) -> bytes:
    """All bytes of an open stream. InputError names ``where``: unreadable, or more than ``limit`` bytes."""
    try:
        data = stream.read(limit + 1) or b""
    except OSError as error:
        raise InputError(f"{where}: cannot be read: {error.strerror or error}") from error
    if len(data) > limit:
        raise InputError(f"{where}: more than {limit} bytes: expected at most that many")
    return data


def open_input(path: Path, limit: int | None = None) -> BinaryIO:
    """A file to read from. InputError: it is none, cannot be read, or is larger than ``limit`` bytes."""
    if "\0" in str(path):
        raise InputError(f"{str(path)!r:.80}: no name of a file")
    try:
        _check_kind(path, path.stat(), limit)
        number = os.open(path, os.O_RDONLY | _FLAGS)
        file = os.fdopen(number, "rb")
        _check_kind(path, os.fstat(number), limit)  # what was opened, should the name mean something else by now
        if path == STANDARD_INPUT:  # what looks like a file may be waited for as well: /proc/kmsg
            os.set_blocking(number, True)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    return file


# A pipe without a writer is not waited for, a terminal does not become this program's.
_FLAGS = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_CLOEXEC", 0)


def _check_kind(path: Path, found: os.stat_result, limit: int | None) -> None:
    if path == STANDARD_INPUT and not stat.S_ISDIR(found.st_mode):
        return
    if not stat.S_ISREG(found.st_mode):
        kind = next((name for test, name in _KINDS if test(found.st_mode)), "something else")
        raise InputError(f"{path}: expected a file, found {kind}")
    if limit is not None and found.st_size > limit:
        raise InputError(f"{path}: {found.st_size} bytes: expected at most {limit}")
