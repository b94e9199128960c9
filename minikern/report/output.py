"""Files written whole or not at all."""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from hw.errors import InputError


def write_file(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` make a file beside ``path``, then put it in place in one step.

    InputError if the place cannot be written; what was there before then stays.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}{path.suffix}")
    with _refused(path):
        try:
            write(draft)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A fresh folder to fill that becomes ``path`` when all went well.

    InputError if ``path`` is there already and not empty, or cannot be made.
    """
    with _refused(path):
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise InputError(f"{path}: already there and not empty: name a new folder")
        draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        draft.mkdir(parents=True)
        try:
            yield draft
            if path.is_dir():
                path.rmdir()
            draft.rename(path)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


@contextlib.contextmanager
def _refused(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error
