"""Releases and variants are data, and all of it is sound."""

from __future__ import annotations

import pytest

from hw.errors import InputError
from minikern.core.config import Config
from minikern.core.release import load_release, release_for_version, release_names
from minikern.core.variant import Variant, _resolve, load_variant, load_variants


@pytest.mark.parametrize("name", release_names())
def test_every_release_loads(name: str) -> None:
    release = load_release(name)
    assert release.name == name
    assert release.banner.startswith("Linux version ")


def test_banner_finds_its_own_release() -> None:
    for name in ("debian-6.1", "debian-6.12", "debian-7.2", "lpc2023"):
        assert release_for_version(load_release(name).banner) == name


def test_the_ladder_is_in_order_and_every_rung_is_held_against_a_known_one() -> None:
    variants = load_variants()
    rungs = [name for name, variant in variants.items() if variant.ladder]
    assert rungs[:5] == ["baseline", "deferred", "parallel-smp", "hugepages", "hvo-skip"]
    for variant in variants.values():
        assert not variant.against or variant.against in variants


def test_inheritance_adds_up() -> None:
    skip = load_variant("hvo-skip")
    assert skip.behaviour["hugetlb_tail_skip"] is True
    assert skip.behaviour["smp_scheme"] == "split"
    assert skip.config["CONFIG_DEFERRED_STRUCT_PAGE_INIT"] is True
    assert "hugepages=500" in skip.append


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(InputError, match="baseline"):
        load_variant("nosuch")
    with pytest.raises(InputError, match="lpc2023"):
        load_release("nosuch")


def test_variants_that_extend_in_a_circle_or_nothing_are_refused() -> None:
    raw = {"a": Variant("a", "", extends="b"), "b": Variant("b", "", extends="a"), "c": Variant("c", "", extends="d")}
    with pytest.raises(InputError, match="extends itself"):
        _resolve("a", raw, ())
    with pytest.raises(InputError, match="unknown variant 'd'"):
        _resolve("c", raw, ())


def test_config_values_keep_their_kinds() -> None:
    config = Config({"CONFIG_HZ": 250, "CONFIG_NUMA": True})
    assert config.number("CONFIG_HZ") == 250 and config.enabled("CONFIG_NUMA") and not config.enabled("CONFIG_X")
    with pytest.raises(TypeError, match="CONFIG_NUMA"):
        config.number("CONFIG_NUMA")
