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
from hw.spelling import check_names, unknown
from hw.toml_file import convert, decode_toml
from minikern.core.behaviour import Behaviour
from minikern.core.config import ConfigValue, check_config
from minikern.core.data_files import Source, beside, data_files, find_source, known_files
from minikern.core.forks import behaviour_at, changed
from minikern.core.image import ImageSizes, with_layout
from minikern.core.kernel_facts import KernelFacts
from minikern.core.parameters import listed_builds
from minikern.core.version import banner_version, kernel_release, series

GENERIC = "-generic (minikern) (gcc, GNU ld) #1 SMP"  # ends the banner of a kernel that has none of its own
BASE = "base"  # the file of what most kernels have in common
PART = re.compile(r"base(-.*)?")  # names of files that are only there to be extended, no release of their own


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


def read_release(source: Source) -> ReleaseFile:
    """What one file says. InputError names file and key of what does not exist."""
    file = decode_toml(source.data, ReleaseFile, source.where)
    file.name = source.name
    check_config(f"{source.where}: config", file.config)
    check_names(f"{source.where}: behaviour", "behaviour", file.behaviour, Behaviour.__struct_fields__)
    if file.parameters:
        check_names(f"{source.where}: parameters", "list of parameters", [file.parameters], listed_builds())
    try:
        re.compile(file.match)
    except re.error as error:
        raise InputError(f"{source.where}: match: not a regular expression: {error}") from error
    check_names(f"{source.where}: image", "size of an image", file.image, ImageSizes.__struct_fields__)
    return file


def resolve(source: Source, find: Callable[[Source, str], Source], seen: tuple[str, ...] = ()) -> ReleaseFile:
    """A file over all that it extends. InputError when that is unknown, or the file itself."""
    file = read_release(source)
    if source.name in seen:
        raise InputError(f"{source.where}: kernel {source.name!r} extends itself through {' -> '.join(seen)}")
    if source.name == BASE:
        return file.over(ReleaseFile())
    return file.over(resolve(find(source, file.extends or BASE), find, (*seen, source.name)))


def release_names() -> list[str]:
    """Names of the releases that come with minikern, sorted."""
    return [source.name for source in data_files("kernels") if not PART.fullmatch(source.name)]


def own_release_names() -> list[str]:
    """Names of the releases in the user's folders."""
    return [source.name for source in known_files("kernels").values() if source.own]


def load_release(text: str) -> Release:
    """The release called ``text``, or the one a TOML file describes. InputError: there is none, or it is wrong."""
    known = known_files("kernels")
    named = {name: source for name, source in known.items() if not PART.fullmatch(name)}
    source = find_source(text, named, "kernel")

    def find(file: Source, name: str) -> Source:
        found = known.get(name) or beside(file, name)
        if found is None:
            raise unknown(f"{file.where}: extends", "kernel", name, named)
        return found

    return resolve(source, find).release(source.where)


def at_version(release: Release, banner: str) -> Release:
    """``release`` with the behaviour of the version that a ``Linux version`` line tells.

    What the file says of its own version beyond what follows from it is kept within its series.
    """
    version = banner_version(banner)
    changes = release.changes if series(version) == series(release.version) else {}
    return msgspec.structs.replace(
        release, version=version, banner=banner, behaviour=changed(behaviour_at(version), changes), changes=changes
    )


def release_for_version(version_line: str) -> str | None:
    """Name of the release file whose pattern fits a ``Linux version`` line, None if none does."""
    found = re.search(r"Linux version (\S+)", version_line)
    word = found.group(1) if found else version_line.strip()
    best: tuple[int, str] | None = None
    for source in known_files("kernels").values():
        pattern = read_release(source).match
        match = re.match(pattern, word) if pattern else None
        if match and (best is None or match.end() > best[0]):
            best = (match.end(), source.name)  # the pattern that says most about the word
    return best[1] if best else None
