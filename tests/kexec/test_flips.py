"""Every single bit that changes between loading and the jump is found. MINIKERN_FLIPS sets how many are tried."""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest

from hw import purgatory as layout
from hw.errors import InputError, MachineStopped
from minikern.kexec.load import Image, Kexec
from minikern.kexec.reboot import kernel_kexec
from minikern.lab.run import Boot
from tests.kexec.images import make_bzimage

FLIPS = int(os.environ.get("MINIKERN_FLIPS", "300"))
INITRD = bytes(range(256)) * 60
REGISTER = 8
USED_BY_PURGATORY = [
    *range(layout.REGISTERS.index("rsi") * REGISTER, (layout.REGISTERS.index("rsi") + 1) * REGISTER),
    *range(layout.REGISTERS.index("rip") * REGISTER, (layout.REGISTERS.index("rip") + 1) * REGISTER),
    *range(layout.SHA256_DIGEST, layout.REGION_DIGESTS),
]
"""Bytes of its own segment that the purgatory reads; the rest is room for a stack and registers that stay 0."""


def somewhere(rng: random.Random, image: Image) -> tuple[str, int, int]:
    segments = image.kimage.segments
    segment = rng.choices(segments, [s.memsz if s.digested else len(USED_BY_PURGATORY) for s in segments])[0]
    offset = rng.randrange(segment.memsz) if segment.digested else rng.choice(USED_BY_PURGATORY)
    return segment.name, offset, rng.randrange(8)


def test_every_flip_is_found_and_nothing_else(booted: Callable[[], Boot]) -> None:
    k = booted().kernel
    loader, data, rng = Kexec(k), bytes(make_bzimage(init_size=0x20000)), random.Random(20231113)
    for count in range(FLIPS):
        image = loader.kexec_file_load(data, INITRD, "console=ttyS0")
        if count % 10 == 0:
            assert kernel_kexec(k, image, "hashlib").verified is not None
            image = loader.kexec_file_load(data, INITRD, "console=ttyS0")
        name, offset, bit = somewhere(rng, image)
        image.flip(name, offset, bit)
        with pytest.raises(MachineStopped):
            kernel_kexec(k, image, "hashlib")
            pytest.fail(f"{name}:{offset:#x}.{bit} was not found")


def test_flips_in_the_file_are_refused_or_boot(booted: Callable[[], Boot]) -> None:
    """A damaged header gives a clear refusal; what is not looked at is loaded as it is and verifies."""
    k = booted().kernel
    loader, rng = Kexec(k), random.Random(1)
    refused = 0
    for _ in range(120):
        data = make_bzimage(init_size=0x20000)
        data[rng.randrange(0x1F1, 0x26C)] ^= 1 << rng.randrange(8)
        try:
            image = loader.kexec_file_load(bytes(data), INITRD, "console=ttyS0")
        except InputError as error:
            refused += 1
            assert "expected" in str(error) and "found" in str(error)
            continue
        assert kernel_kexec(k, image, "hashlib").verified is not None
    assert 5 < refused < 60


@pytest.mark.parametrize(
    ("name", "offset", "bit"), [("kernel", 1 << 40, 0), ("kernel", -1, 0), ("kernel", 0, 8), ("x", 0, 0)]
)
def test_a_flip_outside_is_refused(booted: Callable[[], Boot], name: str, offset: int, bit: int) -> None:
    image = Kexec(booted().kernel).kexec_file_load(bytes(make_bzimage()), INITRD)
    with pytest.raises(InputError, match="EINVAL"):
        image.flip(name, offset, bit)
