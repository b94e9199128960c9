"""A user's own kernels, variants and machines: where they are looked for.

``MINIKERN_PATH`` names folders, as PATH does; after them comes ``~/.config/minikern`` (or what XDG_CONFIG_HOME says).
Each may hold ``kernels/``, ``variants/`` and ``machines/`` with TOML files in them, known by the files' names.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Literal

from hw.errors import InputError

Kind = Literal["kernels", "variants", "machines"]


def user_folders() -> list[Path]:
    """The folders that are looked into, first match wins. InputError: MINIKERN_PATH names one that is not there."""
    given = [Path(text) for text in os.environ.get("MINIKERN_PATH", "").split(os.pathsep) if text]
    for path in given:
        if not path.is_dir():
            raise InputError(f"MINIKERN_PATH: {path} is no folder")
    config = Path(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"))  # noqa: PTH111 - Path's raises
    return [*given, config / "minikern"] if config.is_absolute() else given  # Source: XDG Base Directory Specification


def user_files(kind: Kind, taken: Collection[str] = ()) -> dict[str, Path]:
    """The user's files of one kind by name. InputError: one has the name of something that comes with minikern."""
    found: dict[str, Path] = {}
    for folder in user_folders():
        for path in sorted((folder / kind).glob("*.toml")):
            refuse_taken(path, path.stem, taken)
            found.setdefault(path.stem, path)
    return found


def refuse_taken(path: Path, name: str, taken: Collection[str]) -> None:
    """InputError when ``name`` already means something else."""
    if name in taken:
        raise InputError(f"{path}: {name!r} comes with minikern: expected another name")


def is_file_name(text: str) -> bool:
    """True for what means a file, not a name: it ends in .toml or has a folder in it."""
    return text.endswith(".toml") or "/" in text
