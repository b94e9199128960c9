"""Options that exclude each other."""

from __future__ import annotations

from minikern.core.conflicts import met, resolved
from minikern.core.forks import behaviour_at

BOTH = {"CONFIG_KEXEC_HANDOVER": True, "CONFIG_DEFERRED_STRUCT_PAGE_INIT": True, "CONFIG_HZ": 250}


def test_handover_or_deferral_before_7_1() -> None:
    for version, excluded in (("6.16", True), ("6.18", True), ("7.0", True), ("7.1", False), ("7.3.4", False)):
        behaviour = behaviour_at(version)
        assert bool(met(BOTH, behaviour)) is excluded, version
        assert resolved(BOTH, behaviour)["CONFIG_DEFERRED_STRUCT_PAGE_INIT"] is not excluded, version


def test_one_of_them_alone_is_no_conflict() -> None:
    behaviour = behaviour_at("6.18")
    for option in ("CONFIG_KEXEC_HANDOVER", "CONFIG_DEFERRED_STRUCT_PAGE_INIT"):
        alone = {**BOTH, option: False}
        assert not met(alone, behaviour)
        assert resolved(alone, behaviour) == alone
