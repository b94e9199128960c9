"""Payloads really unpacked: every format, every way to fail, with Linux's words; beside the tools where they are."""

from __future__ import annotations

import random
import resource
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hw.errors import MachineStopped
from minikern.kexec.decompress import CHECKED, UNPACKERS, DecompressError, decompress
from minikern.kexec.load import Kexec
from minikern.lab.kexec import reboot
from minikern.lab.run import Boot
from tests.kexec.images import make_bzimage, make_vmlinux, pack, pack_lzo

PACKERS = sorted(set(UNPACKERS) - {"none"})
ROOM = 0x60000
PLAIN = make_vmlinux()
CORRUPT = {
    "xz": "XZ-compressed data is corrupt",
    "zstd": "ZSTD-compressed data is corrupt",
    "bzip2": "Data integrity error when decompressing.",
    "gzip": "uncompression error",
    "lzma": "LZMA data is corrupt",
    "lz4": "Decoding failed",
    "lzo": "Compressed data violation",
}
MAGIC = {
    "xz": "Input is not in the XZ format (wrong magic bytes)",
    "zstd": "Input is not in the ZSTD format (wrong magic bytes)",
    "bzip2": "Not a bzip2 file",
    "gzip": "Not a gzip file",
    "lzma": "bad header",
    "lz4": "invalid header",
    "lzo": "invalid header",
}


@pytest.mark.parametrize("packer", PACKERS)
def test_what_was_packed_comes_out(packer: str) -> None:
    assert decompress(packer, pack(packer, PLAIN), ROOM) == PLAIN


def test_a_dictionary_of_lzma_takes_no_more_than_the_room() -> None:
    packed = bytearray(pack("lzma", PLAIN))
    packed[1:5] = b"\xff" * 4
    before = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (64 << 20), before[1]))
    try:
        assert decompress("lzma", bytes(packed), ROOM) == PLAIN
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_large_kernels_come_in_chunks_of_lz4() -> None:
    plain = random.Random(1).randbytes(1 << 20) * 17
    assert decompress("lz4", pack("lz4", plain), 32 << 20) == plain


@pytest.mark.parametrize("version", [0x0930, 0x1030])
@pytest.mark.parametrize("filtered", [False, True])
def test_heads_of_lzop(version: int, filtered: bool) -> None:
    packed = pack_lzo(PLAIN, version, filtered, b"vmlinux.bin")
    assert decompress("lzo", packed + bytes(4), ROOM) == PLAIN


def test_what_lzo_refuses_by_its_sizes() -> None:
    packed = bytearray(pack_lzo(PLAIN))
    at = len(pack_lzo(b"")) - 4
    for offset, value, said in (
        (0, (256 << 10) + 1, "dest len longer than block size"),
        (4, 0, "file corrupted"),
        (4, 1 << 30, "file corrupted"),
        (0, (256 << 10) - 1, "Compressed data violation"),
    ):
        damaged = bytearray(packed)
        damaged[at + offset : at + offset + 4] = value.to_bytes(4, "big")
        with pytest.raises(DecompressError, match=said):
            decompress("lzo", bytes(damaged), ROOM)
    for cut in (5, 20, at + 6, len(packed) // 2):
        with pytest.raises(DecompressError):
            decompress("lzo", bytes(packed[:cut]), ROOM)


@pytest.mark.parametrize("packer", ["xz", "bzip2", "lzma", "zstd", "gzip", "lz4", "lzo"])
def test_the_tools_own_files(packer: str) -> None:
    """As scripts/Makefile.lib calls them."""
    words = {
        "xz": ["xz", "--check=crc32", "--x86", "--lzma2=,dict=32MiB"],
        "lzma": ["lzma", "-9"],
        "zstd": ["zstd", "-22", "--ultra"],
        "gzip": ["gzip", "-n", "-9"],
        "bzip2": ["bzip2", "-9"],
        "lz4": ["lz4", "-l", "-9"],
        "lzo": ["lzop", "-9"],
    }[packer]
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    packed = subprocess.run(words, input=PLAIN, capture_output=True, check=True).stdout
    size = b"" if packer == "gzip" else len(PLAIN).to_bytes(4, "little")
    assert decompress(packer, packed + size, ROOM) == PLAIN


@pytest.mark.parametrize("packer", PACKERS)
def test_one_bit_in_the_payload(packer: str) -> None:
    """Formats with a check Linux makes never unpack something else; the others do so at times, as on the machine."""
    packed, rng, failed, changed = pack(packer, PLAIN), random.Random(3), set[str](), 0
    for _ in range(150):
        at = rng.randrange(16, len(packed) - 16)
        damaged = bytearray(packed)
        damaged[at] ^= 1 << rng.randrange(8)
        try:
            changed += decompress(packer, bytes(damaged), ROOM) != PLAIN
        except DecompressError as error:
            failed.add(str(error))
    assert CORRUPT[packer] in failed or packer not in CHECKED
    assert changed == 0 or packer not in CHECKED
    assert changed or packer not in ("gzip", "lz4")


@pytest.mark.parametrize("packer", PACKERS)
def test_no_payload_of_its_format(packer: str) -> None:
    with pytest.raises(DecompressError) as error:
        decompress(packer, b"\xff" * 64, ROOM)
    assert str(error.value) == MAGIC[packer]


@pytest.mark.parametrize("packer", PACKERS)
def test_cut_off_or_too_large(packer: str) -> None:
    packed = pack(packer, PLAIN)
    with pytest.raises(DecompressError):
        decompress(packer, packed[: len(packed) // 2], ROOM)
    with pytest.raises(DecompressError):
        decompress(packer, packed, len(PLAIN) // 2)


@pytest.mark.parametrize("packer", PACKERS)
def test_a_kernel_of_every_format_boots(booted: Callable[[], Boot], packer: str) -> None:
    first = booted()
    file = bytes(make_bzimage(60_000, packer=packer))
    done = reboot(first, Kexec(first.kernel).kexec_file_load(file, None, "console=ttyS0"), "hashlib")
    lines = [line.text for line in done.boot.kernel.log.lines]
    assert lines[0] == "Linux version 6.12.0-test (test) #1 SMP PREEMPT_DYNAMIC"
    assert done.handover.parts_ns["decompression"] > 0


@pytest.mark.parametrize("packer", ["gzip", "xz"])
def test_without_the_purgatorys_check_it_is_the_unpacking_that_fails(booted: Callable[[], Boot], packer: str) -> None:
    """Linux looks at no checksum of gzip's: what changed is unpacked and run, which nobody can foretell."""
    first = booted()
    image = Kexec(first.kernel).kexec_file_load(bytes(make_bzimage(60_000, packer=packer)), None, "console=ttyS0")
    image.flip("kernel", 0x300 + 9000, 4)
    with pytest.raises(MachineStopped, match=r"XZ-compressed data is corrupt|gzip unpacks a changed kernel|uncompress"):
        reboot(first, image, "hashlib", checks=False)
    first = booted()
    image = Kexec(first.kernel).kexec_file_load(bytes(make_bzimage()), None, "console=ttyS0")
    image.flip("kernel", 0x100, 4)
    with pytest.raises(MachineStopped, match="the code that unpacks the kernel was changed"):
        reboot(first, image, "hashlib", checks=False)
