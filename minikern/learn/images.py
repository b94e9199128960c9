"""A kernel image that is large enough to be loaded and digested, and a handover to it, for the lesson on kexec."""

from __future__ import annotations

import struct
from typing import NamedTuple

from hw.boot_params import SETUP_HEADER
from hw.errors import MachineStopped
from minikern.kexec.load import Image, Kexec
from minikern.lab.kexec import reboot
from minikern.lab.run import Boot
from minikern.learn.trial import Trial, booted

SECTOR, SETUP_SECTS = 512, 3
VERSION = b"6.12.0-lesson (minikern) #1 SMP PREEMPT_DYNAMIC"
PAYLOAD_AT, PAYLOAD_TAIL = 0x300, 0x100
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
UNPACKED_BYTES, INIT_BYTES = 0x50000, 0x60000
# Source: Documentation/arch/x86/boot.rst @ v6.12
FIELDS = {
    "setup_sects": SETUP_SECTS, "boot_flag": 0xAA55, "header": 0x53726448, "version": 0x020F,
    "kernel_version": SECTOR, "loadflags": 1, "initrd_addr_max": 0x7FFF_FFFF, "kernel_alignment": 0x20_0000,
    "relocatable_kernel": 1, "min_alignment": 21, "xloadflags": 0x3F, "cmdline_size": 2047,
    "payload_offset": PAYLOAD_AT, "pref_address": 0x100_0000, "init_size": INIT_BYTES,
}  # fmt: skip


def tiny_image(kernel_bytes: int = 40_000) -> bytes:
    """A bzImage whose header is sound and whose code is a pattern."""
    start = (SETUP_SECTS + 1) * SECTOR
    image = bytearray(start + kernel_bytes)
    image[start:] = (struct.pack("<I", 0x5BD1_E995) * (kernel_bytes // 4 + 1))[:kernel_bytes]
    length = kernel_bytes - PAYLOAD_AT - PAYLOAD_TAIL
    at = start + PAYLOAD_AT
    image[at : at + 4] = ZSTD_MAGIC
    image[at + length - 4 : at + length] = UNPACKED_BYTES.to_bytes(4, "little")
    image[0x200:0x202] = b"\xeb\x6a"  # a jump over the header
    image[2 * SECTOR : 2 * SECTOR + len(VERSION) + 1] = VERSION + b"\0"
    for name, value in {**FIELDS, "syssize": kernel_bytes // 16, "payload_length": length}.items():
        offset, size = SETUP_HEADER[name]
        image[offset : offset + size] = value.to_bytes(size, "little")
    return bytes(image)


class Tried(NamedTuple):
    """How a handover ended: in words, and the next boot where there is one."""

    outcome: str
    boot: Boot | None


def loaded_image(trial: Trial | None = None) -> tuple[Boot, Image]:
    """A booted machine with the image loaded."""
    booted.cache_clear()  # a handover uses the machine up
    first = booted(trial or Trial())
    booted.cache_clear()
    return first, Kexec(first.kernel).kexec_file_load(tiny_image(), None, first.kernel.cmdline.text, 0)


def tiny_handover(flip: tuple[str, int, int] | None = None, checks: bool = True) -> Tried:
    """Boot, load, change the bit ``flip`` (segment, byte, bit) of what is loaded, hand over, boot again."""
    first, image = loaded_image()
    if flip is not None:
        image.flip(*flip)
    try:
        done = reboot(first, image, checks=checks)
    except MachineStopped as error:
        return Tried(f"stopped: {error}", None)
    return Tried(done.boot.kernel.log.lines[-1].text, done.boot)
