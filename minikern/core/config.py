"""Kernel releases and boot variants: data, merged into what one boot runs with.

A release file names behaviours and Kconfig values; a variant file changes some of them and appends to the command
line. Code asks for a behaviour by name and never compares version numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

import msgspec

from hw.errors import InputError
from hw.spec import KernelFacts
from minikern.core.experiment import Experiment
from minikern.core.image import ImageSizes

ConfigValue = bool | int | str


class Release(msgspec.Struct, forbid_unknown_fields=True):
    """One kernel build: banner, Kconfig values, named behaviours, image sizes."""

    name: str
    title: str
    banner: str
    match: str  # regular expression over the release word of a "Linux version" line
    config: dict[str, ConfigValue]
    behaviour: dict[str, Any]
    image: ImageSizes
    parameters: str = ""  # whose list of parameters it is, in parameters.txt; empty: all that is listed
    facts: KernelFacts = msgspec.field(default_factory=KernelFacts)  # what a log told of it


class Variant(msgspec.Struct, forbid_unknown_fields=True):
    """One way to boot: changes over a release, and words for the command line."""

    name: str
    title: str
    extends: str = ""
    order: int = 1000  # place on the ladder
    ladder: bool = True
    against: str = ""  # the rung whose total this one is held against
    config: dict[str, ConfigValue] = {}
    behaviour: dict[str, Any] = {}
    append: str = ""
    requires: str = ""  # what a machine needs for it: kernel version, option, word; for the reader
    experiment: Experiment = Experiment()  # what no release does
    needs: dict[str, str] = {}  # placeholder in ``append`` -> key of the machine's ``[needs]``


class Config(Mapping[str, ConfigValue]):
    """Kconfig values of one boot, by their ``CONFIG_*`` names."""

    def __init__(self, values: Mapping[str, ConfigValue]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> ConfigValue:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def enabled(self, name: str) -> bool:
        """True if the option is set to y (absent options are not set)."""
        return self._values.get(name, False) is True

    def number(self, name: str) -> int:
        """Value of a numeric option; KeyError or TypeError name the option if it is absent or not a number."""
        value = self._values[name]
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} is {value!r}, not a number")
        return value


def _data_files(folder: str) -> Iterator[tuple[str, bytes]]:
    root = resources.files("minikern").joinpath(folder)
    for entry in sorted(root.iterdir(), key=lambda item: item.name):
        if entry.name.endswith(".toml"):
            yield entry.name.removesuffix(".toml"), entry.read_bytes()


def release_names() -> list[str]:
    """Names of the releases that come with minikern, sorted."""
    return [name for name, _ in _data_files("releases")]


def load_release(name: str) -> Release:
    """The release called ``name``; InputError lists the known ones."""
    for known, data in _data_files("releases"):
        if known == name:
            return msgspec.toml.decode(data, type=Release)
    raise InputError(f"unknown kernel release {name!r}: expected one of {', '.join(release_names())}")


def release_for_version(version_line: str) -> str | None:
    """Name of the release file whose pattern fits a ``Linux version`` line, None if none does."""
    found = re.search(r"Linux version (\S+)", version_line)
    word = found.group(1) if found else version_line.strip()
    best: tuple[int, str] | None = None
    for name, data in _data_files("releases"):
        match = re.match(msgspec.toml.decode(data, type=Release).match, word)
        if match and (best is None or match.end() > best[0]):
            best = (match.end(), name)  # the pattern that says most about the word
    return best[1] if best else None


def load_variants() -> dict[str, Variant]:
    """All variants by name, inheritance resolved, in ladder order.

    Raises InputError when a variant extends one that does not exist or itself.
    """
    raw = {name: msgspec.toml.decode(data, type=Variant) for name, data in _data_files("variants")}
    resolved = {name: _resolve(name, raw, ()) for name in raw}
    return dict(sorted(resolved.items(), key=lambda item: (item[1].order, item[0])))


def _resolve(name: str, raw: Mapping[str, Variant], seen: tuple[str, ...]) -> Variant:
    if name in seen:
        raise InputError(f"variant {name!r} extends itself through {' -> '.join(seen)}")
    if name not in raw:
        raise InputError(f"variant {seen[-1]!r} extends unknown variant {name!r}")
    variant = raw[name]
    if not variant.extends:
        return variant
    parent = _resolve(variant.extends, raw, (*seen, name))
    return msgspec.structs.replace(
        variant,
        config={**parent.config, **variant.config},
        behaviour={**parent.behaviour, **variant.behaviour},
        experiment=parent.experiment if variant.experiment == Experiment() else variant.experiment,
        append=" ".join(part for part in (parent.append, variant.append) if part),
        needs={**parent.needs, **variant.needs},
    )


def load_variant(name: str) -> Variant:
    """The variant called ``name``; InputError lists the known ones."""
    variants = load_variants()
    if name not in variants:
        raise InputError(f"unknown variant {name!r}: expected one of {', '.join(variants)}")
    return variants[name]
