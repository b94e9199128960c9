"""A digest of everything that decides what a function compiles to: its bytecode and whatever that refers to.

Names a function looks up are followed: constants by value, functions by their own bytecode, modules by name. So a
change in a helper of another module is seen, and a change of a comment is not.
"""

from __future__ import annotations

import hashlib
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

_PLAIN = (bool, int, float, complex, str, bytes, type(None), np.generic)


class NoStampError(Exception):
    """A function refers to something whose meaning has no digest."""


def stamp_of(function: FunctionType) -> str:
    """The digest, hexadecimal. NoStampError: see there."""
    digest = hashlib.sha256(np.__version__.encode())
    _feed(digest, function, set())
    return digest.hexdigest()


def _feed(digest: Any, value: Any, seen: set[int]) -> None:
    value = getattr(value, "py_func", value)
    if isinstance(value, FunctionType):
        _feed_function(digest, value, seen)
    elif isinstance(value, ModuleType):
        digest.update(f"module {value.__name__};".encode())
    elif isinstance(value, _PLAIN):
        digest.update(f"{type(value).__name__} {value!r};".encode())
    elif isinstance(value, tuple):
        digest.update(f"tuple {len(value)};".encode())
        for one in value:
            _feed(digest, one, seen)
    elif isinstance(value, type) or value is Any:
        digest.update(f"type {getattr(value, '__module__', '')}.{getattr(value, '__qualname__', value)};".encode())
    else:
        raise NoStampError(f"{type(value).__name__}: no digest of it")


def _feed_function(digest: Any, function: FunctionType, seen: set[int]) -> None:
    digest.update(f"function {function.__qualname__};".encode())
    if id(function) in seen:
        return
    seen.add(id(function))
    _feed(digest, function.__defaults__, seen)
    for cell in function.__closure__ or ():
        _feed(digest, cell.cell_contents, seen)
    for name in _feed_code(digest, function.__code__):
        if name in function.__globals__:
            digest.update(f"name {name};".encode())
            _feed(digest, function.__globals__[name], seen)


def _feed_code(digest: Any, code: CodeType) -> list[str]:
    shape = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    digest.update(repr((shape, code.co_code, code.co_names, code.co_varnames, code.co_freevars)).encode())
    names = list(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names += _feed_code(digest, constant)
        else:
            digest.update(f"{type(constant).__name__} {constant!r};".encode())
    return names
