"""What each optimisation would do to the boot that a log tells of: its own kernel and words, one change at a time.

A rung here is the machine's own boot with what a variant changes over the one it is held against. So its saving is a
difference of two boots of one machine, and never larger than the time that was there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from minikern.core.release import Release
from minikern.core.variant import Variant, load_variants
from minikern.describe.case import Case
from minikern.lab.verdict import changes, has

AS_LOGGED = "as logged"
NOTHING = Variant(name="", title="")


class Offers(NamedTuple):
    """What can be tried on a boot, and what it has already."""

    to_boot: list[Variant]
    there: list[str]


def is_own(spec: Case, kernel: str) -> bool:
    """True where a boot of the machine is on record and no other kernel is asked for: a variant is a change to it."""
    return bool(spec.banner and not kernel)


def on_machine(spec: Case, kernel: str, variant: Variant) -> Variant:
    """``variant`` as this machine boots it: a change to its own boot, or where none is on record the whole rung."""
    return as_change(variant) if is_own(spec, kernel) else variant


def as_change(variant: Variant) -> Variant:
    """``variant`` less everything that the one it is held against has, too."""
    return over_own(variant, load_variants().get(variant.against, NOTHING))


def own_boot() -> Variant:
    """The boot as the log tells it."""
    return Variant(name=AS_LOGGED, title="the kernel and the words of the log")


def offers(known: Mapping[str, Variant], asked: Sequence[str], own: Release, words: str) -> Offers:
    """The variants that say something about this boot: those asked for, or all optimisations that apply to it."""
    candidates = [known[name] for name in asked] if asked else list(_optimisations(known, words))
    to_boot, there = [], []
    for variant in candidates:
        other = known.get(variant.against, NOTHING)
        if has(own, words, variant, other) and not (variant.remove or variant.uart_clock_hz):
            there.append(variant.name)
        else:
            to_boot.append(over_own(variant, other))
    return Offers(to_boot, there)


def _optimisations(known: Mapping[str, Variant], words: str) -> Iterable[Variant]:
    own_words = set(words.split())
    for variant in known.values():
        other = known.get(variant.against)
        if variant.workload or (variant.ladder and other is None):
            continue  # the ladder's foot is no change
        if variant.experiment not in (NOTHING.experiment, (other or NOTHING).experiment):
            continue  # what no kernel does; the purgatory's end before the log begins
        if not variant.ladder and (other is not None or not _touches_consoles(variant, words)):
            continue
        if other is None or set(other.append.split()) <= own_words:
            yield variant


def _touches_consoles(variant: Variant, words: str) -> bool:
    return bool(variant.remove or variant.uart_clock_hz) and "ttyS" in words


def over_own(variant: Variant, other: Variant) -> Variant:
    """Only what ``variant`` changes over ``other``, to be put over the machine's own kernel and words."""
    added = [word for word in variant.append.split() if word not in other.append.split()]
    return msgspec.structs.replace(
        variant,
        extends="",
        against=AS_LOGGED,
        config=changes(variant.config, other.config),
        behaviour=changes(variant.behaviour, other.behaviour),
        append=" ".join(added),
        remove=[word for word in variant.remove if word not in other.remove],
    )
