"""TOML files read into typed structures, with errors that name file, key path and what was expected."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TypeVar

import msgspec

from hw.errors import InputError

T = TypeVar("T")
MAX_BYTES = 16 << 20


def decode_file(path: Path, kind: type[T]) -> T:
    """Read ``path`` as ``kind``. InputError: unreadable, not TOML, or not of that shape."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise InputError(f"{path}: {len(data)} bytes: a description has at most {MAX_BYTES}")
    return decode_toml(data, kind, str(path))


def decode_toml(data: bytes, kind: type[T], where: str) -> T:
    """Decode TOML bytes as ``kind``; InputError names ``where``, the key path and what was expected."""
    try:
        return msgspec.convert(tomllib.loads(data.decode()), kind)
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: not UTF-8 text at byte {error.start}") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{where}: not TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise InputError(f"{where}: {error}") from error
