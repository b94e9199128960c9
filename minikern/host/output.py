"""The one place that writes files: whole or not at all, and never over anything that is no regular file.

A regular file, or a name that is free, is written beside its place and renamed into it. The streams the program was
started with (``/dev/stdout``, ``/dev/fd/N``), pipes, sockets, terminals and the null devices are written straight. All
else is refused, each with a reason: a folder, a link to a device or to nothing, a disk, the file that already receives
the program's own output.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import socket
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from hw.errors import InputError
from minikern.host.ending import undone_at_end

_STREAMS = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
_DESCRIPTOR = re.compile(r"/(?:dev|proc/(?:self|thread-self))/fd/([0-9]{1,9})")
_SINKS = {(1, 3), (1, 5), (1, 7)}  # null, zero, full; Source: Documentation/admin-guide/devices.txt
_READER_SECONDS = 5.0  # how long a FIFO may stay without a reader
_KINDS = (
    (stat.S_ISDIR, "a folder"), (stat.S_ISBLK, "a disk"), (stat.S_ISCHR, "a device that is neither terminal nor null"),
    (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"),
)  # fmt: skip


def write_file(path: Path, data: bytes | str) -> None:
    """Write ``data`` to ``path``, whole or not at all. InputError says why not; the old one then stays."""
    with output_file(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


@contextlib.contextmanager
def output_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write that is in its place once the block has ended well. InputError as ``write_file``."""
    with _refused(path):
        target = _checked(path)
        if isinstance(target, Path):
            with _replaced(target) as file:
                yield file
        else:
            with os.fdopen(_opened(path, target), "wb") as file:
                yield file


def check_place(path: Path) -> None:
    """InputError if ``path`` cannot be written to; asked before hours of work, not after them."""
    with _refused(path):
        _checked(path)


class Folder:
    """A folder of the program's own, in which it makes files."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, data: bytes | str) -> Path:
        """Make the file ``name``, its folders too."""
        place = self.path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data.encode() if isinstance(data, str) else data)
        return place

    def make(self, name: str) -> Path:
        """Make the folder ``name``."""
        place = self.path / name
        place.mkdir(parents=True, exist_ok=True)
        return place


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A fresh folder to fill that becomes ``path`` when all went well.

    InputError if ``path`` is there already and not empty, or cannot be made.
    """
    with _refused(path):
        place = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow a link
        if place.is_symlink() or place.exists():
            if place.is_symlink() or not place.is_dir() or any(place.iterdir()):
                raise InputError(f"{path}: already there and not empty: name a new folder")
            if place == Path.cwd():
                raise InputError(f"{path or '.'}: the current folder cannot be replaced: name a new folder")
        draft = place.with_name(_draft_name())
        made = [folder for folder in place.parents if not folder.exists()]
        with undone_at_end(lambda: _remove(draft, made)):
            draft.mkdir(parents=True)
            yield draft
            if place.is_dir():
                place.rmdir()
            draft.rename(place)


def remove_folder(path: Path) -> None:
    """Take away a folder that the program made, with what is in it; what cannot be removed stays."""
    if not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def scratch_folder() -> Iterator[Folder]:
    """A folder that is gone afterwards, also when a signal ends the program."""
    path = Path(tempfile.mkdtemp(prefix="minikern-"))
    with undone_at_end(lambda: shutil.rmtree(path, ignore_errors=True)):
        yield Folder(path)


def _remove(draft: Path, made: list[Path]) -> None:
    if not draft.exists():
        return
    shutil.rmtree(draft, ignore_errors=True)
    for folder in made:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _draft_name() -> str:
    return f".minikern-{secrets.token_hex(6)}"


def _checked(path: Path) -> Path | int | os.stat_result:
    """Where the output goes: the path to rename over, the descriptor to copy, or what is to be opened straight."""
    text = os.path.abspath(path)  # noqa: PTH100 - resolve() would follow /dev/stdout to what it is now
    if "\0" in text:
        raise InputError(f"{text!r:.80}: no name of a file")
    if text in _STREAMS:
        return _writable(path, _STREAMS[text])
    if match := _DESCRIPTOR.fullmatch(text):
        return _writable(path, int(match.group(1)))
    place = Path(text)
    try:
        found = place.lstat()
    except FileNotFoundError:
        _check_parent(path, place)
        return place
    if stat.S_ISLNK(found.st_mode):
        place, found = _behind_link(path, place)
    if stat.S_ISREG(found.st_mode):
        _check_own_streams(path, found)
        _check_parent(path, place)
        if not os.access(place, os.W_OK):
            raise InputError(f"{path}: may not be written: expected another file")
        return place
    straight = stat.S_ISFIFO(found.st_mode) or stat.S_ISSOCK(found.st_mode)
    device = stat.S_ISCHR(found.st_mode) and _harmless(place, found)
    if straight or device:
        return found
    raise InputError(f"{path}: {_kind(found)}: expected the name of a file")


def _writable(path: Path, number: int) -> int:
    # The program was started with it: what it reads from is no place to write to, whatever the system allows.
    if number == 0:
        raise InputError(f"{path}: standard input: expected the name of a file")
    if os.name == "posix":
        import fcntl

        if fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise InputError(f"{path}: is read from: expected the name of a file")
    return number


def _behind_link(path: Path, place: Path) -> tuple[Path, os.stat_result]:
    try:
        behind = Path(os.path.realpath(place, strict=True))
        found = behind.lstat()
        seen = place.stat()
    except FileNotFoundError:
        raise InputError(f"{path}: a link to nothing: expected the name of a file") from None
    if not stat.S_ISREG(seen.st_mode) or not os.path.samestat(seen, found):
        raise InputError(f"{path}: a link to {_kind(seen)}: expected the name of a file")
    return behind, found


def _check_parent(path: Path, place: Path) -> None:
    parent = place.parent
    if not parent.is_dir():
        raise InputError(f"{path}: cannot be written: {parent} is no folder")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"{path}: cannot be written: no files can be made in {parent}")


def _check_own_streams(path: Path, found: os.stat_result) -> None:
    for number, name in ((1, "standard output"), (2, "standard error")):
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(number), found):
                raise InputError(f"{path}: {name} goes there already: expected another file")


def _harmless(place: Path, found: os.stat_result) -> bool:
    # Of devices only those that keep nothing: a disk's or the memory's would be damaged.
    if (os.major(found.st_rdev), os.minor(found.st_rdev)) in _SINKS:
        return True
    with contextlib.suppress(OSError):
        number = os.open(place, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            return os.isatty(number)
        finally:
            os.close(number)
    return False


def _kind(found: os.stat_result) -> str:
    return next((name for test, name in _KINDS if test(found.st_mode)), "no regular file")


def _opened(path: Path, target: int | os.stat_result) -> int:
    if isinstance(target, int):
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        return os.dup(target)
    if stat.S_ISSOCK(target.st_mode):
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(os.fspath(path))
            return caller.detach()
    number = _with_reader(path) if stat.S_ISFIFO(target.st_mode) else os.open(path, os.O_WRONLY | os.O_NOCTTY)
    if not os.path.samestat(os.fstat(number), target):
        os.close(number)
        raise InputError(f"{path}: replaced by something else meanwhile")
    return number


def _with_reader(path: Path) -> int:
    # Opening a FIFO waits for its reader, for ever if need be.
    until = time.monotonic() + _READER_SECONDS
    while True:
        try:
            number = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            if time.monotonic() > until:
                raise InputError(f"{path}: a pipe that nobody reads") from None
            time.sleep(0.02)
        else:
            os.set_blocking(number, True)
            return number


@contextlib.contextmanager
def _replaced(place: Path) -> Iterator[BinaryIO]:
    draft = place.with_name(_draft_name())
    with undone_at_end(lambda: draft.unlink(missing_ok=True)):
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
            yield file
        with contextlib.suppress(FileNotFoundError):
            before = place.lstat()
            if not stat.S_ISREG(before.st_mode):
                raise InputError(f"{place}: {_kind(before)} by now: expected the name of a file")
            draft.chmod(stat.S_IMODE(before.st_mode))
        draft.replace(place)


@contextlib.contextmanager
def _refused(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOMEM:
            raise MemoryError from error
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error
