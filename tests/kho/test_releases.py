"""Kexec HandOver of the releases before 7.1, and of kernels that are not built with it."""

from __future__ import annotations

import pytest

from minikern.core.release import load_release
from minikern.describe.presets import load_machine
from minikern.kexec.load import Kexec
from minikern.lab.kexec import reboot
from minikern.lab.run import boot
from tests.kexec.images import make_bzimage

SCRATCH = "kho=on kho_scratch=32M,32M,64M"


@pytest.mark.parametrize("version", ["6.17", "6.18", "6.19"])
def test_older_releases_hand_over(version: str) -> None:
    """A chain of chunks instead of a tree, no deferred struct pages, the same kernel's memory found again."""
    release = load_release(f"linux-{version}")
    assert (release.behaviour.kho_compatible, release.behaviour.kho_excludes_deferred) == ("kho-v1", True)
    assert release.config["CONFIG_DEFERRED_STRUCT_PAGE_INIT"] is False
    assert release.behaviour.deferred_jobs == ("range" if version == "6.17" else "zone")
    first = boot(load_machine("tiny"), release=release.name, append=f"{SCRATCH} reserve_mem=1M:4096:keep")
    kernel = bytes(make_bzimage(init_size=0x1000000, version=f"{version}.0 (a@b) #1 SMP".encode()))
    image = Kexec(first.kernel).kexec_file_load(kernel, None, first.kernel.cmdline.text)
    assert {segment.name for segment in image.kimage.segments} >= {"kho_scratch", "purgatory", "kernel"}
    second = reboot(first, image, "hashlib", release=release.name)
    log = [line.text for line in second.boot.kernel.log.lines]
    assert "KHO: found kexec handover data." in log
    assert "Revived memory reservation 'keep' from KHO" in log
    assert second.lost == []
    assert not any(text.startswith("node 0 deferred pages") for text in log)


def test_a_kernel_without_it_does_not_know_its_words() -> None:
    log = [line.text for line in boot(load_machine("tiny"), release="debian-7.2", append="kho=on").kernel.log.lines]
    assert any(text.startswith('Unknown kernel command line parameters "kho=on"') for text in log)


@pytest.mark.parametrize("release", ["linux-6.18", "kho-7.2"])
def test_segments_lie_in_scratch(release: str) -> None:
    """So that no place of the image, wherever the next kernel is unpacked from there, meets what is preserved."""
    first = boot(load_machine("tiny"), release=release, append=SCRATCH)
    k = first.kernel
    image = Kexec(k).kexec_file_load(bytes(make_bzimage(init_size=0x1000000)), None, k.cmdline.text)
    for segment in image.kimage.segments:
        assert any(a.addr <= segment.mem and segment.end <= a.addr + a.size for a in k.kho.scratch), segment.name
