"""Banner, configuration and sizes come out of the unpacked kernel, and are what boots."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from minikern.core.release import load_release
from minikern.kexec.decompress import DecompressError
from minikern.kexec.elf import EHDR
from minikern.kexec.load import Kexec
from minikern.kexec.vmlinux import Vmlinux
from minikern.lab.kexec import reboot, release_of_image
from minikern.lab.run import Boot
from tests.kexec.images import make_bzimage, make_vmlinux

CONFIG = "CONFIG_NR_CPUS=31\n# CONFIG_NUMA_BALANCING is not set\nCONFIG_HZ=100\n"
MIB = 1 << 20
PARTS = {
    ".text": (0, 5 * MIB + 700),
    ".rodata": (6 * MIB, MIB),
    ".data": (8 * MIB, 300 << 10),
    ".init.text": (10 * MIB, 90_000),
    ".init.data": (10 * MIB + 0x20000, 50_000),
    ".exit.text": (10 * MIB + 0x30000, 5_000),
    ".smp_locks": (10 * MIB + 0x32000, 0x5000),
    ".bss": (11 * MIB, 2 * MIB),
    ".brk": (13 * MIB, 0x30000),
}


def test_the_banner_with_the_builds_number_is_taken() -> None:
    assert Vmlinux(make_vmlinux()).banner == "Linux version 6.12.0-test (test) #1 SMP PREEMPT_DYNAMIC"
    assert Vmlinux(make_vmlinux(b"none")).banner == ""


def test_the_configuration() -> None:
    assert Vmlinux(make_vmlinux(config=CONFIG)).config == {
        "CONFIG_NR_CPUS": 31, "CONFIG_NUMA_BALANCING": False, "CONFIG_HZ": 100,
    }  # fmt: skip
    assert Vmlinux(make_vmlinux()).config == {}


def test_sizes_of_the_sections() -> None:
    before = load_release("debian-6.12").image
    assert Vmlinux(make_vmlinux()).image_sizes(before) == before
    sizes = Vmlinux(make_vmlinux(parts=PARTS)).image_sizes(before)
    assert (sizes.code_kib, sizes.rwdata_kib, sizes.bss_kib) == (5 * 1024, 300, 2048)
    assert sizes.init_kib == (0x30000 + 0x2000) // 1024
    assert (sizes.text_start, sizes.brk_start, sizes.kernel_end) == (
        0x1000000, 0x1000000 + 13 * MIB, 0x1030000 + 13 * MIB,
    )  # fmt: skip
    assert sizes.smp_locks_kib == 20
    assert sizes.percpu_static_bytes == before.percpu_static_bytes  # no section of its own here


def test_what_comes_out_is_what_boots(booted: Callable[[], Boot]) -> None:
    first = booted()
    kernel = make_bzimage(init_size=24 << 20, vmlinux=make_vmlinux(config=CONFIG, parts=PARTS))
    done = reboot(first, Kexec(first.kernel).kexec_file_load(bytes(kernel), None, "console=ttyS0"), "hashlib")
    k = done.boot.kernel
    memory = next(line.text for line in k.log.lines if line.text.startswith("Memory: "))
    assert "(5120K kernel code, 300K rwdata, " in memory and " 2048K bss" in memory
    assert k.config["CONFIG_NR_CPUS"] == 31


def test_a_release_by_banner_header_or_neither() -> None:
    running = load_release("debian-6.12")
    assert release_of_image(None, running) is running
    unpacked = Vmlinux(make_vmlinux(b"6.1.170-x (a@b) #3 SMP"))
    assert release_of_image(None, running, unpacked).version == "6.1.170"


@pytest.mark.parametrize("at", [0, 1, 32, 56, 0x48, 0x60])
def test_no_elf_file(at: int) -> None:
    data = bytearray(make_vmlinux())
    data[at : at + 2] = b"\xff\xff"
    data[at + 5 : at + 7] = b"\xff\xff"
    try:
        image = Vmlinux(bytes(data))
    except DecompressError as error:
        assert "ELF" in str(error) or "no kernel" in str(error)
        return
    assert image.banner  # what is read of it is still in it
    assert at > EHDR.size or at == 32


@pytest.mark.parametrize("phoff", [1 << 63, (1 << 64) - 1, 1 << 32])
def test_program_headers_that_no_file_can_hold(phoff: int) -> None:
    data = bytearray(make_vmlinux())
    data[32:40] = phoff.to_bytes(8, "little")
    with pytest.raises(DecompressError, match="outside the unpacked kernel"):
        Vmlinux(bytes(data))
