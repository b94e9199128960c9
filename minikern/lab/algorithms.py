"""Users' own algorithms: the hook points, the decorator that names one, and where functions are found.

A function for a hook point gets ``words``: consecutive struct pages as rows of eight 64-bit words (see
``minikern.mm.page.struct_page``), a C-contiguous numpy array of uint64 whose rows start cache lines. ``flags``
are the node and zone links, ``lru`` the virtual address of the first page's list head; both are numpy uint64. It may be
compiled by numba or be plain Python.
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
from minikern.host.jit import teach_numba

ENTRY_POINTS = "minikern.algorithms"
_MARK = "__minikern_hook__"

Function = TypeVar("Function", bound=Callable[..., Any])


class Hook(NamedTuple):
    """A hook point: its name, its arguments in order, and what a function for it has to do."""

    name: str
    arguments: tuple[str, ...]
    task: str


HOOKS = {
    hook.name: hook
    for hook in (
        Hook(
            "memmap_init_range",
            ("words", "flags", "lru"),
            "Initialise every page: flags, both list pointers to the page's own list head (lru grows by 64 from page to"
            " page), _mapcount -1 and _refcount 1 in word 6, every other word 0.",
        ),
        Hook(
            "deferred_init_range",
            ("words", "flags", "lru", "pfn", "order", "buddy_type"),
            "Initialise and free every page (_refcount 0). Rows that start a whole block of 2**order pages, by pfn"
            " (that of the first row), become heads: word 5 is order, the low half of word 6 is buddy_type.",
        ),
        Hook(
            "free_range",
            ("words", "reserved"),
            "The pages are initialised: clear the flag bits of reserved, and set _refcount (high half of word 6) to 0.",
        ),
        Hook("reserve_range", ("words", "reserved"), "The pages are initialised: set the flag bits of reserved."),
        Hook(
            "prep_compound_tails",
            ("words", "flags", "lru", "head"),
            "Write the tails of a compound page whose head is at virtual address head: as initialised, but word 1 is"
            " head + 1, mapping 0xdead000000000400 and _refcount 0.",
        ),
        Hook(
            "padata_split",
            ("start", "size", "align", "min_chunk", "max_threads"),
            "Return the pieces of [start, start + size) as a list of (start, end) in the order in which threads take"
            " them, cut as padata_do_multithreaded() cuts them.",
        ),
    )
}


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
    found = _from_file(Path(name)) if Path(name).is_file() else _from_entry_point(name)
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
