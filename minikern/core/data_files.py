"""TOML files that describe kernels and variants: those that come with minikern, and a user's own."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Literal, NamedTuple

from hw.errors import InputError
from hw.files import is_file
from hw.spelling import suggestion
from hw.toml_file import read_bytes
from minikern.core.user_files import is_file_name, refuse_taken, user_files

Kind = Literal["kernels", "variants"]
FOLDERS: Mapping[Kind, str] = {"kernels": "releases", "variants": "variants"}


class Source(NamedTuple):
    """One file: the name it is known by unless it says another, how errors call it, and its bytes."""

    name: str
    where: str
    data: bytes
    own: bool = False  # a user's


def data_files(kind: Kind) -> Iterator[Source]:
    """The files that come with minikern, sorted."""
    folder = FOLDERS[kind]
    for entry in sorted(resources.files("minikern").joinpath(folder).iterdir(), key=lambda item: item.name):
        if entry.name.endswith(".toml"):
            yield Source(entry.name.removesuffix(".toml"), f"{folder}/{entry.name}", entry.read_bytes())


def known_files(kind: Kind) -> dict[str, Source]:
    """Those and what lies in the user's folders, by name."""
    known = {source.name: source for source in data_files(kind)}
    builtin = set(known)
    for path in user_files(kind).values():
        source = read_source(path)
        refuse_taken(path, source.name, builtin)
        known.setdefault(source.name, source)
    return known


def read_source(path: Path) -> Source:
    """A user's file, known by the ``name`` it gives itself or by its own. InputError: it cannot be read."""
    data = read_bytes(path)
    return Source(_declared_name(data) or path.stem, str(path), data, True)


def _declared_name(data: bytes) -> str:
    try:
        name = tomllib.loads(data.decode()).get("name")
    except (UnicodeDecodeError, tomllib.TOMLDecodeError):
        return ""  # whoever decodes the file says what is wrong with it
    return name if isinstance(name, str) else ""


def find_source(text: str, known: Mapping[str, Source], what: str) -> Source:
    """The file called ``text``, by name or path. InputError: there is none; a name that was perhaps meant."""
    if is_file_name(text):
        path = Path(text)
        if not is_file(path):
            raise InputError(f"{text}: no such file: expected the name of a {what}, or a TOML file")
        source = read_source(path)
        refuse_taken(path, source.name, [name for name, other in known.items() if not other.own])
        return source
    if text not in known:
        raise InputError(f"unknown {what} {text!r:.80}: {suggestion(text, known)} (minikern {what} list)")
    return known[text]


def beside(source: Source, name: str) -> Source | None:
    """The user's file ``name``.toml in the folder of ``source``, which may extend it; None if there is none."""
    path = Path(source.where).parent / f"{name}.toml"
    return read_source(path) if source.own and is_file(path) else None
