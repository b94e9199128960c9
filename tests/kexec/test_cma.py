"""Segments in the contiguous allocator's area: loaded in place, nothing copied after the jump; else as ever."""

from __future__ import annotations

import msgspec
import pytest

from minikern.core.release import load_release
from minikern.core.variant import Variant
from minikern.describe.presets import load_machine
from minikern.kexec.errors import KexecError
from minikern.kexec.load import KEXEC_FILE_NO_CMA, Image, Kexec
from minikern.kexec.reboot import Handover, _relocate
from minikern.lab.kexec import reboot
from minikern.lab.run import Boot, boot
from tests.kexec.images import make_bzimage

INITRD = b"\x1f\x8b" * 9000
ALL = Variant(config={"CONFIG_CMA": True, "CONFIG_DMA_CMA": True}, behaviour={"kexec_cma": True})


def booted(words: str = "cma=16M", **behaviour: bool) -> Boot:
    variant = msgspec.structs.replace(ALL, behaviour={**ALL.behaviour, "kexec_file_flags": 31, **behaviour})
    return boot(load_machine("tiny"), variant, "", words)


def load(first: Boot, flags: int = 0, init_size: int = 0x60000) -> tuple[Kexec, Image]:
    loader = Kexec(first.kernel)
    return loader, loader.kexec_file_load(bytes(make_bzimage(init_size=init_size)), INITRD, "console=ttyS0", flags)


def test_the_release_that_has_it() -> None:
    assert load_release("linux-6.16").behaviour.kexec_cma is False
    assert load_release("debian-7.2").behaviour.kexec_cma is True
    assert load_release("debian-7.2").behaviour.kexec_file_flags == 31


def test_nothing_is_moved() -> None:
    first = booted()
    k = first.kernel
    free = k.page_alloc.nr_free_pages()
    loader, image = load(first)
    k.page_alloc.check()
    area = k.cma.areas[0]
    assert all(one.cma and area.base <= one.mem and one.end <= area.base + area.size for one in image.kimage.segments)
    image.kimage.check()
    loader.unload()
    assert k.page_alloc.nr_free_pages() == free
    _, image = load(first)
    done = reboot(first, image, "hashlib")
    assert done.handover.relocation is not None and done.handover.relocation.pages == 0
    assert done.handover.parts_ns["relocation"] == 0
    assert done.boot.kernel.log.lines[-1].text == "Run /init as init process"


def test_without_room_flag_or_kernel_it_is_copied() -> None:
    _, some = load(booted("cma=4M"), init_size=0x600000)  # the kernel itself does not fit
    assert {one.name: one.cma for one in some.kimage.segments} == {
        "purgatory": True, "boot_params": True, "kernel": False, "initrd": True,
    }  # fmt: skip
    some.kimage.check()
    for first, flags in ((booted(), KEXEC_FILE_NO_CMA), (booted(""), 0), (booted(kexec_cma=False), 0)):
        _, image = load(first, flags)
        assert not any(one.cma for one in image.kimage.segments)
        moved = Handover()
        _relocate(first.kernel, image, moved)
        assert moved.relocation is not None
        assert moved.relocation.pages == sum(one.memsz for one in image.kimage.segments) // 4096


def test_an_older_kernel_does_not_know_the_flag() -> None:
    with pytest.raises(KexecError, match="EINVAL: flags"):
        Kexec(booted(kexec_file_flags=15).kernel).kexec_file_load(bytes(make_bzimage()), None, "", KEXEC_FILE_NO_CMA)  # type: ignore[arg-type]


def test_a_flip_in_place_is_found() -> None:
    first = booted()
    _, image = load(first)
    image.flip("initrd", 100, 2)
    with pytest.raises(Exception, match="first region that differs: initrd"):
        reboot(first, image, "hashlib")


@pytest.mark.parametrize("skipped", [True, False])
def test_the_digest_is_left_out_only_if_all_is_in_cma(skipped: bool) -> None:
    for words, all_in in (("cma=16M", True), ("cma=4M", False)):
        first = booted(words, kexec_digest_skipped=skipped)
        _, image = load(first, init_size=0x600000)
        assert image.known is not None
        assert (image.known.regions == []) == (skipped and all_in)
        done = reboot(first, image, "hashlib")
        assert done.handover.verified is not None
        assert (done.handover.verified.size == 0) == (skipped and all_in)


def test_a_load_that_fails_gives_its_pages_back() -> None:
    first = booted()
    free = first.kernel.page_alloc.nr_free_pages()
    with pytest.raises(KexecError):
        load(first, init_size=300 << 20)
    assert first.kernel.page_alloc.nr_free_pages() == free
    first.kernel.page_alloc.check()
