"""Users' own algorithms: the decorator that names a hook point, and where functions are found.

What a function of a hook point gets is said by its kind (``minikern.lab.kinds``). For struct pages that is ``words``:
consecutive struct pages as rows of eight 64-bit words (see ``minikern.mm.page.struct_page``), a C-contiguous array of
numpy uint64 whose rows start cache lines. ``flags`` are the node and zone links, ``lru`` the virtual address of the
first page's list head; both are numpy uint64. A function may be compiled by numba or be plain Python.
"""

from __future__ import annotations

import importlib.util
import inspect
import linecache
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from hw.errors import InputError
from hw.files import is_file
from minikern.host.jit import teach_numba
from minikern.lab.kinds.kind import Hook
from minikern.lab.kinds.registry import HOOKS

ENTRY_POINTS = "minikern.algorithms"
_MARK = "__minikern_hook__"

Function = TypeVar("Function", bound=Callable[..., Any])


def algorithm(hook: str) -> Callable[[Function], Function]:
    """Decorator: the function is for this hook point. InputError for an unknown one.

    Put it above numba's: ``@minikern.algorithm("memmap_init_range")`` over ``@numba.njit``.
    """
    if hook not in HOOKS:
        raise InputError(f"unknown hook point {hook!r}: expected one of {', '.join(HOOKS)}")

    def mark(function: Function) -> Function:
        setattr(function, _MARK, hook)
        return function

    return mark


class Found(NamedTuple):
    """A user's function, and the hook point it is for."""

    name: str
    hook: Hook
    function: Callable[..., Any]

    @property
    def compiled(self) -> bool:
        """True if numba compiles it."""
        return hasattr(self.function, "py_func")


def load_algorithms(name: str) -> list[Found]:
    """The functions of a Python file, or of an entry point of the group ``minikern.algorithms``.

    InputError when there is no such thing, when it fails to load, or when a function has the wrong arguments.
    """
    found = _from_file(Path(name)) if is_file(name) else _from_entry_point(name)
    for item in found:
        _check_arguments(item)
    return found


def _from_file(path: Path) -> list[Found]:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path}: expected a Python file (.py)")
    module = importlib.util.module_from_spec(spec)
    teach_numba()
    linecache.checkcache(str(path))
    try:
        spec.loader.exec_module(module)
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        raise InputError(f"{path}: {_where(error, path)}{type(error).__name__}: {error}") from error
    found = [_named(key, value) for key, value in vars(module).items() if isinstance(_hook_of(value), str)]
    if not found:
        raise InputError(f'{path}: no function under @minikern.algorithm("..."), expected at least one')
    return found


def _hook_of(value: Any) -> Any:
    # Compiled functions of other libraries may answer to any attribute name.
    return getattr(value, _MARK, None) if callable(value) else None


def _where(error: BaseException, path: Path) -> str:
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: "
    lines = [frame.lineno for frame in inspect.getinnerframes(error.__traceback__) if frame.filename == str(path)] \
        if error.__traceback__ else []  # fmt: skip
    return f"line {lines[-1]}: " if lines else ""


def _from_entry_point(name: str) -> list[Found]:
    points = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if name not in points:
        known = f", installed are {', '.join(sorted(points))}" if points else ""
        raise InputError(f"{name}: no such file, and no entry point of {ENTRY_POINTS} has that name{known}")
    try:
        function = points[name].load()
    except (Exception, SystemExit) as error:
        raise InputError(f"entry point {name}: {type(error).__name__}: {error}") from error
    if not isinstance(_hook_of(function), str):
        raise InputError(f"entry point {name}: expected a function under @minikern.algorithm")
    return [_named(name, function)]


def _named(name: str, function: Any) -> Found:
    return Found(name, HOOKS[_hook_of(function)], function)


def _check_arguments(found: Found) -> None:
    plain = getattr(found.function, "py_func", found.function)
    try:
        inspect.signature(plain).bind(*found.hook.arguments)
    except TypeError as error:
        expected = ", ".join(found.hook.arguments)
        raise InputError(f"{found.name}: {error}: {found.hook.name} is called with ({expected})") from error
    except ValueError:
        return  # a builtin without a signature: it will show when it is called
