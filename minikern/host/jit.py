"""The one door to numba: ``jit`` compiles a function without the GIL and keeps the machine code on disk.

Compiled code goes to a private folder of the user. Its name says everything that makes it stale: the function's
bytecode and that of whatever it calls, argument types, the versions of numba, LLVM and Python, and the processor. What
is there is called without numba, which takes longer to start than a small machine to boot; numba is imported when
something has to be compiled. Whoever sets one of numba's own variables gets numba itself. ``NUMBA_CACHE_DIR`` and
``NUMBA_DISABLE_JIT`` are honoured. Without a writable folder the code is compiled anew in every process.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache, cached_property, update_wrapper
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from minikern.host import machine_code
from minikern.host.jit_stamp import NoStampError, stamp_of
from minikern.host.machine_code import Code, type_name
from minikern.host.sealed import seal, unsealed

Function = TypeVar("Function", bound=Callable[..., Any])
_HARMLESS = frozenset({"NUMBA_CACHE_DIR", "NUMBA_DISABLE_JIT", "NUMBA_NUM_THREADS"})
_CONFIG_FILE = Path(".numba_config.yaml")  # numba reads it where it is started


def _disabled() -> bool:
    if _CONFIG_FILE.exists():
        import numba

        config: Any = numba.config
        return bool(config.DISABLE_JIT)
    try:
        return bool(int(os.environ.get("NUMBA_DISABLE_JIT", "0")))
    except ValueError:
        return False


DISABLED: bool = _disabled()
"""True when ``NUMBA_DISABLE_JIT`` asks for plain Python."""


def jit(function: Function) -> Function:
    """``function`` compiled on first use for the argument types it meets, releasing the GIL while it runs.

    Integer overflow wraps; no bounds checks unless ``NUMBA_BOUNDSCHECK=1``. With the JIT off, ``function`` itself.
    """
    if DISABLED:
        return function
    compiled: Any = Compiled(function)
    done: Function = compiled
    return done


def teach_numba() -> None:
    """Let functions that somebody else has compiled by numba call ours."""
    if not DISABLED:
        from minikern.host import jit_numba as jit_numba


class Intrinsic:
    """A function for compiled code that writes LLVM's instructions itself, as ``numba.extending.intrinsic`` has it."""

    def __init__(self, typing: Callable[..., Any]) -> None:
        self.py_func = typing


class Compiled:
    """A function with its machine code, by the types of its arguments. ``py_func`` is the plain function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        update_wrapper(self, function)
        self.py_func: Any = function
        self._ready: dict[tuple[str, ...], Callable[..., Any]] = {}

    def __call__(self, *args: Any) -> Any:
        names = tuple(map(type_name, args))
        ready = self._ready.get(names)
        if ready is None:
            ready = self._ready[names] = self._made(names, args)
        return ready(*args)

    @cached_property
    def dispatcher(self) -> Any:
        """numba's own object for it."""
        from minikern.host.jit_numba import dispatcher_of

        return dispatcher_of(self.py_func)

    def _made(self, names: tuple[str, ...], args: tuple[Any, ...]) -> Callable[..., Any]:
        path = self._path(names) if "" not in names and _direct() else None
        if path is None:
            dispatched: Callable[..., Any] = self.dispatcher
            return dispatched
        code = _stored(path, names)
        if code is None:
            from minikern.host.jit_numba import bare_code

            code = bare_code(self.dispatcher, args, names)
            if code is None:
                return self.dispatcher  # type: ignore[no-any-return]
            with contextlib.suppress(OSError):  # on a full disk or a read-only one it is compiled again
                seal(path, msgspec.msgpack.encode(code))
        return machine_code.load(code)

    def _path(self, names: tuple[str, ...]) -> Path | None:
        folder = os.environ.get("NUMBA_CACHE_DIR") or cache_folder("code")
        if folder is None:
            return None
        try:
            told = repr((_compiler(), machine_code.this_processor(), stamp_of(self.py_func), names))
        except NoStampError:
            return None
        return Path(folder) / f"{self.py_func.__name__}-{hashlib.sha256(told.encode()).hexdigest()[:24]}.code"


def _stored(path: Path, names: tuple[str, ...]) -> Code | None:
    try:
        code = msgspec.msgpack.decode(unsealed(path), type=Code)
    except (OSError, msgspec.MsgspecError):
        return None
    return code if code.arguments == names else None


@cache
def _direct() -> bool:
    own = {name for name, value in os.environ.items() if name.startswith("NUMBA_") and value} - _HARMLESS
    return machine_code.possible() and not own and not _CONFIG_FILE.exists()


@cache
def _compiler() -> str:
    """numba's version without its import, Python's, and the form in which code is kept."""
    numba = find_spec("numba")
    version = Path(numba.origin or "").with_name("_version.py") if numba is not None else Path()
    digest = hashlib.sha256(version.read_bytes() if version.is_file() else b"")
    for module in ("machine_code.py", "jit_numba.py"):
        digest.update(Path(__file__).with_name(module).read_bytes())
    return f"{digest.hexdigest()} {sys.version}"


@cache
def cache_folder(name: str) -> str | None:
    """Folder for machine code that only this user can write, None if there is no such place."""
    full = f"{name}-py{sys.version_info[0]}{sys.version_info[1]}"
    return next((str(folder) for folder in _candidates(full) if _is_private(folder)), None)


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
        if hasattr(os, "getuid") and not (_is_own(folder) and _is_own(folder.parent) and _is_safe_below(folder)):
            return False
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _is_own(place: Path) -> bool:
    # A link that somebody else made leads where they like.
    status = place.stat()
    others_write = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return status.st_uid == place.lstat().st_uid == os.getuid() and not others_write


def _is_safe_below(folder: Path) -> bool:
    # Who owns a folder above, or may rename what is in it, can put another in this one's place.
    for place in folder.resolve().parents:
        status = place.stat()
        renamed_by_all = status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX
        if status.st_uid not in (0, os.getuid()) or renamed_by_all:
            return False
    return True
