"""numba's cache of machine code with a seal on every file: what is damaged, foreign or half written is a miss.

Cached code is unpickled and executed, so a file counts only if this user owns it, nobody else may write it, and it is
as it was when it was written. Whatever fails, on a full disk or a read-only one, costs a compilation.
"""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba.core.caching import FunctionCache, IndexDataCacheFile

from minikern.host.sealed import seal, unsealed


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
            version, stamp, overloads = pickle.loads(unsealed(Path(self._index_path)))
        except Exception:
            return {}
        return dict(overloads) if (version, stamp) == (self._version, self._source_stamp) else {}

    def _save_index(self, overloads: dict[Any, str]) -> None:
        seal(Path(self._index_path), self._dump((self._version, self._source_stamp, overloads)))

    def _load_data(self, name: str) -> Any:
        return pickle.loads(unsealed(Path(self._data_path(name))))

    def _save_data(self, name: str, data: Any) -> None:
        seal(Path(self._data_path(name)), self._dump(data))
