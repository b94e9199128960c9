"""Boot variants: what changes over a release and on the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from hw.errors import InputError
from hw.spelling import check_names, unknown
from hw.toml_file import decode_toml
from minikern.core.behaviour import Behaviour
from minikern.core.config import ConfigValue, check_config
from minikern.core.data_files import Source, beside, find_source, known_files
from minikern.core.experiment import Experiment
from minikern.core.forks import behaviour_at, changed

SOME_VERSION = "6.12"  # any will do to see whether a behaviour's value is one


class Variant(msgspec.Struct, forbid_unknown_fields=True):
    """One way to boot: changes over a release, words for the command line, and what the machine must have for it."""

    name: str = ""  # the file's, unless given
    title: str = ""
    extends: str = ""
    order: int = 1000  # place on the ladder
    ladder: bool = True
    against: str = ""  # the rung whose total this one is held against; unless given, the one it extends
    workload: bool = False  # it adds work that somebody wants done: no optimisation
    config: dict[str, ConfigValue] = {}
    behaviour: dict[str, Any] = {}
    append: str = ""
    remove: list[str] = []  # words to take off the machine's own line, as patterns: console=ttyS*
    uart_clock_hz: Annotated[int, Meta(ge=0)] = 0  # of all serial ports; 0: as the machine has them
    hardware_reduced: bool = False  # firmware without fixed ACPI registers and events
    requires: str = ""  # what a machine needs for it: kernel version, option, word; for the reader
    experiment: Experiment = Experiment()  # what no release does
    needs: dict[str, str] = {}  # placeholder in ``append`` -> key of the machine's ``[needs]``

    def over(self, parent: Variant) -> Variant:
        """This variant on top of what the one it extends changes."""
        return msgspec.structs.replace(
            self,
            config={**parent.config, **self.config},
            behaviour={**parent.behaviour, **self.behaviour},
            experiment=parent.experiment if self.experiment == Experiment() else self.experiment,
            append=" ".join(part for part in (parent.append, self.append) if part),
            remove=parent.remove + self.remove,
            uart_clock_hz=self.uart_clock_hz or parent.uart_clock_hz,
            hardware_reduced=self.hardware_reduced or parent.hardware_reduced,
            needs={**parent.needs, **self.needs},
        )


def read_variant(source: Source) -> Variant:
    """What one file says. InputError names file and key of what does not exist."""
    variant = decode_toml(source.data, Variant, source.where)
    variant.name = source.name
    variant.title = variant.title or variant.name
    variant.against = variant.against or variant.extends
    check_config(f"{source.where}: config", variant.config)
    check_names(f"{source.where}: behaviour", "behaviour", variant.behaviour, Behaviour.__struct_fields__)
    try:
        if variant.behaviour:
            changed(behaviour_at(SOME_VERSION), variant.behaviour)
    except InputError as error:
        raise InputError(f"{source.where}: {error}") from error
    unused = [name for name in variant.needs if "{" + name + "}" not in variant.append]
    if unused:
        raise InputError(f"{source.where}: needs: {unused[0]!r}: expected {{{unused[0]}}} somewhere in append")
    return variant


Find = Callable[[Source, str, str], Source]  # the file that a key of another one names
Read = Callable[[Source], Variant]


def resolve(source: Source, find: Find, read: Read, seen: tuple[str, ...] = ()) -> Variant:
    """The variant with what it extends. InputError when that, or what it is held against, does not exist."""
    variant = read(source)
    if source.name in seen:
        raise InputError(f"{source.where}: variant {source.name!r} extends itself through {' -> '.join(seen)}")
    if variant.extends:
        parent = resolve(find(source, "extends", variant.extends), find, read, (*seen, source.name))
        variant = variant.over(parent)
    if variant.against:
        find(source, "against", variant.against)
    return variant


def load_variants() -> dict[str, Variant]:
    """All variants by name, minikern's and the user's, in ladder order. InputError: one of them is wrong."""
    known = known_files("variants")
    read = cache(read_variant)  # each file once, however many others extend it
    found = [_named(source, known, read) for source in known.values()]
    return {one.name: one for one in sorted(found, key=lambda one: (one.order, one.name))}


def load_variant(text: str) -> Variant:
    """The variant called ``text``, or the one a TOML file describes. InputError: there is none, or it is wrong."""
    known = known_files("variants")
    return _named(find_source(text, known, "variant"), known, read_variant)


def _named(source: Source, known: Mapping[str, Source], read: Read) -> Variant:
    def find(file: Source, key: str, name: str) -> Source:
        found = known.get(name) or beside(file, name)
        if found is None:
            raise unknown(f"{file.where}: {key}", "variant", name, known)
        return found

    return resolve(source, find, read)
