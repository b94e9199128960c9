"""Crash kernels: the ELF core header, their memory map, the path through a panic, and what a real kernel made of it."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from hw.errors import MachineStopped
from hw.msr import IA32_FS_BASE, IA32_GS_BASE
from minikern.commands.kexec import kexec
from minikern.describe.presets import load_machine
from minikern.kexec import crash
from minikern.kexec.errors import KexecError
from minikern.kexec.load import KEXEC_FILE_ON_CRASH, KEXEC_ON_CRASH, Image, Kexec
from minikern.kexec.segments import Range, Segment
from minikern.lab.kexec import reboot
from minikern.lab.run import Boot, boot
from tests.kexec.images import make_bzimage

INITRD = b"\x1f\x8b" * 3000
WORDS = "console=ttyS0 dump=1"
RESERVED = 64 << 20


@pytest.fixture(params=["debian-6.1", "debian-6.12"])
def first(request: pytest.FixtureRequest) -> Boot:
    return boot(load_machine("tiny"), release=request.param, append=f"crashkernel={RESERVED >> 20}M")


def load(first: Boot) -> Image:
    return Kexec(first.kernel).kexec_file_load(bytes(make_bzimage()), INITRD, WORDS, KEXEC_FILE_ON_CRASH)


def heads(data: bytes) -> list[tuple[int, ...]]:
    count = struct.unpack_from("<H", data, 56)[0]
    return [struct.unpack_from("<IIQQQQQQ", data, 64 + 56 * index) for index in range(count)]


def test_every_segment_is_inside_the_reservation(first: Boot) -> None:
    image = load(first)
    start, size = first.kernel.crashk.res
    assert size == RESERVED
    names = [segment.name for segment in image.kimage.segments]
    assert names == ["elfcorehdr", "purgatory", "boot_params", "kernel", "initrd"]
    assert all(start <= segment.mem and segment.end <= start + size for segment in image.kimage.segments)
    assert image.segment("elfcorehdr").mem == start  # the lowest place, all others are the highest
    assert image.kimage.head == 4  # nothing but DONE
    image.kimage.check()
    memory = first.kernel.machine.bus.memory
    for segment in image.kimage.segments:
        assert memory.read(segment.mem, segment.memsz) == segment.buf[: segment.bufsz].ljust(segment.memsz, b"\0")


def test_the_header_describes_the_first_kernels_memory(first: Boot) -> None:
    k = first.kernel
    found = heads(load(first).segment("elfcorehdr").buf)
    notes, loads = [row for row in found if row[0] == 4], [row for row in found if row[0] == 1]
    assert len(notes) == len(k.cpus.possible) + 1
    assert [row[5] for row in notes] == [368] * len(k.cpus.possible) + [4132]
    memory = k.machine.bus.memory
    assert memory.read(notes[-1][4] + 12, 10) == b"VMCOREINFO"
    assert b"OSRELEASE=" in memory.read(notes[-1][4], 4132)
    (_, flags, at, virtual, physical, size, _, _), *ram = loads
    assert (flags, virtual, physical) == (7, 0xFFFFFFFF81000000, at)
    assert size == crash.kernel_end(k) - k.release.image.text_start
    start, kept = k.crashk.res
    for row in ram:
        assert row[3] == 0xFFFF888000000000 + row[4]
        assert row[4] >= 1 << 20
        assert row[4] + row[5] <= start or row[4] >= start + kept
    total = sum(end - low for low, end in Kexec(k).system_ram() if low >= 1 << 20)
    assert sum(row[5] for row in ram) == total - kept


@pytest.mark.skipif(shutil.which("readelf") is None, reason="no readelf here")
def test_readelf_reads_the_header(first: Boot, tmp_path: Path) -> None:
    path = tmp_path / "elfcorehdr"
    path.write_bytes(load(first).segment("elfcorehdr").buf)
    done = subprocess.run(["readelf", "-hlW", str(path)], capture_output=True, text=True, check=True)
    assert "CORE (Core file)" in done.stdout
    assert done.stdout.count("NOTE  ") == len(first.kernel.cpus.possible) + 1
    assert done.stdout.count("LOAD  ") >= 2
    assert "0xffffffff81000000" in done.stdout


def test_what_hotplug_may_change_is_not_digested(first: Boot) -> None:
    """With CONFIG_CRASH_HOTPLUG there is room for every CPU there can be, and the header is no part of the digest."""
    image = load(first)
    head, hotplug = image.segment("elfcorehdr"), first.kernel.config.enabled("CONFIG_CRASH_HOTPLUG")
    assert head.memsz == (0xE1000 if hotplug else head.bufsz)
    assert image.known is not None
    assert ("elfcorehdr" in image.known.names) != hotplug


def test_panic_boots_the_crash_kernel_in_its_own_memory(first: Boot) -> None:
    k = first.kernel
    image = load(first)
    notes = image.notes
    assert notes is not None
    done = reboot(first, image, "hashlib")
    old = [line.text for line in k.log.lines]
    assert "Kernel panic - not syncing: sysrq triggered crash" in old
    assert "kexec_core: Starting new kernel" not in old
    assert all(k.machine.bus.memory.read(at + 12, 5) == b"CORE\0" for at in notes.cpus[: len(k.cpus.online)])
    log = [line.text for line in done.boot.kernel.log.lines]
    start, size = k.crashk.res
    assert f"Command line: elfcorehdr={start:#x} {WORDS}" in log
    usable = [line for line in log if line.startswith("BIOS-e820") and line.endswith("usable")]
    top = [line for line in usable if f"{start + size - 1:#018x}" in line]
    assert len(usable) == 2 and len(top) == 1
    head = image.segment("elfcorehdr")
    assert f"{start + (917_680 if k.config.enabled('CONFIG_CRASH_HOTPLUG') else head.memsz):#018x}" in top[0]
    assert log[-1] == "Run /init as init process"
    assert done.handover.relocation is not None and done.handover.relocation.pages == 0


def test_flips_are_found(first: Boot) -> None:
    image = load(first)
    image.flip("kernel", 0x4321, 5)
    with pytest.raises(MachineStopped, match="first region that differs: kernel"):
        reboot(first, image, "hashlib")


def test_without_a_reservation_there_is_no_room(booted: Callable[[], Boot]) -> None:
    first = booted()
    loader, free = Kexec(first.kernel), first.kernel.page_alloc.nr_free_pages()
    with pytest.raises(KexecError, match="EADDRNOTAVAIL"):
        loader.kexec_file_load(bytes(make_bzimage()), INITRD, WORDS, KEXEC_FILE_ON_CRASH)
    with pytest.raises(KexecError, match="EADDRNOTAVAIL"):
        loader.kexec_load(0x4000000, [Segment("a", b"x", 0x4000000, 0x1000)], KEXEC_ON_CRASH)
    assert (loader.crash_image, first.kernel.page_alloc.nr_free_pages()) == (None, free)


def test_segments_of_the_callers_own_and_a_full_reservation(first: Boot) -> None:
    loader, (start, size) = Kexec(first.kernel), first.kernel.crashk.res
    image = loader.kexec_load(start, [Segment("a", b"xyz", start, 0x1000)], KEXEC_ON_CRASH)
    assert image is not None and image.crash and image.kimage.control_page == start + 0x1000
    normal = loader.kexec_file_load(bytes(make_bzimage()), INITRD, WORDS)
    assert (loader.crash_image, loader.image) == (image, normal)
    with pytest.raises(KexecError, match="ENOMEM: control page"):
        loader.kexec_load(start, [Segment("a", b"", start, size)], KEXEC_ON_CRASH)
    with pytest.raises(KexecError, match="EADDRNOTAVAIL"):
        loader.kexec_load(start, [Segment("a", b"", start + size - 0x1000, 0x2000)], KEXEC_ON_CRASH)
    assert loader.crash_image is None  # the old one shared the place, so it went first
    assert loader.image is normal


def test_ranges_are_cut() -> None:
    ram = [Range(0, 10), Range(20, 30)]
    assert crash.exclude_mem_range(ram, 5, 22) == [(0, 5), (22, 30)]
    assert crash.exclude_mem_range(ram, 23, 25) == [(0, 10), (20, 23), (25, 30)]
    assert crash.exclude_mem_range(ram, 40, 50) == ram
    assert crash.exclude_mem_range(ram, 0, 10) == [(20, 30)]


def test_the_option(tmp_path: Path) -> None:
    path = tmp_path / "vmlinuz"
    path.write_bytes(make_bzimage())
    words = ["tiny", "--crash", "--crashkernel", "64M", "--kernel", str(path), "--append", WORDS]
    done = CliRunner().invoke(kexec, words)
    assert done.exit_code == 0, done.output
    assert "elfcorehdr" in done.stdout and "flags = 0x3e0001" in done.stdout
    assert CliRunner().invoke(kexec, [*words, "--times", "2"]).exit_code == 2
    assert CliRunner().invoke(kexec, [*words, "--crashkernel", "900M"]).exit_code == 2


def test_vmcoreinfo_says_where_the_kernel_lies(first: Boot) -> None:
    k = first.kernel
    lines = dict(line.split("=", 1) for line in crash.vmcoreinfo_text(k).decode().splitlines())
    assert lines["OSRELEASE"] == k.release.banner.split()[2]
    assert int(lines["NUMBER(phys_base)"]) == k.release.image.text_start - 0x100_0000
    assert (lines["OFFSET(page._refcount)"], lines["SIZE(page)"], lines["LENGTH(zone.free_area)"]) == ("52", "64", "11")
    assert not any("SYMBOL" in name for name in lines)


def test_a_cpus_note_has_the_bases_of_its_segments(first: Boot) -> None:
    notes = crash.CrashNotes(first.kernel)
    last = max(first.kernel.cpus.online)
    cpu = first.kernel.cpus.hardware[last]
    cpu.wrmsr(IA32_FS_BASE, 0x7F00_0000_1000)
    cpu.wrmsr(IA32_GS_BASE, 0xFFFF_8880_0FC0_0000)
    notes.save_cpu(last, 7)
    data = first.kernel.machine.bus.memory.read(notes.cpus[last], 20 + 336)
    assert data[12:16] == b"CORE"
    assert struct.unpack_from("<I", data, 20 + 32) == (7,)
    assert struct.unpack_from("<QQ", data, 20 + 280) == (0x7F00_0000_1000, 0xFFFF_8880_0FC0_0000)
    assert not any(data[20 + 112 : 20 + 280])
