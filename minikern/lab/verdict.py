"""What a ladder says to an engineer: which optimisation pays on this machine, by how much, and what it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from minikern.core.experiment import Experiment
from minikern.core.release import Release
from minikern.core.variant import Variant
from minikern.lab.bands import Band

WORTH_SAYING = 0.005  # of the total it is held against


class Measured(Protocol):
    """A rung as far as a verdict reads it."""

    variant: str
    total_ms: float
    against: str
    saved_ms: float | None
    gives_up: list[str]
    gives_up_for: str
    given_up_ms: float | None
    given_up_band: Band | None
    saved_band: Band | None


class Payoff(msgspec.Struct):
    """One optimisation that saves time here; ``share`` is of the boot without it."""

    variant: str
    against: str
    against_ms: float
    saved_ms: float
    share: float
    requires: str  # kernel version, option or word
    in_release: bool  # the machine's own kernel has it
    with_words: str  # it pays only for who boots with these words; empty: for everyone
    saved_band: Band | None = None


def payoffs(rungs: Sequence[Measured], variants: Mapping[str, Variant], release: Release, words: str) -> list[Payoff]:
    """What saves at least half a percent, what pays for everyone first, then by size.

    ``words`` is the machine's own command line.
    """
    totals = {rung.variant: rung.total_ms for rung in rungs}
    found = []
    for rung in rungs:
        before = totals.get(rung.against, 0.0)
        if rung.saved_ms is None or before <= 0 or rung.saved_ms < WORTH_SAYING * before:
            continue
        variant, other = variants[rung.variant], variants[rung.against]
        share = round(rung.saved_ms / before, 4)
        there = has(release, words, variant, other)
        found.append(
            Payoff(
                rung.variant, rung.against, before, rung.saved_ms, share, variant.requires, there, other.append,
                rung.saved_band,
            )
        )
    return sorted(found, key=lambda item: (bool(item.with_words), -item.saved_ms))


def has(release: Release, words: str, variant: Variant, other: Variant) -> bool:
    """True if what ``variant`` changes over the rung it is held against is there without it."""
    options = changes(variant.config, other.config)
    behaviour = changes(variant.behaviour, other.behaviour)
    added = set(variant.append.split()) - set(other.append.split())
    return (
        variant.experiment in (other.experiment, Experiment())
        and variant.hardware_reduced in (other.hardware_reduced, False)
        and all(release.config.get(key) == value for key, value in options.items())
        and all(getattr(release.behaviour, key) == value for key, value in behaviour.items())
        and added <= set(words.split())
    )


def changes(new: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of ``new`` that ``old`` has not, or has otherwise."""
    return {key: value for key, value in new.items() if key not in old or old[key] != value}


def headline(found: Sequence[Payoff], release: str) -> str:
    """The verdict in one sentence; empty when no rung saves anything worth saying."""
    open_to_all = [item for item in found if not item.with_words] or list(found)
    if not open_to_all:
        return ""
    missing = [item for item in open_to_all if not item.in_release]
    best = (missing or open_to_all)[0]
    saved = f"{best.variant} saves {best.saved_ms:.0f} of {best.against_ms:.0f} ms ({best.share:.0%})"
    needs = f"; it needs {best.requires}" if best.requires else ""
    if not missing:
        return f"{release} has all that pays here already; most of it: {saved}"
    had = [item.variant for item in open_to_all if item.in_release]
    beyond = f", beyond what {release} has ({', '.join(had)})" if had else ""
    return f"What pays most here{beyond}: {saved}{needs}"


def prices(rungs: Sequence[Measured]) -> list[str]:
    """What options cost because they exclude others: one sentence each, with the time where it is known.

    What a rung gives up is said once, of the first one: those that build on it give it up as well.
    """
    found, said = [], set[tuple[str, str]]()
    for rung in rungs:
        for what in rung.gives_up:
            if (rung.gives_up_for, what) in said:
                continue
            said.add((rung.gives_up_for, what))
            parts = []
            if rung.given_up_ms is not None:
                parts.append(f"{rung.given_up_ms:+.0f} ms{_between(rung.given_up_band)} over a kernel with both")
            if rung.saved_ms is not None and rung.gives_up_for == rung.variant:
                parts.append(f"{-rung.saved_ms:+.0f} ms against {rung.against}")
            found.append(f"{rung.gives_up_for} costs you {what}{': ' if parts else ''}{', '.join(parts)}")
    return found


def _between(band: Band | None) -> str:
    return f" {band.told()}" if band is not None else ""


class Piece(Protocol):
    """Unexplained time by name."""

    name: str
    ms: float


def own_headline(total_ms: float, found: Sequence[Payoff], rest: Sequence[Piece]) -> str:
    """What a real boot's ladder says: the saving that is surely one, and where most of the time is in any case."""
    sure = [item for item in found if item.saved_band is None or item.saved_band.low_ms > 0]
    largest = rest[0] if rest else None
    where = ""
    if largest is not None and largest.ms > WORTH_SAYING * total_ms:
        share = f"{largest.ms:.0f} ms ({largest.ms / total_ms:.0%})"
        where = f"; the largest piece no rung touches: {largest.name}, {share}"
    if not sure:
        return f"Nothing on the ladder saves more than its band here{where}"
    best = sure[0]
    needs = f"; it needs {best.requires}" if best.requires else ""
    saved = f"{best.saved_ms:.0f}{_between(best.saved_band)} of {best.against_ms:.0f} ms ({best.share:.0%})"
    return f"What pays most here: {best.variant} saves {saved}{needs}{where}"
