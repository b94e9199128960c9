"""The one door to numba: ``jit`` compiles a function without the GIL and keeps the machine code on disk.

Compiled code goes to a private folder of the user, named after everything that makes it stale: numba's and Python's
version, the bounds-check setting and the text of the modules that hold compiled functions (numba itself only notices a
change in the very file of the function, not in what it calls). ``NUMBA_CACHE_DIR`` and ``NUMBA_DISABLE_JIT`` are
honoured. Without a writable folder the code is compiled anew in every process.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba

from minikern.host.jit_cache import sealed_cache

_config: Any = numba.config

Function = TypeVar("Function", bound=Callable[..., Any])

DISABLED: bool = bool(_config.DISABLE_JIT)
"""True when ``NUMBA_DISABLE_JIT`` asks for plain Python."""


def jit(function: Function) -> Function:
    """``function`` compiled on first use for the argument types it meets, releasing the GIL while it runs.

    Integer overflow wraps; no bounds checks unless ``NUMBA_BOUNDSCHECK=1``. With the JIT off, ``function`` itself.
    """
    if DISABLED:
        return function
    folder = cache_folder()
    given = _config.CACHE_DIR
    # Where the code of this function is kept is decided while it is decorated; other users of numba keep their setting.
    _config.CACHE_DIR = given or folder or ""
    try:
        compiled = _compile(function, bool(given or folder))
    except RuntimeError:  # numba found no place for the cache after all
        compiled = _compile(function, False)
    finally:
        _config.CACHE_DIR = given
    return compiled


def _compile(function: Function, cached: bool) -> Function:
    decorate: Any = numba.njit(nogil=True)
    compiled: Any = decorate(function)
    if cached:
        compiled._cache = sealed_cache(function)
    done: Function = compiled
    return done


@cache
def cache_folder() -> str | None:
    """Folder for machine code that only this user can write, None if there is no such place."""
    name = f"numba-{numba.__version__}-py{sys.version_info[0]}{sys.version_info[1]}-{_fingerprint()}"
    return next((str(folder) for folder in _candidates(name) if _is_private(folder)), None)


def _candidates(name: str) -> Iterator[Path]:
    base = os.environ.get("XDG_CACHE_HOME", "")
    if base and Path(base).is_absolute():
        yield Path(base) / "minikern" / name
    else:
        home = os.path.expanduser("~")  # noqa: PTH111 - Path.home() raises where this gives the name back
        if Path(home).is_absolute():
            yield Path(home) / ".cache" / "minikern" / name
    uid = os.getuid() if hasattr(os, "getuid") else "user"
    yield Path(tempfile.gettempdir()) / f"minikern-{uid}" / name


def _is_private(folder: Path) -> bool:
    # Cached code is executed when it is loaded, so a folder that somebody else could have filled is no good.
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for place in (folder, folder.parent):
            status = place.stat()
            others_write = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
            if hasattr(os, "getuid") and (status.st_uid != os.getuid() or others_write):
                return False
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _fingerprint() -> str:
    digest = hashlib.sha256(f"boundscheck={_config.BOUNDSCHECK}".encode())
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        text = path.read_bytes()
        if b"minikern.host.jit" in text or path.name == "jit.py":
            digest.update(text)
    return digest.hexdigest()[:12]
