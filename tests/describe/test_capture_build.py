"""A captured kernel's own configuration and sizes."""

from __future__ import annotations

import msgspec
import pytest

from minikern.core.captured_build import CapturedBuild, built_as
from minikern.core.release import load_release
from minikern.describe.capture_build import captured_build, kconfig
from minikern.describe.presets import load_machine
from tests.support import CAPTURES

OTHER = CAPTURES / "kho73d-hugepages-debug"


def test_options() -> None:
    text = 'CONFIG_A=y\nCONFIG_B=m\nCONFIG_C=0x10\nCONFIG_D="x y"\n# CONFIG_E is not set\nCONFIG_F=\nnoise=1\n'
    assert kconfig(text) == {
        "CONFIG_A": True, "CONFIG_B": True, "CONFIG_C": 16, "CONFIG_D": "x y", "CONFIG_E": False,
    }  # fmt: skip
    assert kconfig("CONFIG_PREEMPT_DYNAMIC=y\nCONFIG_PREEMPT_LAZY=y\n")["CONFIG_PREEMPT_DYNAMIC"] == "lazy"
    assert kconfig("CONFIG_PREEMPT_DYNAMIC=y\n")["CONFIG_PREEMPT_DYNAMIC"] == "full"


def test_an_image_of_the_releases_length_is_the_releases() -> None:
    release = load_release("debian-6.12")
    length = release.image.brk_start - release.image.text_start
    same = CapturedBuild({"CONFIG_HZ": 1000}, {"code_kib": 1}, length)
    assert built_as(release, same).image == release.image
    assert built_as(release, same).config["CONFIG_HZ"] == 1000
    assert built_as(release, None) is release
    other = built_as(release, CapturedBuild({}, {"code_kib": 1}, length + 4096)).image
    assert (other.code_kib, other.brk_start) == (1, release.image.brk_start + 4096)


def test_nothing_known() -> None:
    assert captured_build("", "", "") == CapturedBuild()
    assert not captured_build("", "01000000-01740c7f : Kernel code\n", "log").image_bytes


@pytest.mark.oracle
@pytest.mark.skipif(not OTHER.is_dir(), reason="no captures with Kexec HandOver beside the checkout")
def test_sizes_of_a_build_nobody_described() -> None:
    known, stranger = load_release("kho-7.3"), load_release("kho-7.2")
    built = built_as(stranger, load_machine(str(OTHER)).build)
    assert msgspec.structs.replace(built.image, source=known.image.source) == known.image
    assert built.config["CONFIG_DEFERRED_STRUCT_PAGE_INIT"] is True
    assert not stranger.config["CONFIG_DEFERRED_STRUCT_PAGE_INIT"]
