"""Kconfig options that exclude each other in some releases, and which of them then is off."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from minikern.core.behaviour import Behaviour
from minikern.core.config import ConfigValue


class Conflict(NamedTuple):
    """``wanted`` cannot be built together with ``lost`` where ``holds``; ``until`` says for the reader when it ends.

    ``lifted`` is the behaviour of a kernel that has both.

    Source: kernel/Kconfig.kexec @ v6.18: KEXEC_HANDOVER depends on !DEFERRED_STRUCT_PAGE_INIT
    """

    wanted: str
    subject: str  # what is wanted, in words
    lost: str
    what: str  # what is lost, in words
    until: str
    holds: Callable[[Behaviour], bool]
    lifted: Mapping[str, Any]


CONFLICTS = (
    Conflict(
        "CONFIG_KEXEC_HANDOVER",
        "KHO",
        "CONFIG_DEFERRED_STRUCT_PAGE_INIT",
        "deferred init",
        "7.1",
        lambda behaviour: behaviour.kho_excludes_deferred,
        {"kho_excludes_deferred": False},
    ),
)


def met(config: Mapping[str, ConfigValue], behaviour: Behaviour) -> list[Conflict]:
    """The conflicts a kernel of these options runs into."""
    return [
        conflict
        for conflict in CONFLICTS
        if config.get(conflict.wanted) is True and config.get(conflict.lost) is True and conflict.holds(behaviour)
    ]


def resolved(config: Mapping[str, ConfigValue], behaviour: Behaviour) -> dict[str, ConfigValue]:
    """The options as they can be built: what is excluded is off."""
    return {**config, **{conflict.lost: False for conflict in met(config, behaviour)}}
