"""numba's cache of machine code with a seal on every file: what is damaged, foreign or half written is a miss.

Cached code is unpickled and executed, so a file counts only if this user owns it, nobody else may write it, and it is
as it was when it was written. Whatever fails, on a full disk or a read-only one, costs a compilation.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba.core.caching import FunctionCache, IndexDataCacheFile

_SEAL_BYTES = hashlib.sha256().digest_size


def sealed_cache(function: Callable[..., Any]) -> Any:
    """The cache of one function. RuntimeError: numba finds no place for it."""
    return _SealedCache(function)


class _SealedCache(FunctionCache):  # type: ignore[misc] # numba has no types
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        locator = self._impl.locator
        self._cache_file = _SealedFile(locator.get_cache_path(), self._impl.filename_base, locator.get_source_stamp())

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        target_context.refresh()
        with contextlib.suppress(Exception):
            return self._load_overload(signature, target_context)
        return None

    def save_overload(self, signature: Any, data: Any) -> None:
        with contextlib.suppress(Exception):
            self._save_overload(signature, data)


class _SealedFile(IndexDataCacheFile):  # type: ignore[misc] # numba has no types
    def _load_index(self) -> dict[Any, str]:
        try:
            version, stamp, overloads = pickle.loads(_unsealed(Path(self._index_path)))
        except Exception:
            return {}
        return dict(overloads) if (version, stamp) == (self._version, self._source_stamp) else {}

    def _save_index(self, overloads: dict[Any, str]) -> None:
        _seal(Path(self._index_path), self._dump((self._version, self._source_stamp, overloads)))

    def _load_data(self, name: str) -> Any:
        return pickle.loads(_unsealed(Path(self._data_path(name))))

    def _save_data(self, name: str, data: Any) -> None:
        _seal(Path(self._data_path(name)), self._dump(data))


def _unsealed(path: Path) -> bytes:
    """What was sealed. OSError: not this user's own, open to others, or not as it was written."""
    number = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(number, "rb") as file:
        status = os.fstat(number)
        others = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if not stat.S_ISREG(status.st_mode) or (hasattr(os, "getuid") and (status.st_uid != os.getuid() or others)):
            raise OSError(f"{path}: others can write it")
        data = file.read()
    if hashlib.sha256(data[_SEAL_BYTES:]).digest() != data[:_SEAL_BYTES]:
        raise OSError(f"{path}: damaged")
    return data[_SEAL_BYTES:]


def _seal(path: Path, data: bytes) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    draft.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(hashlib.sha256(data).digest() + data)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
