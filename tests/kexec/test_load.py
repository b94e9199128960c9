"""The whole path: load, hand over, verify, boot what is in memory then."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from hw import boot_params, purgatory
from hw.errors import MachineStopped
from minikern.core.experiment import Experiment
from minikern.core.forks import changed
from minikern.kexec.digest import available
from minikern.kexec.errors import KexecError
from minikern.kexec.load import KEXEC_FILE_NO_INITRAMFS, Kexec
from minikern.kexec.reboot import PARTS, kernel_kexec
from minikern.kexec.segments import Segment
from minikern.lab.kexec import reboot
from minikern.lab.run import Boot
from tests.kexec.images import VERSION, make_bzimage, put

INITRD = bytes(range(256)) * 50 + b"end"
CMDLINE = "console=ttyS0 second=1"
Booted = Callable[[], Boot]


def texts(boot: Boot) -> list[str]:
    return [line.text for line in boot.kernel.log.lines]


def test_the_second_kernel_finds_what_was_loaded(booted: Booted) -> None:
    first = booted()
    image = Kexec(first.kernel).kexec_file_load(bytes(make_bzimage()), INITRD, CMDLINE)
    image.kimage.check()
    kernel, initrd = image.segment("kernel"), image.segment("initrd")
    done = reboot(first, image)
    memory, log = first.kernel.machine.bus.memory, texts(done.boot)
    assert memory.read(initrd.mem, initrd.memsz) == INITRD.ljust(initrd.memsz, b"\0")
    assert f"Linux version {VERSION.decode()}" in log
    assert f"Command line: {CMDLINE}" in log
    assert f"RAMDISK: [mem {initrd.mem:#010x}-{initrd.end - 1:#010x}]" in log
    assert any(line.startswith("reserve setup_data: ") for line in log)
    assert log[-1] == "Run /init as init process"
    assert done.handover.entry == kernel.mem + 0x200
    assert set(done.downtime_ns()) == {*PARTS, "boot"}
    assert all(ns > 0 for ns in done.downtime_ns().values())
    page = memory.read(done.handover.rsi, 4096)
    assert boot_params.get(page, "type_of_loader") == 0xD0
    assert len(boot_params.read_e820(page)) == len(first.kernel.e820.kexec)


def test_digests_agree_with_one_pass_over_memory(booted: Booted) -> None:
    seen = set()
    for name in available():
        first = booted()
        image = Kexec(first.kernel).kexec_file_load(bytes(make_bzimage()), INITRD, CMDLINE)
        done = kernel_kexec(first.kernel, image, name)
        memory = first.kernel.machine.bus.memory
        flat = b"".join(memory.read(s.mem, s.memsz) for s in image.kimage.segments if s.digested)
        assert done.verified is not None
        assert done.verified.digest == hashlib.sha256(flat).digest()
        assert done.verified.size == len(flat)
        seen.add(done.verified.digest)
    assert len(seen) == 1


def test_segments_follow_from_the_file(booted: Booted) -> None:
    data = bytes(make_bzimage())
    image = Kexec(booted().kernel).kexec_file_load(data, INITRD, CMDLINE)
    names = [segment.name for segment in image.kimage.segments]
    assert names == ["purgatory", "boot_params", "kernel", "initrd"]
    kernel, initrd = image.segment("kernel"), image.segment("3")
    assert (kernel.buf, kernel.memsz, kernel.mem % 0x200000) == (data[4 * 512 :], 0x60000, 0)
    assert kernel.mem >= 0x1000000 and initrd.mem >= 16 << 20
    text = len(CMDLINE) + 1
    size = -(-(4096 + text + 30) // 16) * 16 + 16 + 96 + 16 + 32
    assert image.segment("boot_params").bufsz == size
    addresses = [segment.mem for segment in image.kimage.segments]
    assert addresses[:3] == sorted(addresses[:3], reverse=True)


def test_no_initramfs(booted: Booted) -> None:
    image = Kexec(booted().kernel).kexec_file_load(bytes(make_bzimage()), INITRD, CMDLINE, KEXEC_FILE_NO_INITRAMFS)
    assert [segment.name for segment in image.kimage.segments] == ["purgatory", "boot_params", "kernel"]


def test_a_failed_load_leaves_what_was_loaded(booted: Booted) -> None:
    first = booted()
    loader = Kexec(first.kernel)
    good = loader.kexec_file_load(bytes(make_bzimage()), INITRD, CMDLINE)
    free = first.kernel.page_alloc.nr_free_pages()
    too_big = make_bzimage(init_size=300 << 20)
    half = make_bzimage(init_size=140 << 20)
    wrong = make_bzimage()
    put(wrong, "boot_flag", 0)
    for data, code in ((wrong, "ENOEXEC"), (too_big, "EADDRNOTAVAIL"), (half, "EINVAL")):
        with pytest.raises(KexecError) as error:
            loader.kexec_file_load(bytes(data), INITRD, CMDLINE)
        assert error.value.code == code
    for bad in ("a\0b", "x" * 2040):
        with pytest.raises(KexecError, match="EINVAL"):
            loader.kexec_file_load(bytes(make_bzimage()), INITRD, bad)
    assert loader.image is good
    assert first.kernel.page_alloc.nr_free_pages() == free
    assert texts(reboot(first, good).boot)[-1] == "Run /init as init process"


def test_pages_come_back_when_memory_runs_out_or_an_image_is_dropped(booted: Booted) -> None:
    k = booted().kernel
    loader, before = Kexec(k), k.page_alloc.nr_free_pages()
    size = 100 << 20  # less than half of RAM, so only the pages for it are missing
    taken = [pfn for _ in range(before - (size >> 12) // 2) if (pfn := k.page_alloc.alloc_pages(0)) is not None]
    with pytest.raises(KexecError, match="ENOMEM"):
        loader.kexec_load(0x4000000, [Segment("big", b"", 0x2000000, size)])
    for pfn in taken:
        k.page_alloc.free_pages(pfn, 0)
    assert k.page_alloc.nr_free_pages() == before
    loader.kexec_file_load(bytes(make_bzimage()))
    assert k.page_alloc.nr_free_pages() < before
    assert loader.kexec_load(0, []) is None
    assert (loader.image, k.page_alloc.nr_free_pages()) == (None, before)


def test_kexec_load_checks_its_arguments(booted: Booted) -> None:
    loader = Kexec(booted().kernel)
    one = Segment("a", b"x", 0x4000000, 0x1000)
    for segments, flags, code in (
        ([one], 1, "EADDRNOTAVAIL"),
        ([one], 40 << 16, "EINVAL"),
        ([Segment("s", b"", (i + 2) << 24, 0x1000) for i in range(17)], 0, "EINVAL"),
        ([Segment("a", b"x", 0x4000000, 0x1000, bufsz=2)], 0, "EFAULT"),
        ([one, one], 62 << 16, "EINVAL"),
    ):
        with pytest.raises(KexecError) as error:
            loader.kexec_load(0x4000000, segments, flags)
        assert error.value.code == code
    assert loader.image is None


def test_segments_of_the_callers_own(booted: Booted) -> None:
    """The same image loaded piece by piece, with the purgatory made here, boots the same."""
    first, other = booted(), booted()
    image = Kexec(first.kernel).kexec_file_load(bytes(make_bzimage()), INITRD, CMDLINE)
    again = Kexec(other.kernel).kexec_load(
        image.purgatory, image.kimage.segments, boot_params=image.boot_params, purgatory=image.purgatory
    )
    assert again is not None
    assert again.entry == image.entry
    one, two = reboot(first, image), reboot(other, again)
    assert texts(one.boot)[1:] == texts(two.boot)[1:]
    assert one.handover.verified is not None and two.handover.verified is not None
    assert one.handover.verified.digest == two.handover.verified.digest


@pytest.mark.parametrize("swap", [True, False])
def test_swapped_and_copied_pages_end_alike(booted: Booted, swap: bool) -> None:
    first = booted()
    first.kernel.behaviour = changed(first.kernel.behaviour, {"kexec_swap_copy": swap})
    image = Kexec(first.kernel).kexec_file_load(bytes(make_bzimage()), INITRD, CMDLINE)
    reboot(first, image)
    kinds = {entry.kind for entry in first.kernel.ledger.entries() if entry.phase == "relocation"}
    assert kinds == {"relocate_page" if swap else "relocate_page_direct"}


@pytest.mark.parametrize("mode", ["generic", "accelerated", "file-bytes", "parallel", "none"])
def test_every_way_to_check_hands_over(booted: Booted, mode: Any) -> None:
    first = booted()
    first.kernel.experiment = Experiment(purgatory_digest=mode)
    image = Kexec(first.kernel).kexec_file_load(bytes(make_bzimage()), INITRD, CMDLINE)
    done = kernel_kexec(first.kernel, image, "hashlib")
    assert (done.verified is None) == (mode == "none")
    assert (done.parts_ns["purgatory"] == 0) == (mode == "none")


def test_parallel_digests_wait_for_the_largest_only(booted: Booted) -> None:
    spent = {}
    for mode in ("generic", "parallel"):
        first = booted()
        first.kernel.experiment = Experiment(purgatory_digest=mode)
        image = Kexec(first.kernel).kexec_file_load(bytes(make_bzimage()), INITRD * 20, CMDLINE)
        spent[mode] = kernel_kexec(first.kernel, image, "hashlib").parts_ns["purgatory"]
    total = sum(s.memsz for s in image.kimage.segments if s.digested)
    largest = max(s.memsz for s in image.kimage.segments if s.digested)
    assert spent["parallel"] / spent["generic"] == pytest.approx(largest / total, rel=1e-3)


def test_a_purgatory_that_would_jump_nowhere(booted: Booted) -> None:
    first = booted()
    image = Kexec(first.kernel).kexec_file_load(bytes(make_bzimage()), INITRD, CMDLINE)
    image.flip("purgatory", purgatory.ENTRY64_REGS + 8 * purgatory.REGISTERS.index("rip") + 1)
    with pytest.raises(MachineStopped, match="no kernel entry"):
        kernel_kexec(first.kernel, image, "hashlib")


def test_kernels_in_a_row(booted: Booted) -> None:
    running, addresses = booted(), []
    for _ in range(3):
        image = Kexec(running.kernel).kexec_file_load(bytes(make_bzimage()), INITRD, CMDLINE)
        addresses.append([segment.mem for segment in image.kimage.segments])
        running = reboot(running, image, "hashlib").boot
        assert texts(running)[-1] == "Run /init as init process"
        assert any("Brought up 1 node, 2 CPUs" in line for line in texts(running))
