"""Release files say what differs; the rest comes from a base, from another release, and from the version."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hw.errors import InputError
from minikern.core.data_files import data_files
from minikern.core.forks import behaviour_at
from minikern.core.image import linked, with_layout
from minikern.core.release import at_version, load_release, release_for_version, release_names
from minikern.core.version import banner_version

PARENT = """
version = "6.12.3"
parameters = "6.12"
config.CONFIG_HZ = 100
behaviour.hvo_head_required = true
image.bss_kib = 1
"""
Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def one(text: str, name: str = "mine") -> str:
        path = tmp_path / f"{name}.toml"
        path.write_text(text)
        return str(path)

    return one


@pytest.mark.parametrize("name", release_names())
def test_what_does_not_follow_from_the_version_is_a_change(name: str) -> None:
    release = load_release(name)
    follows, has = behaviour_at(release.version), release.behaviour
    differs = {field for field in has.__struct_fields__ if getattr(has, field) != getattr(follows, field)}
    assert differs == set(release.changes)


def test_a_release_is_short() -> None:
    files = {source.name: source.data.decode().splitlines() for source in data_files("kernels")}
    assert {name for name in files if not name.startswith("base")} == set(release_names())
    assert max(len(files[name]) for name in release_names()) <= 25


def test_banner_finds_its_own_release() -> None:
    for name in ("debian-6.1", "debian-6.12", "debian-7.2", "lpc2023"):
        assert release_for_version(load_release(name).banner) == name


def test_a_version_alone_is_whole(write: Write) -> None:
    release = load_release(write('version = "6.9"'))
    assert release.name == "mine" and release.title == "Linux 6.9" and not release.match
    assert release.banner == "Linux version 6.9.0-generic (minikern) (gcc, GNU ld) #1 SMP"
    assert release.behaviour == behaviour_at("6.9")
    assert release.config["CONFIG_HZ"] == 250 and release.image.write_protect_kib == 26624


def test_a_version_over_another_release(write: Write) -> None:
    write(PARENT, "parent")
    release = load_release(write('extends = "parent"\nversion = "6.13-rc2"'))
    assert release.config["CONFIG_HZ"] == 100 and release.image.bss_kib == 1 and release.parameters == "6.12"
    assert "6.13.0-rc2-generic" in release.banner
    assert not release.changes, "what the parent took early belongs to its series"
    near = load_release(write('extends = "parent"\nversion = "6.12.9"'))
    assert near.behaviour.hvo_head_required and near.changes == {"hvo_head_required": True}


def test_what_extends_itself_is_refused(write: Write) -> None:
    write('extends = "mine"', "hers")
    with pytest.raises(InputError, match="'mine' extends itself through mine -> hers"):
        load_release(write('extends = "hers"'))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('versoin = "6.9"', "'versoin' is no key: did you mean version?"),
        ("[behaviour]\nhugetlb_paralel = true", "behaviour: 'hugetlb_paralel' is no behaviour: did you mean huge"),
        ('[behaviour]\nmemoryless = "loud"', "behaviour: 'loud' is no value of memoryless: expected one of"),
        ("[image]\ncode_kb = 1", "image: 'code_kb' is no size of an image: did you mean code_kib?"),
        ('[image]\ncode_kib = "large"', "image: Expected `int`, got `str` - at `$.code_kib`"),
        ("[config]\nCONFIG_HX = 1", "config: 'CONFIG_HX' is no option of this kernel: did you mean CONFIG_HZ?"),
        ('extends = "debian-6.11"', "extends: 'debian-6.11' is no kernel: did you mean debian-6.1?"),
        ('match = "6.("', "match: not a regular expression"),
        ('parameters = "6.2"', "parameters: '6.2' is no list of parameters: "),
        ('version = "six"', "'six': no kernel version"),
        ("", "'': no kernel version"),
    ],
)
def test_misspelt_parts_are_named(write: Write, text: str, says: str) -> None:
    version = "" if "version" in text or not text or "versoin" in text else 'version = "6.9"\n'
    path = write(version + text)
    with pytest.raises(InputError) as error:
        load_release(path)
    assert str(error.value).startswith(f"{path}: {says}")


def test_unknown_names() -> None:
    with pytest.raises(InputError, match=r"unknown kernel 'debian-6\.11': did you mean debian-6\.1\?"):
        load_release("debian-6.11")
    for part in ("base", "base-server"):
        with pytest.raises(InputError, match=f"unknown kernel '{part}'"):
            load_release(part)


def test_gaps_follow_from_what_lies_before_them() -> None:
    assert linked(14343, 9132) == {
        "text_rodata_gap_kib": 2040, "rodata_data_gap_kib": 1108, "write_protect_kib": 26624,
    }  # fmt: skip
    assert with_layout({"code_kib": 2048, "rodata_kib": 2048}, {}) == {"code_kib": 2048, "rodata_kib": 2048}
    sizes = with_layout({"code_kib": 2048, "rodata_kib": 2048}, {"code_kib": 4096, "write_protect_kib": 7})
    assert sizes["text_rodata_gap_kib"] == sizes["rodata_data_gap_kib"] == 0 and sizes["write_protect_kib"] == 7


def test_a_version_line_decides_what_a_kernel_does() -> None:
    banner = "Linux version 6.13.0-arch1-1 (linux@archlinux) (gcc (GCC) 14.2.1) #1 SMP PREEMPT_DYNAMIC"
    release = at_version(load_release(release_for_version(banner) or ""), banner)
    assert release.name == "debian-6.12" and release.version == "6.13.0"
    assert release.behaviour == behaviour_at("6.13")  # what Debian took into its 6.12 says nothing of a 6.13
    same = "Linux version 6.12.117+deb12-amd64 (debian-kernel@lists.debian.org) #1 SMP Debian 6.12.117-1~deb12u1"
    assert at_version(load_release("debian-6.12"), same).behaviour == load_release("debian-6.12").behaviour


@pytest.mark.parametrize(
    ("banner", "version"),
    [
        ("Linux version 6.1.0-56-amd64 (debian-kernel) (gcc-12 12.2.0) #1 SMP Debian 6.1.192-2", "6.1.192"),
        ("Linux version 5.15.0-107-generic (b@x) (gcc 11.4.0) (Ubuntu 5.15.0-107.117-generic 5.15.149)", "5.15.149"),
        ("Linux version 6.5.0-rc1_next-queue (root@x) (gcc 11.4.1) #1 SMP", "6.5.0-rc1"),
        ("Linux version 6.11.0-rc5-next-20240829 (x@y) (gcc 9.3.0) #1 SMP", "6.12-rc1"),
        ("Linux version 6.12.0-rc2-next-20241009 (x@y) (gcc 9.3.0) #1 SMP", "6.12.0-rc2"),
        ("Linux version 6.19.0-next-20260807 (x@y) (gcc 9.3.0) #1 SMP", "7.0-rc1"),
        ("Linux version 5.9.0 (x@y) (gcc (Debian 9.3.0-18) 9.3.0) #1 SMP", "5.9.0"),
    ],
)  # fmt: skip
def test_version_of_a_banner(banner: str, version: str) -> None:
    assert banner_version(banner) == version
