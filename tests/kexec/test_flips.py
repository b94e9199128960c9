"""Every single bit that changes between loading and the jump is found. MINIKERN_FLIPS sets how many are tried."""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest

from hw import purgatory as layout
from hw.errors import InputError, MachineStopped
from minikern.core.experiment import Experiment
from minikern.core.kernel import Kernel
from minikern.kexec import reboot
from minikern.kexec.digest import available
from minikern.kexec.load import Image, Kexec, Policy
from minikern.lab.run import Boot
from tests.kexec.images import make_bzimage
from tests.kexec.signed import PE_AT, certificate, sign, unsigned

FLIPS = int(os.environ.get("MINIKERN_FLIPS", "600"))
FILE_FLIPS = int(os.environ.get("MINIKERN_FILE_FLIPS", "40"))
INITRD = bytes(range(256)) * 60
USED_BY_PURGATORY = [
    *(layout.ENTRY64_REGS + 8 * layout.REGISTERS.index(name) + byte for name in ("rsi", "rip") for byte in range(8)),
    *range(layout.SHA256_DIGEST, layout.REGION_DIGESTS),
]
"""Bytes of its own segment that the purgatory reads; the rest is room for a stack and registers that stay 0."""


def somewhere(rng: random.Random, image: Image) -> tuple[str, int, int]:
    segments = image.kimage.segments
    segment = rng.choices(segments, [s.memsz if s.digested else len(USED_BY_PURGATORY) for s in segments])[0]
    offset = rng.randrange(segment.memsz) if segment.digested else rng.choice(USED_BY_PURGATORY)
    return segment.name, offset, rng.randrange(8)


def purgatory_finds(k: Kernel, image: Image, digest: str = "hashlib") -> bool:
    """What stands between relocation and the new kernel: the purgatory's check, its jump, the unpacking."""
    done = reboot.Handover()
    try:
        reboot._purgatory(k, image, digest, True, done)
        reboot._decompress(k, done)
    except MachineStopped:
        return True
    return False


@pytest.fixture
def relocated(booted: Callable[[], Boot]) -> tuple[Kernel, Image]:
    """An image that stands where it will run."""
    k = booted().kernel
    image = Kexec(k).kexec_file_load(bytes(make_bzimage(init_size=0x60000)), INITRD, "console=ttyS0")
    reboot._relocate(k, image, reboot.Handover())
    return k, image


def test_every_flip_is_found_and_nothing_else(relocated: tuple[Kernel, Image]) -> None:
    k, image = relocated
    memory, rng = k.machine.bus.memory, random.Random(20231113)
    for count in range(FLIPS):
        name, offset, bit = somewhere(rng, image)
        at = image.segment(name).mem + offset
        old = memory.read_int(at, 1)
        memory.write_int(at, 1, old ^ 1 << bit)
        assert purgatory_finds(k, image), f"flip {count}, {name}:{offset:#x}.{bit}, was not found"
        memory.write_int(at, 1, old)
        if count % 10 == 0:
            assert not purgatory_finds(k, image), f"something was found that was not there, {count} flips on"


@pytest.mark.parametrize("mode", ["generic", "accelerated", "file-bytes", "parallel"])
def test_what_each_way_to_check_finds(booted: Callable[[], Boot], mode: str) -> None:
    """Flips in files' bytes are found by all, flips in the zeros behind them by all but one; "none" finds nothing."""
    k, rng = booted().kernel, random.Random(7)
    k.experiment = Experiment(purgatory_digest=mode)
    image = Kexec(k).kexec_file_load(bytes(make_bzimage(init_size=0x60000)), INITRD, "console=ttyS0")
    reboot._relocate(k, image, reboot.Handover())
    memory = k.machine.bus.memory
    for segment in image.kimage.segments[1:]:
        for start, end, found in ((0, segment.bufsz, True), (segment.bufsz, segment.memsz, mode != "file-bytes")):
            for _ in range(6 if start < end else 0):
                at, bit = segment.mem + rng.randrange(start, end), 1 << rng.randrange(8)
                memory.write_int(at, 1, memory.read_int(at, 1) ^ bit)
                assert purgatory_finds(k, image) == found, (segment.name, hex(at - segment.mem))
                memory.write_int(at, 1, memory.read_int(at, 1) ^ bit)
    k.experiment = Experiment(purgatory_digest="none")
    memory.write_int(image.segment("kernel").mem + 0x9000, 1, 0x77)
    assert not purgatory_finds(k, image)


@pytest.mark.parametrize("name", available())
def test_every_digest_finds_a_flip_before_the_relocation(booted: Callable[[], Boot], name: str) -> None:
    k = booted().kernel
    image = Kexec(k).kexec_file_load(bytes(make_bzimage(init_size=0x60000)), INITRD, "console=ttyS0")
    image.flip("initrd", 4321, 3)
    with pytest.raises(MachineStopped, match="first region that differs: initrd"):
        reboot.kernel_kexec(k, image, name)


STRUCTURES = {
    "setup header": (0x1F1, 0x26C),
    "PE header": (PE_AT, PE_AT + 24 + 160 + 40),
    "payload": (4 * 512, 4 * 512 + 40_000),
    "signature": (4 * 512 + 40_000 - 72, 0),
}


@pytest.mark.parametrize("structure", STRUCTURES)
def test_flips_in_the_file_are_refused_or_boot(booted: Callable[[], Boot], structure: str) -> None:
    """A damaged image gives a clear refusal with Linux's code, or is loaded as it is and verifies."""
    k = booted().kernel
    rng, good = random.Random(1), sign(unsigned())
    policies = Policy(), Policy([certificate("signer", "authority")], sig_enforce=True)
    assert Kexec(k, policies[1]).kexec_file_load(good, INITRD) is not None
    refused = [0, 0]
    start, end = STRUCTURES[structure]
    for count in range(FILE_FLIPS):
        data = bytearray(good)
        data[rng.randrange(start, end or len(data))] ^= 1 << rng.randrange(8)
        strict = count % 2
        try:
            image = Kexec(k, policies[strict]).kexec_file_load(bytes(data), INITRD, "console=ttyS0")
        except InputError as error:
            refused[strict] += 1
            assert "expected" in str(error) and "found" in str(error)
            continue
        try:
            assert reboot.kernel_kexec(k, image, "hashlib").verified is not None
        except MachineStopped as error:
            assert structure in ("payload", "setup header") and "System halted" in str(error)
    if structure == "setup header":
        assert 0 < refused[0] < FILE_FLIPS // 2
    assert refused[1] >= FILE_FLIPS // 2 * 0.5


@pytest.mark.parametrize(
    ("name", "offset", "bit"), [("kernel", 1 << 40, 0), ("kernel", -1, 0), ("kernel", 0, 8), ("x", 0, 0)]
)
def test_a_flip_outside_is_refused(booted: Callable[[], Boot], name: str, offset: int, bit: int) -> None:
    image = Kexec(booted().kernel).kexec_file_load(bytes(make_bzimage()), INITRD)
    with pytest.raises(InputError, match="EINVAL"):
        image.flip(name, offset, bit)
