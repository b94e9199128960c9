"""A distribution's kernel through the whole path.

MINIKERN_VMLINUZ names one; otherwise Debian's is fetched with apt-get into a cache folder, where there is a network.
MINIKERN_INITRD names its initial RAM disk (30 MB of numbers otherwise), MINIKERN_REAL_FLIPS how many single bits are
changed in the loaded set, each followed by a digest over all of it; MINIKERN_REAL_SECONDS ends that early.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import time
from functools import cache
from pathlib import Path

import pytest

from hw.errors import MachineStopped
from minikern.core.release import load_release, release_for_version
from minikern.describe.presets import load_machine
from minikern.kexec.bzimage import load_bzimage
from minikern.kexec.decompress import CHECKED, UNPACKERS, decompress
from minikern.kexec.errors import KexecError
from minikern.kexec.load import Kexec
from minikern.kexec.reboot import Handover, _relocate
from minikern.kexec.signature import certificates_of, verify_pefile_signature
from minikern.kexec.vmlinux import Vmlinux
from minikern.lab.kexec import reboot
from minikern.lab.run import boot
from tests.kexec.test_flips import purgatory_finds, somewhere

PACKAGE = "linux-image-amd64"
FLIPS = int(os.environ.get("MINIKERN_REAL_FLIPS", "8"))
SECONDS = float(os.environ.get("MINIKERN_REAL_SECONDS", "inf"))
INITRD_BYTES = 30 << 20
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "minikern" / "debian-kernel"

pytestmark = pytest.mark.oracle


def _run(*words: str, folder: Path) -> str:
    return subprocess.run(words, cwd=folder, check=True, capture_output=True, text=True, timeout=120).stdout


def _fetch(folder: Path) -> None:
    depends = _run("apt-cache", "depends", PACKAGE, folder=folder).split()
    name = next(word for word in depends if word.startswith("linux-image-") and word != PACKAGE)
    _run("apt-get", "download", name, folder=folder)
    package = next(folder.glob("*.deb"))
    _run("dpkg-deb", "-x", str(package), ".", folder=folder)
    package.unlink()
    shutil.rmtree(folder / "lib", ignore_errors=True)


@cache
def vmlinuz() -> Path | str:
    """The file, or why there is none."""
    given = os.environ.get("MINIKERN_VMLINUZ", "")
    if given:
        return Path(given)
    try:
        CACHE.mkdir(parents=True, exist_ok=True)
        if not any((CACHE / "boot").glob("vmlinuz-*")):
            _fetch(CACHE)
        return next((CACHE / "boot").glob("vmlinuz-*"))
    except (OSError, StopIteration, subprocess.SubprocessError) as error:
        return f"no kernel: set MINIKERN_VMLINUZ, or let apt-get fetch {PACKAGE} ({type(error).__name__})"


@pytest.fixture(scope="module")
def kernel() -> bytes:
    found = vmlinuz()
    if isinstance(found, str):
        pytest.skip(found)
    return found.read_bytes()


def test_a_real_kernel_is_loaded_verified_and_booted(kernel: bytes) -> None:
    first = boot(load_machine("tiny"))
    initrd = bytes(range(251)) * 40_000
    image = Kexec(first.kernel).kexec_file_load(kernel, initrd, "console=ttyS0 real=1")
    image.kimage.check()
    done = reboot(first, image, "generic")
    memory = first.kernel.machine.bus.memory
    setup = (kernel[0x1F1] or 4) + 1
    part = image.segment("kernel")
    assert part.bufsz == len(kernel) - 512 * setup
    assert part.memsz == -(-int.from_bytes(kernel[0x260:0x264], "little") // 4096) * 4096
    flat = hashlib.sha256()
    page = image.segment("boot_params")
    flat.update(page.buf.ljust(page.memsz, b"\0"))  # in memory, its seed is used up
    for segment in image.kimage.segments[2:]:
        for at in range(0, segment.memsz, 1 << 20):
            flat.update(memory.read(segment.mem + at, min(1 << 20, segment.memsz - at)))
    assert done.handover.verified is not None
    assert done.handover.verified.digest == flat.digest()
    lines = [line.text for line in done.boot.kernel.log.lines]
    release = load_bzimage(kernel, 100).version().split()[0]
    assert lines[0].startswith(f"Linux version {release} (") and lines[-1] == "Run /init as init process"
    assert "Command line: console=ttyS0 real=1" in lines
    assert done.handover.parts_ns["decompression"] > 0


def test_it_is_unpacked_and_says_what_it_is(kernel: bytes) -> None:
    """Banner and version of the file's own header, sizes near those of a log of its series, in no time to speak of."""
    image = load_bzimage(kernel, 100)
    start, length = image.payload
    payload = kernel[start : start + length]
    if image.compressor() not in UNPACKERS:
        pytest.skip(f"packed by {image.compressor()}")
    begin = time.perf_counter()
    plain = decompress(image.compressor(), payload, image.init_size)
    ours = time.perf_counter() - begin
    assert len(plain) == image.decompressed_bytes()
    unpacked = Vmlinux(plain)
    release, build = image.version().split()[0], image.version().split("#", 1)[1]
    assert unpacked.banner.startswith(f"Linux version {release} ") and unpacked.banner.endswith(f"#{build}")
    nearest = load_release(release_for_version(unpacked.banner) or "debian-6.12").image
    sizes = unpacked.image_sizes(nearest)
    assert sizes.source != nearest.source
    assert sizes.kernel_end - sizes.text_start <= image.init_size
    assert sizes.end - sizes.text_start > 1024 * (sizes.code_kib + sizes.rodata_kib + sizes.init_kib + sizes.bss_kib)
    print(f"{image.compressor()}: {len(plain)} bytes in {ours:.2f} s")


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9])
def test_a_flip_in_its_payload_fails_as_decompression_does(kernel: bytes, place: float) -> None:
    image = load_bzimage(kernel, 100)
    if image.compressor() not in CHECKED:
        pytest.skip(f"Linux checks nothing of {image.compressor()}")
    first = boot(load_machine("tiny"))
    loaded = Kexec(first.kernel).kexec_file_load(kernel, None, "console=ttyS0")
    start, length = image.payload
    loaded.flip("kernel", start - image.kernel_offset + int(place * length), 5)
    with pytest.raises(MachineStopped, match=r"compressed data is .*corrupt -- System halted|integrity"):
        reboot(first, loaded, "hashlib", checks=False)


def test_its_header_is_read(kernel: bytes) -> None:
    image = load_bzimage(kernel, 100)
    assert image.compressor() in ("xz", "zstd", "gzip", "lz4")
    assert image.kernel_bytes < image.decompressed_bytes() <= image.memsz
    assert image.version()


def test_its_signature_is_good_for_its_own_certificate(kernel: bytes) -> None:
    try:
        carried = certificates_of(kernel)
    except KexecError as error:
        pytest.skip(f"this kernel is not signed: {error}")
    signer = verify_pefile_signature(kernel, carried)
    assert signer.dump() in [one.dump() for one in carried]
    damaged = bytearray(kernel)
    damaged[len(kernel) // 2] ^= 1
    with pytest.raises(KexecError, match="EKEYREJECTED"):
        verify_pefile_signature(bytes(damaged), carried)


def test_it_is_refused_when_cut_off(kernel: bytes) -> None:
    for size in (1000, 0x2000, len(kernel) // 2):
        with pytest.raises(KexecError, match="ENOEXEC"):
            load_bzimage(kernel[:size], 100)


def test_flips_in_a_set_of_real_size_are_found(kernel: bytes) -> None:
    """All of it is digested anew for every flip: what is found is found by the digest, not by knowing where to look."""
    given = os.environ.get("MINIKERN_INITRD", "")
    initrd = Path(given).read_bytes() if given else random.Random(3).randbytes(INITRD_BYTES)
    k = boot(load_machine("tiny")).kernel
    image = Kexec(k).kexec_file_load(kernel, initrd, "console=ttyS0")
    _relocate(k, image, Handover())
    memory, rng = k.machine.bus.memory, random.Random(20231113)
    assert not purgatory_finds(k, image)
    begin, count = time.monotonic(), 0
    while count < FLIPS and time.monotonic() - begin < SECONDS:
        name, offset, bit = somewhere(rng, image)
        at = image.segment(name).mem + offset
        old = memory.read_int(at, 1)
        memory.write_int(at, 1, old ^ 1 << bit)
        assert purgatory_finds(k, image), f"flip {count}, {name}:{offset:#x}.{bit}, was not found"
        memory.write_int(at, 1, old)
        count += 1
    assert not purgatory_finds(k, image)
    print(f"{count} flips in {time.monotonic() - begin:.1f} s, {sum(s.memsz for s in image.kimage.segments)} bytes")
