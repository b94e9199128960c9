"""Files with a seal, for code that is executed when it is loaded: what is damaged, foreign or half written is none.

A file counts only if this user owns it, nobody else may write it, and it is as it was when it was written, under the
name it had then.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

_SEAL_BYTES = hashlib.sha256().digest_size


def unsealed(path: Path) -> bytes:
    """What was sealed. OSError: not this user's own, open to others, or not as it was written."""
    number = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(number, "rb") as file:
        status = os.fstat(number)
        others = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if not stat.S_ISREG(status.st_mode) or (hasattr(os, "getuid") and (status.st_uid != os.getuid() or others)):
            raise OSError(f"{path}: others can write it")
        data = file.read()
    if _seal_of(path, data[_SEAL_BYTES:]) != data[:_SEAL_BYTES]:
        raise OSError(f"{path}: damaged")
    return data[_SEAL_BYTES:]


def seal(path: Path, data: bytes) -> None:
    """Write a sealed file, whole or not at all. OSError: there is no room or no right to."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    draft.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(_seal_of(path, data) + data)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _seal_of(path: Path, data: bytes) -> bytes:
    return hashlib.sha256(os.fsencode(path.name) + b"\0" + data).digest()
