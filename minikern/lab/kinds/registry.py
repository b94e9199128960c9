"""All kinds of algorithm, by name and by hook."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from hw.spelling import unknown
from minikern.lab.kinds import (
    bring_up,
    deferred_split,
    digest,
    free_merge,
    hvo,
    memblock,
    struct_page,
    zone_fallback,
)
from minikern.lab.kinds.kind import Hook, Kind

_ALL: tuple[Kind, ...] = (
    *struct_page.KINDS, bring_up.KIND, digest.KIND, hvo.KIND, memblock.KIND, zone_fallback.KIND, deferred_split.KIND,
    free_merge.KIND,
)  # fmt: skip

KINDS: Mapping[str, Kind] = MappingProxyType({kind.name: kind for kind in _ALL})
BY_HOOK: Mapping[str, Kind] = MappingProxyType({kind.hook.name: kind for kind in _ALL})
HOOKS: Mapping[str, Hook] = MappingProxyType({kind.hook.name: kind.hook for kind in _ALL})


def kind_named(name: str) -> Kind:
    """The kind called ``name``, or the one of that hook. InputError for what is neither."""
    found = KINDS.get(name) or BY_HOOK.get(name)
    if found is None:
        raise unknown("--new", "kind of algorithm", name, [*KINDS, *BY_HOOK])
    return found
