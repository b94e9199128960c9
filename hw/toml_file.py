"""TOML files read into typed structures, with errors that name file, key path and what was expected."""

from __future__ import annotations

import re
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from hw.errors import InputError
from hw.files import read_input
from hw.numbers import check_number
from hw.spelling import unknown

T = TypeVar("T")
MAX_BYTES = 16 << 20
MAX_KEY_PARTS = 64  # far more than any table has; tomllib takes memory by their square
_DEEP_KEY = re.compile(
    rf"""(?<![\w"'-])(?:(?:[\w-]++|"[^"\n]{{0,99}}"|'[^'\n]{{0,99}}')[ \t]*+\.[ \t]*+){{{MAX_KEY_PARTS}}}"""
)


def decode_file(path: Path, kind: type[T]) -> T:
    """Read ``path`` as ``kind``. InputError: unreadable, not TOML, or not of that shape."""
    return decode_toml(read_bytes(path), kind, str(path))


def read_bytes(path: Path) -> bytes:
    """A description's bytes. InputError: unreadable, or too many for one."""
    return read_input(path, MAX_BYTES)


def decode_toml(data: bytes, kind: type[T], where: str) -> T:
    """Decode TOML bytes as ``kind``; InputError names ``where``, the key path and what was expected."""
    try:
        text = data.decode()
        if _DEEP_KEY.search(text):
            raise InputError(f"{where}: a key of more than {MAX_KEY_PARTS} parts: expected a description")
        tree = tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: not UTF-8 text at byte {error.start}") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{where}: not TOML: {error}") from error
    except RecursionError:
        raise InputError(f"{where}: tables and lists nested too deeply: expected a description") from None
    except ValueError as error:  # more digits than Python turns into a number
        raise InputError(f"{where}: a number too long to be one: expected at most 19 digits") from error
    return convert(tree, kind, where)


def convert(tree: object, kind: type[T], where: str) -> T:
    """``tree`` as ``kind``. InputError names the key path of a key nobody knows, and the one that was perhaps meant."""
    _check_numbers(tree, where, "")
    try:
        return msgspec.convert(tree, kind)
    except msgspec.ValidationError as error:
        of: Any = kind
        _check_words(tree, _type_info(of), where, "")
        raise InputError(f"{where}: {error}") from error


@lru_cache(maxsize=64)
def _type_info(kind: Any) -> msgspec.inspect.Type:
    return msgspec.inspect.type_info(kind)


def _check_numbers(tree: object, where: str, path: str) -> None:
    if isinstance(tree, dict):
        for key, value in tree.items():
            if not isinstance(value, str):  # most are, and need no path
                _check_numbers(value, where, f"{path}.{key}".lstrip("."))
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            if not isinstance(value, str):
                _check_numbers(value, where, f"{path}[{index}]")
    elif not isinstance(tree, bool):
        check_number(tree, f"{where}: {path}")


def _check_words(tree: object, kind: msgspec.inspect.Type, where: str, path: str) -> None:
    """InputError for the first key that its table does not have, or word that is none of the few it may be."""
    if isinstance(kind, msgspec.inspect.Metadata):
        _check_words(tree, kind.type, where, path)
    elif isinstance(kind, msgspec.inspect.UnionType):
        for choice in kind.types:
            _check_words(tree, choice, where, path)
    elif isinstance(kind, msgspec.inspect.LiteralType):
        if isinstance(tree, str) and tree not in kind.values:
            raise unknown(where, f"value of {path}", tree, map(str, kind.values))
    elif isinstance(kind, msgspec.inspect.StructType) and isinstance(tree, dict):
        fields = {field.encode_name: field.type for field in kind.fields}
        for key, value in tree.items():
            if key not in fields and kind.forbid_unknown_fields:
                raise unknown(where, f"key of [{path}]" if path else "key", key, fields)
            if key in fields:
                _check_words(value, fields[key], where, f"{path}.{key}".lstrip("."))
    elif isinstance(kind, msgspec.inspect.ListType) and isinstance(tree, list):
        for index, value in enumerate(tree):
            _check_words(value, kind.item_type, where, f"{path}[{index}]")
    elif isinstance(kind, msgspec.inspect.DictType) and isinstance(tree, dict):
        for key, value in tree.items():
            _check_words(value, kind.value_type, where, f"{path}.{key}".lstrip("."))
