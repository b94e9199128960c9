"""Kernel releases: one build each, with its Kconfig values, behaviours and sizes.

A file says only what differs: from the release it ``extends``, from the common values of ``base.toml``, and from what
follows from its version.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from hw.errors import InputError
from hw.spelling import check_names
from hw.toml_file import convert, decode_toml
from minikern.core.behaviour import Behaviour
from minikern.core.config import ConfigValue
from minikern.core.data_files import data_files
from minikern.core.forks import behaviour_at, changed
from minikern.core.image import ImageSizes, with_layout
from minikern.core.kernel_facts import KernelFacts
from minikern.core.version import kernel_release, series

GENERIC = "-generic (minikern) (gcc, GNU ld) #1 SMP"  # ends the banner of a kernel that has none of its own
BASE = "base"  # the file of what most kernels have in common; no release of its own


class Release(msgspec.Struct, frozen=True):
    """One kernel build: banner, Kconfig values, behaviours, image sizes."""

    name: str
    title: str
    version: str
    banner: str
    match: str  # regular expression over the release word of a "Linux version" line; empty: fits none
    config: dict[str, ConfigValue]
    behaviour: Behaviour
    changes: Mapping[str, Any]  # of these behaviours, those that do not follow from the version
    image: ImageSizes
    parameters: str = ""  # whose list of parameters it is, in parameters.txt; empty: all that is listed
    facts: KernelFacts = msgspec.field(default_factory=KernelFacts)  # what a log told of it


class ReleaseFile(msgspec.Struct, forbid_unknown_fields=True):
    """What a release file says; ``behaviour`` only where the build differs from its version."""

    name: str = ""
    title: str = ""
    version: str = ""
    extends: str = ""
    banner: str = ""
    match: str = ""
    parameters: str = ""
    config: dict[str, ConfigValue] = {}
    behaviour: dict[str, Any] = {}
    image: dict[str, int | str] = {}

    def over(self, parent: ReleaseFile) -> ReleaseFile:
        """This file with what it leaves open taken from ``parent``.

        Behaviours go with the series: what a distribution took into its 6.12 says nothing of a 6.13.
        """
        version = self.version or parent.version
        same = series(version) == series(parent.version)
        return msgspec.structs.replace(
            self,
            version=version,
            parameters=self.parameters or parent.parameters,
            config={**parent.config, **self.config},
            behaviour={**(parent.behaviour if same else {}), **self.behaviour},
            image=with_layout(parent.image, self.image),
        )

    def release(self, where: str) -> Release:
        """The finished release. InputError: a version, behaviour or size that does not exist."""
        check_names(where, "behaviour", self.behaviour, Behaviour.__struct_fields__)
        check_names(where, "size of an image", self.image, ImageSizes.__struct_fields__)
        try:
            behaviour = changed(behaviour_at(self.version), self.behaviour)
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        return Release(
            name=self.name,
            title=self.title or f"Linux {self.version}",
            version=self.version,
            banner=self.banner or f"Linux version {kernel_release(self.version)}{GENERIC}",
            match=self.match,
            config=self.config,
            behaviour=behaviour,
            changes=self.behaviour,
            image=convert(self.image, ImageSizes, f"{where}: image"),
            parameters=self.parameters,
        )


def _read(name: str, data: bytes, where: str) -> ReleaseFile:
    file = decode_toml(data, ReleaseFile, where)
    file.name = file.name or name
    return file


def _files() -> dict[str, ReleaseFile]:
    return {name: _read(name, data, f"releases/{name}.toml") for name, data in data_files("releases")}


def resolved(file: ReleaseFile, known: Callable[[str], ReleaseFile], seen: tuple[str, ...] = ()) -> ReleaseFile:
    """``file`` over all that it extends. InputError when that is unknown, or the file itself."""
    if file.name in seen:
        raise InputError(f"kernel release {file.name!r} extends itself through {' -> '.join(seen)}")
    if file.name == BASE:
        return file.over(ReleaseFile())
    parent = resolved(known(file.extends or BASE), known, (*seen, file.name))
    return file.over(parent)


def release_names() -> list[str]:
    """Names of the releases that come with minikern, sorted."""
    return [name for name, _ in data_files("releases") if name != BASE]


def load_release(name: str) -> Release:
    """The release called ``name``; InputError lists the known ones."""
    files = _files()
    if name not in files or name == BASE:
        raise InputError(f"unknown kernel release {name!r}: expected one of {', '.join(release_names())}")
    return resolved(files[name], files.__getitem__).release(f"releases/{name}.toml")


def release_for_version(version_line: str) -> str | None:
    """Name of the release file whose pattern fits a ``Linux version`` line, None if none does."""
    found = re.search(r"Linux version (\S+)", version_line)
    word = found.group(1) if found else version_line.strip()
    best: tuple[int, str] | None = None
    for name, file in _files().items():
        match = re.match(file.match, word) if file.match else None
        if match and (best is None or match.end() > best[0]):
            best = (match.end(), name)  # the pattern that says most about the word
    return best[1] if best else None
