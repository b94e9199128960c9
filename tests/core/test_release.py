"""Release files say what differs; the rest comes from a base, from another release, and from the version."""

from __future__ import annotations

import msgspec
import pytest

from hw.errors import InputError
from minikern.core.forks import behaviour_at
from minikern.core.image import linked, with_layout
from minikern.core.release import Release, ReleaseFile, load_release, release_names, resolved

PARENT = ReleaseFile(name="parent", version="6.12.3", behaviour={"hvo_head_required": True}, parameters="6.12",
                     config={"CONFIG_HZ": 100}, image={"bss_kib": 1})  # fmt: skip


def finished(file: ReleaseFile, *others: ReleaseFile) -> Release:
    base = ReleaseFile(name="base", config={"CONFIG_HZ": 250, "CONFIG_NR_CPUS": 64}, image=dict(IMAGE))
    known = {other.name: other for other in (base, *others)}
    return resolved(file, known.__getitem__).release("mine.toml")


IMAGE: dict[str, int | str] = {
    **dict.fromkeys(("code_kib", "rwdata_kib", "rodata_kib", "init_kib", "bss_kib", "brk_bytes"), 1 << 10),
    "text_start": 1 << 24, "brk_start": 1 << 25, "percpu_static_bytes": 4096, "node_data_bytes": 8192,
    "source": "made up",
}  # fmt: skip


@pytest.mark.parametrize("name", release_names())
def test_what_does_not_follow_from_the_version_is_a_change(name: str) -> None:
    release = load_release(name)
    follows, has = behaviour_at(release.version), release.behaviour
    differs = {field for field in has.__struct_fields__ if getattr(has, field) != getattr(follows, field)}
    assert differs == set(release.changes)


def test_a_version_alone_is_whole() -> None:
    release = finished(ReleaseFile(name="mine", version="6.9"))
    assert release.banner == "Linux version 6.9.0-generic (minikern) (gcc, GNU ld) #1 SMP"
    assert release.title == "Linux 6.9" and not release.match
    assert release.behaviour == behaviour_at("6.9")
    assert release.config == {"CONFIG_HZ": 250, "CONFIG_NR_CPUS": 64}


def test_a_version_over_another_release() -> None:
    release = finished(ReleaseFile(name="mine", extends="parent", version="6.13-rc2"), PARENT)
    assert release.config["CONFIG_HZ"] == 100 and release.image.bss_kib == 1 and release.parameters == "6.12"
    assert "6.13.0-rc2-generic" in release.banner
    assert not release.changes, "what the parent took early belongs to its series"
    near = finished(ReleaseFile(name="mine", extends="parent", version="6.12.9"), PARENT)
    assert near.behaviour.hvo_head_required and near.changes == {"hvo_head_required": True}


def test_what_extends_itself_is_refused() -> None:
    first, second = ReleaseFile(name="a", extends="b"), ReleaseFile(name="b", extends="a")
    with pytest.raises(InputError, match="'a' extends itself through a -> b"):
        finished(first, second, first)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"behaviour": {"hugetlb_paralel": True}}, "'hugetlb_paralel' is no behaviour: did you mean hugetlb_parallel?"),
        ({"behaviour": {"memoryless": "loud"}}, "behaviour: Invalid enum value 'loud' - at `\\$.memoryless`"),
        ({"image": {"code_kb": 1}}, "'code_kb' is no size of an image: did you mean code_kib?"),
        ({"image": {"code_kib": "large"}}, "image: Expected `int`, got `str` - at `\\$.code_kib`"),
        ({"version": "six"}, "'six': no kernel version"),
        ({"version": ""}, "'': no kernel version"),
    ],
)
def test_misspelt_parts_are_named(change: dict[str, object], text: str) -> None:
    file = msgspec.convert({"name": "mine", "version": "6.9", **change}, ReleaseFile)
    with pytest.raises(InputError, match=f"mine.toml: {text}"):
        finished(file)


def test_gaps_follow_from_what_lies_before_them() -> None:
    assert linked(14343, 9132) == {
        "text_rodata_gap_kib": 2040, "rodata_data_gap_kib": 1108, "write_protect_kib": 26624,
    }  # fmt: skip
    assert with_layout({"code_kib": 2048, "rodata_kib": 2048}, {}) == {"code_kib": 2048, "rodata_kib": 2048}
    sizes = with_layout({"code_kib": 2048, "rodata_kib": 2048}, {"code_kib": 4096, "write_protect_kib": 7})
    assert sizes["text_rodata_gap_kib"] == sizes["rodata_data_gap_kib"] == 0 and sizes["write_protect_kib"] == 7
