"""Boot variants: what changes over a release and on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from hw.errors import InputError
from minikern.core.config import ConfigValue
from minikern.core.data_files import data_files
from minikern.core.experiment import Experiment


class Variant(msgspec.Struct, forbid_unknown_fields=True):
    """One way to boot: changes over a release, words for the command line, and what the machine must have for it."""

    name: str
    title: str
    extends: str = ""
    order: int = 1000  # place on the ladder
    ladder: bool = True
    against: str = ""  # the rung whose total this one is held against
    config: dict[str, ConfigValue] = {}
    behaviour: dict[str, Any] = {}
    append: str = ""
    remove: list[str] = []  # words to take off the machine's own line, as patterns: console=ttyS*
    uart_clock_hz: Annotated[int, Meta(ge=0)] = 0  # of all serial ports; 0: as the machine has them
    requires: str = ""  # what a machine needs for it: kernel version, option, word; for the reader
    experiment: Experiment = Experiment()  # what no release does
    needs: dict[str, str] = {}  # placeholder in ``append`` -> key of the machine's ``[needs]``


def load_variants() -> dict[str, Variant]:
    """All variants by name, inheritance resolved, in ladder order.

    Raises InputError when a variant extends one that does not exist or itself.
    """
    raw = {name: msgspec.toml.decode(data, type=Variant) for name, data in data_files("variants")}
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
        remove=parent.remove + variant.remove,
        uart_clock_hz=variant.uart_clock_hz or parent.uart_clock_hz,
        needs={**parent.needs, **variant.needs},
    )


def load_variant(name: str) -> Variant:
    """The variant called ``name``; InputError lists the known ones."""
    variants = load_variants()
    if name not in variants:
        raise InputError(f"unknown variant {name!r}: expected one of {', '.join(variants)}")
    return variants[name]
