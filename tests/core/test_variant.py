"""Variants are data, and all of it is sound."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hw.errors import InputError
from minikern.core.experiment import Experiment
from minikern.core.variant import load_variant, load_variants

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def one(text: str, name: str = "mine") -> str:
        path = tmp_path / f"{name}.toml"
        path.write_text(text)
        return str(path)

    return one


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


def test_title_and_config_alone_are_whole(write: Write) -> None:
    variant = load_variant(write('title = "as fast as it ticks"\n[config]\nCONFIG_HZ = 1000\n'))
    assert (variant.name, variant.against, variant.ladder) == ("mine", "", True)
    assert variant.config == {"CONFIG_HZ": 1000} and variant.experiment == Experiment()


def test_a_variant_is_held_against_the_one_it_extends(write: Write) -> None:
    variant = load_variant(write('extends = "hvo-skip"\nappend = "quiet"\n'))
    assert variant.against == "hvo-skip" and variant.append.endswith(" quiet")
    assert load_variant(write('extends = "hvo-skip"\nagainst = "deferred"')).against == "deferred"


def test_files_beside_each_other_extend_each_other(write: Write) -> None:
    write('extends = "deferred"\n[experiment]\npurgatory_digest = "none"\n', "hers")
    variant = load_variant(write('extends = "hers"\nappend = "quiet"\n'))
    assert variant.config["CONFIG_DEFERRED_STRUCT_PAGE_INIT"] is True
    assert variant.against == "hers" and variant.experiment.purgatory_digest == "none"


def test_a_name_of_its_own(write: Write) -> None:
    assert load_variant(write('name = "other"\n')).name == "other"
    with pytest.raises(InputError, match="'deferred' comes with minikern: expected another name"):
        load_variant(write('name = "deferred"\n'))
    with pytest.raises(InputError, match="'baseline' comes with minikern"):
        load_variant(write("", "baseline"))


def test_circles_are_refused(write: Write) -> None:
    write('extends = "mine"\n', "hers")
    with pytest.raises(InputError, match="'mine' extends itself through mine -> hers"):
        load_variant(write('extends = "hers"\n'))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('titel = "x"', "'titel' is no key: did you mean title?"),
        ('[behavior]\nhvo_batch = true', "'behavior' is no key: did you mean behaviour?"),
        ('[behaviour]\nhugetlb_paralel = true', "behaviour: 'hugetlb_paralel' is no behaviour: did you mean huge"),
        ('[behaviour]\nhugetlb_parallel = "yes"', "behaviour: Expected `bool`, got `str`"),
        ('[behaviour]\nsmp_scheme = "parallel"', "behaviour: 'parallel' is no value of smp_scheme"),
        ('[behaviour]\nkexec_file_flags = true', "behaviour: Expected `int`, got `bool`"),
        ('[config]\nCONFIG_DEFERED_STRUCT_PAGE_INIT = true', "config: 'CONFIG_DEFERED_STRUCT_PAGE_INIT' is no option"),
        ('[config]\nCONFIG_NUMA = 1', "config: CONFIG_NUMA: expected true or false, got 1"),
        ('[experiment]\npurgatory = "none"', "'purgatory' is no key of [experiment]: did you mean purg"),
        ('[experiment]\npurgatory_digest = "no"', "'no' is no value of experiment.purgatory_digest: did you"),
        ('extends = "deferrd"', "extends: 'deferrd' is no variant: did you mean deferred?"),
        ('against = "deferrd"', "against: 'deferrd' is no variant: did you mean deferred?"),
        ('append = "pci=probe_only={needed}"\n[needs]\nneded = "pci"', "needs: 'neded': expected {neded} some"),
        ("order = first", "not TOML"),
        ('ladder = "no"', "Expected `bool`, got `str` - at `$.ladder`"),
    ],
)
def test_misspellings_are_named_with_file_and_key(write: Write, text: str, says: str) -> None:
    path = write(text)
    with pytest.raises(InputError) as error:
        load_variant(path)
    assert str(error.value).startswith(f"{path}: {says}")


@pytest.mark.parametrize("name", ["x" * 3000, "a\\u0000b", "a/" * 2000])
def test_what_no_file_can_be_called_is_no_variant(write: Write, name: str) -> None:
    with pytest.raises(InputError, match=r"extends: "):
        load_variant(write(f'extends = "{name}"'))
    with pytest.raises(InputError, match="no such file"):
        load_variant(f"{name}/x.toml")


def test_unknown_names_and_files() -> None:
    with pytest.raises(InputError, match="unknown variant 'baselin': did you mean baseline"):
        load_variant("baselin")
    with pytest.raises(InputError, match=r"nowhere/x\.toml: no such file: expected the name of a variant"):
        load_variant("nowhere/x.toml")
