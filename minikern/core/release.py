"""Kernel releases: one build each, with its Kconfig values, behaviours and sizes."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from hw.errors import InputError
from hw.spec import KernelFacts
from minikern.core.behaviour import Behaviour
from minikern.core.config import ConfigValue
from minikern.core.data_files import data_files
from minikern.core.forks import behaviour_at, changed
from minikern.core.image import ImageSizes


class Release(msgspec.Struct, frozen=True):
    """One kernel build: banner, Kconfig values, behaviours, image sizes."""

    name: str
    title: str
    version: str
    banner: str
    match: str  # regular expression over the release word of a "Linux version" line
    config: dict[str, ConfigValue]
    behaviour: Behaviour
    image: ImageSizes
    parameters: str = ""  # whose list of parameters it is, in parameters.txt; empty: all that is listed
    facts: KernelFacts = msgspec.field(default_factory=KernelFacts)  # what a log told of it


class ReleaseFile(msgspec.Struct, forbid_unknown_fields=True):
    """What a release file says: behaviours only where the build differs from its version."""

    name: str
    title: str
    version: str
    banner: str
    match: str
    config: dict[str, ConfigValue]
    image: ImageSizes
    behaviour: dict[str, Any] = {}
    parameters: str = ""

    def release(self) -> Release:
        """The release with its behaviours. InputError: a version or behaviour that does not exist."""
        return Release(
            name=self.name,
            title=self.title,
            version=self.version,
            banner=self.banner,
            match=self.match,
            config=self.config,
            behaviour=changed(behaviour_at(self.version), self.behaviour),
            image=self.image,
            parameters=self.parameters,
        )


def release_names() -> list[str]:
    """Names of the releases that come with minikern, sorted."""
    return [name for name, _ in data_files("releases")]


def load_release(name: str) -> Release:
    """The release called ``name``; InputError lists the known ones."""
    for known, data in data_files("releases"):
        if known == name:
            return msgspec.toml.decode(data, type=ReleaseFile).release()
    raise InputError(f"unknown kernel release {name!r}: expected one of {', '.join(release_names())}")


def release_for_version(version_line: str) -> str | None:
    """Name of the release file whose pattern fits a ``Linux version`` line, None if none does."""
    found = re.search(r"Linux version (\S+)", version_line)
    word = found.group(1) if found else version_line.strip()
    best: tuple[int, str] | None = None
    for name, data in data_files("releases"):
        match = re.match(msgspec.toml.decode(data, type=ReleaseFile).match, word)
        if match and (best is None or match.end() > best[0]):
            best = (match.end(), name)  # the pattern that says most about the word
    return best[1] if best else None
