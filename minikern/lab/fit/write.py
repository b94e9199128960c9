"""A fitted machine as TOML, to be read like any other description."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import tomli_w

from minikern.describe.case import Case
from minikern.host.output import write_file


def spec_toml(spec: Case) -> str:
    """The whole description; what is as by default is left out."""
    return tomli_w.dumps(_without_defaults(spec))


def write_spec(spec: Case, path: Path) -> None:
    """Write the description to ``path``, whole or not at all. InputError: no place for it."""
    write_file(path, spec_toml(spec))


def _without_defaults(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        known = {field.name: field for field in msgspec.structs.fields(value)}
        items = ((name, getattr(value, name)) for name in known)
        return {name: _without_defaults(item) for name, item in items if not _is_default(known[name], item)}
    if isinstance(value, dict):
        return {str(key): _without_defaults(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_defaults(item) for item in value]
    return msgspec.to_builtins(value)


def _is_default(field: msgspec.structs.FieldInfo, value: Any) -> bool:
    if value is None:
        return True
    if field.default_factory is not msgspec.NODEFAULT:
        return bool(value == field.default_factory())
    return bool(field.default is not msgspec.NODEFAULT and value == field.default)
