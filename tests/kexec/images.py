"""A small kernel image that is valid in every field the loader looks at."""

from __future__ import annotations

import struct

from hw.boot_params import SETUP_HEADER

SETUP_SECTS = 3
VERSION = b"6.12.0-test (test) #1 SMP PREEMPT_DYNAMIC"
SECTOR = 512


def put(image: bytearray, name: str, value: int) -> None:
    offset, size = SETUP_HEADER[name]
    image[offset : offset + size] = value.to_bytes(size, "little")


def make_bzimage(kernel_bytes: int = 40_000, init_size: int = 0x60000, version: bytes = VERSION) -> bytearray:
    """Setup sectors, then ``kernel_bytes`` of numbers with a zstd-marked payload that says it unpacks to 0x50000."""
    image = bytearray((SETUP_SECTS + 1) * SECTOR + kernel_bytes)
    start = (SETUP_SECTS + 1) * SECTOR
    image[start:] = (struct.pack("<I", 0x9E3779B9) * (kernel_bytes // 4 + 1))[:kernel_bytes]
    payload, length = 0x300, kernel_bytes - 0x300 - 0x100
    image[start + payload : start + payload + 4] = b"\x28\xb5\x2f\xfd"
    image[start + payload + length - 4 : start + payload + length] = (0x50000).to_bytes(4, "little")
    image[0x200:0x202] = b"\xeb\x6a"
    image[0x400 : 0x400 + len(version) + 1] = version + b"\0"
    for name, value in {
        "setup_sects": SETUP_SECTS,
        "syssize": kernel_bytes // 16,
        "boot_flag": 0xAA55,
        "header": 0x53726448,
        "version": 0x020F,
        "kernel_version": 0x400 - SECTOR,
        "loadflags": 1,
        "initrd_addr_max": 0x7FFFFFFF,
        "kernel_alignment": 0x200000,
        "relocatable_kernel": 1,
        "min_alignment": 21,
        "xloadflags": 0x3F,
        "cmdline_size": 2047,
        "payload_offset": payload,
        "payload_length": length,
        "pref_address": 0x1000000,
        "init_size": init_size,
    }.items():
        put(image, name, value)
    return image
