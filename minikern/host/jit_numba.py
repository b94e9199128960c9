"""What needs numba itself: compiling, and code that only numba can call."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core import dispatcher as _dispatcher
from numba.core import types
from numba.core.errors import NumbaError
from numba.core.registry import cpu_target
from numba.extending import intrinsic, typeof_impl

from minikern.host.jit import Compiled, Intrinsic, cache_folder
from minikern.host.jit_cache import sealed_cache
from minikern.host.machine_code import Code, is_scalar

_config: Any = numba.config
_internals: Any = _dispatcher
# All that LLVM itself may ask of the C library. Anything else is numba's, and not there without it.
_FOUND_ANYWHERE = frozenset({"memset", "memcpy", "memmove", "bcmp", "memcmp"})


class _BareCompiler(_internals._FunctionCompiler):  # type: ignore[misc] # numba has no types
    """Makes the native function alone: without what lets Python call it, and for arrays that somebody else holds."""

    def _customize_flags(self, flags: Any) -> Any:
        flags.nrt = False
        flags.no_cpython_wrapper = True
        flags.no_cfunc_wrapper = True
        return flags


def dispatcher_of(function: Callable[..., Any]) -> Any:
    """numba's own object for a function, machine code kept on disk where there is a place for it."""
    given = _config.CACHE_DIR
    folder = given or _folder() or ""
    # Where the code of this function is kept is decided while it is decorated; other users of numba keep their setting.
    _config.CACHE_DIR = folder
    try:
        compiled: Any = numba.njit(nogil=True)(function)
        if folder:
            compiled._cache = sealed_cache(function)
    except RuntimeError:  # numba found no place for the cache after all
        compiled = numba.njit(nogil=True)(function)
    finally:
        _config.CACHE_DIR = given
    return compiled


@cache
def _folder() -> str | None:
    # numba notices a change in the file of a function, not in what it calls, so the folder's name says it.
    digest = hashlib.sha256(f"boundscheck={_config.BOUNDSCHECK}".encode())
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        text = path.read_bytes()
        if b"minikern.host.jit" in text:
            digest.update(text)
    return cache_folder(f"numba-{numba.__version__}-{digest.hexdigest()[:12]}")


def bare_code(dispatcher: Any, args: Sequence[Any], names: tuple[str, ...]) -> Code | None:
    """Compile a function for some arguments; None where its code cannot do without numba."""
    ours = dispatcher._compiler
    compiler = _BareCompiler(ours.py_func, cpu_target, ours.targetoptions, {}, ours.pipeline_class)
    try:
        done = compiler.compile(tuple(dispatcher.typeof_pyval(value) for value in args), None)
    except NumbaError:  # it makes arrays, or is wrong: numba itself will say so
        return None
    results = _results(done.signature.return_type)
    if results is None or not _stands_alone(done.library):
        return None
    object_file, _ = done.library.serialize_using_object_code()[2]
    is_tuple = isinstance(done.signature.return_type, types.BaseTuple)
    return Code(done.fndesc.llvm_func_name, names, results, is_tuple, object_file)


def _results(kind: Any) -> tuple[str, ...] | None:
    if kind == types.none:
        return ()
    several: Any = kind if isinstance(kind, types.BaseTuple) else (kind,)
    parts = tuple(map(str, several))
    return parts if parts and all(is_scalar(name) for name in parts) else None


def _stands_alone(library: Any) -> bool:
    from llvmlite.binding import parse_assembly

    module = parse_assembly(library.get_llvm_str())
    asked = {one.name for one in [*module.functions, *module.global_variables] if one.is_declaration}
    return all(name in _FOUND_ANYWHERE or name.startswith("llvm.") for name in asked)


@cache
def _type_of_intrinsic(typing: Callable[..., Any]) -> Any:
    made = intrinsic(typing)
    cpu_target.typing_context.refresh()  # which is how numba comes to know of it
    return cpu_target.typing_context.resolve_value_type(made)


@typeof_impl.register(Compiled)
def _typeof_compiled(value: Compiled, _context: Any) -> Any:
    return types.Dispatcher(value.dispatcher)


@typeof_impl.register(Intrinsic)
def _typeof_intrinsic(value: Intrinsic, _context: Any) -> Any:
    return _type_of_intrinsic(value.py_func)
